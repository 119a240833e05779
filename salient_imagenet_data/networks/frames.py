"""The pixels a model sees, and where a store's masks lie in them.

A model says how it wants images: resized, cropped, by which filter. A store's masks cover the store's own crop. The
rule that brings both together, exactly:

1. The model's image is made from the original image by the model's own resize and crop, once.
2. Its crop box and the store's crop box are both known in pixels of the original image. The mask grid spreads over the
   store's box; each pixel centre of the model's image is looked up there, bilinearly, with half-pixel centres.
3. Where the model sees more than the store's crop nothing is known: masks are 0 there, and `known` is False, so that
   neither a region nor its complement touches those pixels.

Where the model's preprocessing is the store's, this gives the store's crop and masks bit by bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import CropBox, Preprocessing, axis_weights
from salient_imagenet_data.masks import dequantise, union_in_crop

Filter = Literal["bilinear", "bicubic", "lanczos", "nearest"]
FILTERS: dict[str, Image.Resampling] = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}


@dataclass(frozen=True)
class Frame:
    """How a model wants images: resized to `resize`, then the central square of `crop` pixels.

    squash: both sides become `resize`, whatever the image's shape; else the shorter side does. interpolation: Pillow's
    filter of that name, antialiased. Raises SalientError for crop > resize or an unknown filter.
    """

    resize: int
    crop: int
    interpolation: str = "bilinear"
    squash: bool = False

    def __post_init__(self) -> None:
        Preprocessing(self.resize, self.crop)
        if self.interpolation not in FILTERS:
            raise SalientError("interpolation is not known", expected=", ".join(FILTERS), got=str(self.interpolation))

    @staticmethod
    def of(preprocessing: Preprocessing) -> Frame:
        """The frame of a store."""
        return Frame(preprocessing.resize, preprocessing.crop)

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after the resize."""
        return (
            (self.resize, self.resize) if self.squash else Preprocessing(self.resize, self.crop).resized(width, height)
        )

    def corner(self, width: int, height: int) -> tuple[int, int]:
        """Left and top of the crop in the resized image."""
        across, down = self.resized(width, height)
        return round((across - self.crop) / 2.0), round((down - self.crop) / 2.0)

    def box(self, width: int, height: int) -> CropBox:
        """Where the crop lies in a width x height image."""
        (across, down), (left, top) = self.resized(width, height), self.corner(width, height)
        x, y = width / across, height / down
        return CropBox(left * x, top * y, self.crop * x, self.crop * y)

    def apply(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(height, width, 3) uint8 -> (crop, crop, 3) uint8."""
        height, width = pixels.shape[:2]
        size, (left, top) = self.resized(width, height), self.corner(width, height)
        if size != (width, height):
            pixels = np.asarray(Image.fromarray(pixels).resize(size, FILTERS[self.interpolation]))
        return pixels[top : top + self.crop, left : left + self.crop].copy()


def mask_in_frame(
    maps: NDArray[np.uint8], chosen: NDArray[np.bool_], store_box: CropBox, model_box: CropBox, crop: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Pixelwise maximum of the chosen maps in a model's frame, and which pixels are known; (crop, crop) each.

    maps: (K, h, w) uint8 over the store's box. chosen: (K,) bool. Boxes are in pixels of one original image.
    """
    if store_box == model_box:
        return union_in_crop(maps, chosen, crop, crop), np.ones((crop, crop), dtype=np.bool_)
    x, y = crop / model_box.width, crop / model_box.height
    across, columns = axis_weights(crop, maps.shape[2], (store_box.left - model_box.left) * x, store_box.width * x)
    down, rows = axis_weights(crop, maps.shape[1], (store_box.top - model_box.top) * y, store_box.height * y)
    known = rows[:, None] & columns[None, :]
    if not chosen.any():
        return np.zeros((crop, crop), dtype=np.float32), known
    mask: NDArray[np.float32] = np.matmul(np.matmul(down, dequantise(maps[chosen])), across.T).max(axis=0)
    return mask * known.astype(np.float32), known
