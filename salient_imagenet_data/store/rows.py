"""images.parquet as rows and as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from salient_imagenet_data.geometry import CropBox
from salient_imagenet_data.store.tables import IMAGES_SCHEMA


@dataclass(frozen=True)
class ImageRow:
    """One row of images.parquet. in_top: (K,) whether the image is in the top images of each feature.

    In an imported store prediction may be -1, and width, height and box 0: not known.
    """

    image_id: str
    label: int
    prediction: int
    width: int
    height: int
    box: CropBox
    in_top: tuple[bool, ...]

    @property
    def size_known(self) -> bool:
        """Whether the image's size, and so its place in the image frame, is known."""
        return self.width > 0


class ImageRows(Sequence[ImageRow]):
    """images.parquet as columns, each read when it is asked for; a row is made then too, so a million stay small."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def image_ids(self) -> Any:
        """(N,) Arrow strings."""
        return self._column("image_id").combine_chunks()

    @cached_property
    def labels(self) -> NDArray[np.int32]:
        """(N,) int32."""
        return self._numbers("label")

    @cached_property
    def predictions(self) -> NDArray[np.int32]:
        """(N,) int32."""
        return self._numbers("prediction")

    @cached_property
    def widths(self) -> NDArray[np.int32]:
        """(N,) int32, in pixels."""
        return self._numbers("width")

    @cached_property
    def heights(self) -> NDArray[np.int32]:
        """(N,) int32, in pixels."""
        return self._numbers("height")

    @cached_property
    def in_top(self) -> NDArray[np.bool_]:
        """(N, K) bool."""
        flat = self._column("in_top").combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return np.asarray(flat.reshape(len(self), -1))

    @cached_property
    def _boxes(self) -> list[NDArray[np.float64]]:
        return [self._numbers(f"crop_{side}") for side in ("left", "top", "width", "height")]

    def _column(self, name: str) -> Any:
        # One thread: several would hold several decoded row groups at once, and a column takes milliseconds.
        return pq.read_table(self._path, columns=[name], schema=IMAGES_SCHEMA, use_threads=False)[name]

    def _numbers(self, name: str) -> NDArray[Any]:
        return np.asarray(self._column(name).to_numpy())

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, index: int) -> ImageRow: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[ImageRow, ...]: ...

    def __getitem__(self, index: int | slice) -> ImageRow | tuple[ImageRow, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        index = range(len(self))[index]
        return ImageRow(
            self.image_ids[index].as_py(),
            int(self.labels[index]),
            int(self.predictions[index]),
            int(self.widths[index]),
            int(self.heights[index]),
            CropBox(*(float(side[index]) for side in self._boxes)),
            tuple(self.in_top[index].tolist()),
        )
