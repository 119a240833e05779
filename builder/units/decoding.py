"""Files to batches of crops, by one of four decoders.

`pillow` is the reference: Pillow decodes and resizes. With `pillow+torch`, torch resizes, which is faster and puts
some pixels off by one level, fewer with newer torch. With `simplejpeg`, that library decodes, to Pillow's pixels and
faster, and torch resizes: the crops are those of `pillow+torch`. `nvjpeg` decodes and resizes on a CUDA device. What is
no plain JPEG (a PNG called .JPEG, a CMYK JPEG), or is refused there, goes to Pillow; what nvJPEG makes of a damaged
file is its own affair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, functional

from salient_imagenet_data.builder.choices import Decoder
from salient_imagenet_data.builder.units import nvjpeg
from salient_imagenet_data.builder.units.jpeg import by_simplejpeg, check_simplejpeg, is_usual, jpeg_of, without_exif
from salient_imagenet_data.errors import ImageError, SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.source import ImageSource, picture_of
from salient_imagenet_data.images.trouble import is_trouble

Crop = tuple[tuple[int, int], Tensor]
"""Width and height of the original; the crop, (3, S, S) uint8."""
T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """Images of one batch. indices: (B,) into the source. sizes: (B, 2) width and height of the originals.

    images: (B, 3, S, S) uint8, channels last in memory; pinned for a CUDA device, or there already.
    """

    indices: NDArray[np.int64]
    sizes: NDArray[np.int64]
    images: Tensor


TORCH_FILTERS = {
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
    "nearest": InterpolationMode.NEAREST_EXACT,  # Pillow's
}
"""Filters that torch has too."""


def check_decoder(decoder: Decoder, device: str, preprocessing: Preprocessing) -> None:
    """Raise SalientError for a decoder that is not installed, cannot run on such a device, or cannot resize so."""
    if decoder != "pillow" and preprocessing.interpolation not in TORCH_FILTERS:
        raise SalientError(
            f"decoder {decoder}: torch does not resize with {preprocessing.interpolation}",
            expected=", ".join(TORCH_FILTERS),
            then="choose the decoder pillow",
        )
    if decoder == "simplejpeg":
        check_simplejpeg()
    if decoder == "nvjpeg" and torch.device(device).type != "cuda":
        raise SalientError(
            "decoder nvjpeg", expected="a CUDA device", got=device, then="choose another decoder, or --device cuda"
        )


def packages_of(decoder: Decoder) -> tuple[str, ...]:
    """Names of the distributions that a decoder brings in, beside Pillow and torchvision."""
    if decoder == "nvjpeg":
        return nvjpeg.packages()
    return ("simplejpeg",) if decoder == "simplejpeg" else ()


def pillow_crop(source: ImageSource, index: int, preprocessing: Preprocessing) -> Crop:
    """Raises ImageError for an image that cannot be decoded."""
    picture = picture_of(source, index)
    with _as_image_error(source, index):
        return picture.size, torch.from_numpy(preprocessing.apply_to_picture(picture)).permute(2, 0, 1)


def torch_crop(source: ImageSource, index: int, preprocessing: Preprocessing) -> Crop:
    """Raises ImageError for an image that cannot be decoded."""
    pixels = torch.from_numpy(np.array(picture_of(source, index))).permute(2, 0, 1)
    with _as_image_error(source, index):
        return cropped(pixels, preprocessing)


def simplejpeg_crop(source: ImageSource, index: int, preprocessing: Preprocessing) -> Crop:
    """Raises ImageError for an image that cannot be decoded."""
    data = jpeg_of(source, index)
    pixels = None if data is None else by_simplejpeg(data)
    if pixels is None:
        return torch_crop(source, index, preprocessing)
    with _as_image_error(source, index):
        return cropped(torch.from_numpy(pixels).permute(2, 0, 1), preprocessing)


@contextmanager
def _as_image_error(source: ImageSource, index: int) -> Iterator[None]:
    """What goes wrong with the pixels of one image is that image's, except want of memory."""
    try:
        yield
    except SalientError:
        raise
    except Exception as error:
        if is_trouble(error) or isinstance(error, torch.OutOfMemoryError) or "memory" in str(error):
            raise
        raise ImageError(
            f"{source.entry(index).image_id}: cannot crop", got=f"{type(error).__name__}: {error}"
        ) from error


CROPS: dict[Decoder, Callable[[ImageSource, int, Preprocessing], Crop]] = {
    "pillow": pillow_crop,
    "pillow+torch": torch_crop,
    "simplejpeg": simplejpeg_crop,
}
"""Decoders of one image at a time, on the processor."""


def cropped(pixels: Tensor, preprocessing: Preprocessing) -> Crop:
    """As `Preprocessing.apply_to_picture`, with torch's antialiased resize. pixels: (3, H, W) uint8."""
    width, height = size = pixels.shape[2], pixels.shape[1]
    if preprocessing.is_strip(width, height):  # which torch would resize as a whole
        crop = preprocessing.apply(pixels.permute(1, 2, 0).cpu().numpy())
        return size, torch.from_numpy(crop).permute(2, 0, 1).to(pixels.device)
    new_width, new_height = preprocessing.resized(width, height)
    if (new_width, new_height) != size:
        filter_ = TORCH_FILTERS[preprocessing.interpolation]
        pixels = functional.resize(pixels, [new_height, new_width], filter_, antialias=True)
    side, (left, top) = preprocessing.crop, preprocessing.corner(width, height)
    return size, pixels[:, top : top + side, left : left + side]


def stacked(crops: Sequence[tuple[int, Crop]], device: torch.device) -> Batch:
    """One batch of crops, on a device."""
    parts = [crop.permute(1, 2, 0).to(device) for _, (_, crop) in crops]
    images = torch.stack(parts).permute(0, 3, 1, 2)
    return Batch(np.array([i for i, _ in crops]), np.array([size for _, (size, _) in crops]), images)


def file_or_crop(source: ImageSource, index: int, preprocessing: Preprocessing) -> Tensor | Crop:
    """A JPEG's bytes for the device, or else the crop by Pillow. Raises ImageError if that cannot decode it."""
    data = jpeg_of(source, index)
    if data is None or not is_usual(data):
        return pillow_crop(source, index, preprocessing)
    return torch.from_numpy(without_exif(data))


def crops_of_files(
    source: ImageSource,
    files: Sequence[tuple[int, Tensor | Crop]],
    preprocessing: Preprocessing,
    failed: list[tuple[int, ImageError]],
    device: str,
) -> list[tuple[int, Crop]]:
    """Crops of files that a device decodes, all in one call, and crops as they are; what it refuses is Pillow's."""
    decoded = iter(nvjpeg.decoded([file for _, file in files if isinstance(file, Tensor)], device))
    crops: list[tuple[int, Crop]] = []
    for index, file in files:
        pixels = next(decoded) if isinstance(file, Tensor) else None
        try:
            if not isinstance(file, Tensor):
                crops.append((index, file))
            elif pixels is None:
                crops.append((index, pillow_crop(source, index, preprocessing)))
            else:
                with _as_image_error(source, index):
                    crops.append((index, cropped(pixels, preprocessing)))
        except ImageError as error:
            failed.append((index, error))
    return crops
