"""Images that are already arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from salient_imagenet_data.errors import ImageError, SalientError
from salient_imagenet_data.images.decoding import encode_png
from salient_imagenet_data.images.source import ListedSource, check_unique


class MemorySource(ListedSource):
    """Images that are already arrays: a list of (height, width, 3) uint8, with labels and ids."""

    def __init__(
        self,
        images: Sequence[NDArray[np.uint8]],
        labels: Sequence[int],
        class_names: Sequence[str],
        image_ids: Sequence[str] | None = None,
    ) -> None:
        self._images = list(images)
        ids = list(image_ids) if image_ids is not None else [f"{i:08d}" for i in range(len(self._images))]
        if not len(self._images) == len(labels) == len(ids):
            raise SalientError(
                "images, labels and ids differ in number",
                got=f"{len(self._images)}, {len(labels)} and {len(ids)}",
            )
        outside = [int(v) for v in labels if not 0 <= v < len(class_names)]
        if outside:
            raise SalientError(
                "label outside the classes", expected=f"0 to {len(class_names) - 1}", got=str(outside[0])
            )
        super().__init__(pa.array(ids, type=pa.string()), labels, tuple(class_names))
        check_unique(self._ids, self._ids)

    def pixels(self, index: int) -> NDArray[np.uint8]:
        image = self._images[index]
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ImageError(
                f"{self._ids[index].as_py()}: not an RGB image",
                expected="(height, width, 3) uint8",
                got=f"{image.shape} {image.dtype}",
            )
        return image

    def encoded(self, index: int) -> dict[str, str | bytes | None]:
        return {"path": None, "bytes": encode_png(self.pixels(index))}
