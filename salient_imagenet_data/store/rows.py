"""images.parquet as rows and as columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import CropBox
from salient_imagenet_data.names import IMAGES_TABLE
from salient_imagenet_data.store.checks.checking import check_sha256
from salient_imagenet_data.store.manifest import damaged
from salient_imagenet_data.store.tables import IMAGES_SCHEMA


@dataclass(frozen=True)
class ImageRow:
    """One row of images.parquet. in_top: (K,) whether the image is in the top images of each feature.

    prediction: -1 for a class that the store has not, and in an imported store, where it is not known; there width,
    height and box may be 0, not known.
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


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever fails while a table is read names the file. Arrow brings a dozen exceptions."""
    try:
        yield
    except UnicodeEncodeError:  # of the path, which is no UTF-8; what the file holds may be whole
        raise
    except Exception as error:
        raise damaged(path, got=f"{type(error).__name__}: {error}") from error


class ImageRows(Sequence[ImageRow]):
    """images.parquet as columns, each read when it is asked for; a row is made then too, so a million stay small.

    sha256: of the file. count, classes, features: the rows, classes and features a class that the manifest tells.
    Raises SalientError, on reading, for a file that is damaged or says otherwise.
    """

    def __init__(self, folder: Path, sha256: str, count: int, classes: int, features: int) -> None:
        self._path, self._count, self._classes, self._features = folder / IMAGES_TABLE, count, classes, features
        self._sha256: str | None = sha256

    @cached_property
    def image_ids(self) -> Any:
        """(N,) Arrow strings."""
        return self._column("image_id").combine_chunks()

    @cached_property
    def labels(self) -> NDArray[np.int32]:
        """(N,) int32."""
        labels = self._numbers("label")
        if len(labels) and not 0 <= labels.min() <= labels.max() < self._classes:
            raise self._other(f"labels {labels.min()} to {labels.max()} for {self._classes} classes")
        return labels

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
        if len(flat) != self._count * self._features:
            raise self._other(f"{len(flat)} values of in_top")
        return np.asarray(flat.reshape(self._count, self._features))

    @cached_property
    def _boxes(self) -> list[NDArray[np.float64]]:
        return [self._numbers(f"crop_{side}") for side in ("left", "top", "width", "height")]

    def _column(self, name: str) -> Any:
        if self._sha256 is not None:  # before the first column, all of the file
            check_sha256(self._path.parent, self._path.name, self._sha256)
            self._sha256 = None
        with reading(self._path):
            # One thread: several would hold several decoded row groups at once, and a column takes milliseconds.
            table = pq.read_table(
                self._path, columns=[name], schema=IMAGES_SCHEMA, use_threads=False, page_checksum_verification=True
            )
        if len(table) != self._count:
            raise self._other(f"{len(table)} rows for {self._count} images")
        return table[name]

    def _other(self, got: str) -> SalientError:
        return SalientError(f"{self._path}: not of this manifest", got=got, then="download it again or rebuild")

    def _numbers(self, name: str) -> NDArray[Any]:
        return np.asarray(self._column(name).to_numpy())

    def __len__(self) -> int:
        return self._count

    def find(self, row: int | str) -> int:
        """A row's number from 0 on, of its number, from the end where it is negative, or its image id.

        Raises SalientError for one that is not here.
        """
        if isinstance(row, str):
            found = int(pc.index(self.image_ids, row).as_py())
            if found < 0:
                raise SalientError(f"no image {row!r} in the store", expected=f"an id such as {self[0].image_id!r}")
            return found
        if not -self._count <= row < self._count:
            raise SalientError(f"no row {row} in the store", expected=f"0 to {self._count - 1}")
        return range(self._count)[row]

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
