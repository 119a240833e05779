"""The two frames of a mask, and the only place where sizes, crops and interpolation are computed.

crop frame: the pixels the robust model saw, `crop` x `crop`. image frame: the original image; a map
covers the crop box and nothing is known outside it. Pixel i of n covers [i, i + 1); its centre is i + 1/2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from salient_imagenet_data.errors import SalientError

Frame = Literal["crop", "image"]
FRAMES: tuple[Frame, Frame] = ("crop", "image")
FILTERS: dict[str, Image.Resampling] = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}
"""Filters of the resize, Pillow's of these names; all but the last are antialiased."""
LONGEST = 64
"""Of a picture that is longer than so many times its shorter side, only what the crop shows is resized."""


@dataclass(frozen=True)
class CropBox:
    """The crop in pixels of the original image: left and top edge, width and height; fractions allowed."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Preprocessing:
    """How a network wants images: the shorter side resized to `resize` pixels, then the central square of `crop`.

    squash: both sides become `resize`, whatever the image's shape. interpolation: one of `FILTERS`. Sizes and rounding
    are those of torchvision's `Resize` and `CenterCrop` on PIL images. The paper's values are the defaults. Raises
    SalientError for crop > resize or an unknown filter.
    """

    resize: int = 256
    crop: int = 224
    interpolation: str = "bilinear"
    squash: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.crop <= self.resize:
            raise SalientError(
                "preprocessing cannot be done",
                expected="0 < crop <= resize",
                got=f"crop {self.crop}, resize {self.resize}",
            )
        if not isinstance(self.squash, bool):
            raise SalientError("squash", expected="true or false", got=str(self.squash))
        if self.interpolation not in FILTERS:
            raise SalientError("interpolation is not known", expected=", ".join(FILTERS), got=str(self.interpolation))

    def __str__(self) -> str:
        what = "image squashed" if self.squash else "shorter side resized"
        return f"{what} to {self.resize} ({self.interpolation}), central {self.crop} x {self.crop}"

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after the resize; the longer side is truncated."""
        if self.squash:
            return self.resize, self.resize
        short, long = min(width, height), max(width, height)
        other = int(self.resize * long / short)
        return (self.resize, other) if width <= height else (other, self.resize)

    def corner(self, width: int, height: int) -> tuple[int, int]:
        """Left and top of the crop in the resized image."""
        across, down = self.resized(width, height)
        return round((across - self.crop) / 2.0), round((down - self.crop) / 2.0)

    def crop_box(self, width: int, height: int) -> CropBox:
        """Where the crop lies in a width x height image."""
        new_width, new_height = self.resized(width, height)
        left, top = self.corner(width, height)
        across, down = width / new_width, height / new_height
        return CropBox(left * across, top * down, self.crop * across, self.crop * down)

    def apply(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(height, width, 3) uint8 -> a new (crop, crop, 3) uint8 array; gray (height, width) likewise."""
        return self.apply_to_picture(Image.fromarray(pixels))

    def apply_to_picture(self, picture: Image.Image) -> NDArray[np.uint8]:
        """RGB or gray picture -> a new (crop, crop, 3) or (crop, crop) uint8 array."""
        if self.is_strip(*picture.size):
            return self._crop_of_strip(picture)
        size = self.resized(*picture.size)
        left, top = self.corner(*picture.size)
        if size != picture.size:
            picture = picture.resize(size, FILTERS[self.interpolation])
        return np.array(picture.crop((left, top, left + self.crop, top + self.crop)))

    def is_strip(self, width: int, height: int) -> bool:
        """Whether a picture is so long that resizing the whole of it would cost more than `LONGEST` resized squares."""
        return not self.squash and max(width, height) > LONGEST * min(width, height)

    def _crop_of_strip(self, picture: Image.Image) -> NDArray[np.uint8]:
        """The crop of a very long picture: the same place and filter, of the pixels below it and few more.

        Levels may differ by rounding from those of the whole picture resized, hence for long pictures only.
        """
        box = self.crop_box(*picture.size)
        x0, x1, left, right = _needed(box.left, box.width, self.crop, picture.width)
        y0, y1, top, bottom = _needed(box.top, box.height, self.crop, picture.height)
        part = picture.crop((x0, y0, x1, y1))
        inside = (left - x0, top - y0, right - x0, bottom - y0)
        return np.array(part.resize((self.crop, self.crop), FILTERS[self.interpolation], box=inside))


def _needed(start: float, length: float, pixels: int, size: int) -> tuple[int, int, float, float]:
    """Of one axis: first and last source pixel that `pixels` resized ones are made of, and the edges of their crop."""
    end = min(start + length, float(size))
    reach = ceil(3 * max(1.0, length / pixels)) + 1  # Lanczos, the widest filter: 3 pixels of the coarser grid
    return max(0, floor(start) - reach), min(size, ceil(end) + reach), start, end


def axis_weights(pixels: int, cells: int, start: float, length: float) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Bilinear weights of one axis: how `cells` grid cells that cover [start, start + length) make `pixels`.

    Half-pixel centres, edges clamped, as `align_corners=False` elsewhere. Returns (pixels, cells) float32
    whose rows sum to 1, and (pixels,) bool: the pixel's centre lies inside the covered part.
    """
    centres = np.arange(pixels, dtype=np.float64) + 0.5
    inside = (centres >= start) & (centres < start + length)
    position = np.clip((centres - start) * (cells / length) - 0.5, 0.0, cells - 1.0)
    low = np.minimum(np.floor(position).astype(np.int64), max(cells - 2, 0))
    fraction = position - low
    weights = np.zeros((pixels, cells), dtype=np.float64)
    rows = np.arange(pixels)
    weights[rows, low] = 1.0 - fraction
    if cells > 1:
        weights[rows, low + 1] = fraction
    return weights.astype(np.float32), inside


def to_crop_frame(grids: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Bilinear grids (..., h, w) -> (..., height, width) over the whole crop."""
    return _separable(grids, _whole_axis(height, grids.shape[-2]), _whole_axis(width, grids.shape[-1]))


@lru_cache(maxsize=16)
def _whole_axis(pixels: int, cells: int) -> NDArray[np.float32]:
    """Weights of an axis that the grid covers whole: the same for every image of a store, so kept."""
    weights, _ = axis_weights(pixels, cells, 0.0, float(pixels))
    weights = np.asfortranarray(weights)  # its transpose, which is what is multiplied by, is then contiguous
    weights.setflags(write=False)
    return weights


def to_image_frame(
    grids: NDArray[np.float32], height: int, width: int, box: CropBox
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Bilinear grids (..., h, w) -> (..., height, width) of the original image, 0 outside the crop box.

    Also returns `valid`, (height, width) bool: the pixel's centre lies in the crop box.
    """
    down, rows = axis_weights(height, grids.shape[-2], box.top, box.height)
    across, columns = axis_weights(width, grids.shape[-1], box.left, box.width)
    valid = rows[:, None] & columns[None, :]
    return _separable(grids, down, across) * valid.astype(np.float32), valid


def valid_box(height: int, width: int, box: CropBox) -> tuple[int, int, int, int]:
    """Left, top, width and height of the rectangle in which `to_image_frame` says that pixels are valid."""
    (left, across), (top, down) = (
        (int(inside.argmax()), int(inside.sum()))
        for inside in (
            axis_weights(width, 1, box.left, box.width)[1],
            axis_weights(height, 1, box.top, box.height)[1],
        )
    )
    return left, top, across, down


def _separable(
    grids: NDArray[np.float32], down: NDArray[np.float32], across: NDArray[np.float32]
) -> NDArray[np.float32]:
    result: NDArray[np.float32] = np.matmul(np.matmul(down, grids), across.T)
    return result
