"""Files to crops, by one of three decoders.

`pillow` is the reference: Pillow decodes and resizes. With `pillow+torch`, torch resizes, which is faster and puts a
few pixels off by one level. `nvjpeg` decodes and resizes on a CUDA device. What is no plain JPEG (a PNG called .JPEG, a
CMYK JPEG), or is refused there, goes to Pillow, so that all three read the same images.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional

from salient_imagenet_data.errors import ImageError, SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images import ImageSource, picture_of, read_ahead

Decoder = Literal["pillow", "pillow+torch", "nvjpeg"]
Crop = tuple[tuple[int, int], Tensor]
"""Width and height of the original; the crop, (3, S, S) uint8."""
T = TypeVar("T")


def check_decoder(decoder: Decoder, device: str) -> None:
    """Raise SalientError where a decoder cannot run."""
    if decoder != "nvjpeg":
        return
    if torch.device(device).type != "cuda":
        raise SalientError(
            "decoder nvjpeg", expected="a CUDA device", got=device, then="choose another decoder, or --device cuda"
        )
    try:
        from torchvision.io import decode_jpeg  # noqa: F401 - deprecated since 0.29
    except ImportError as error:
        raise SalientError(
            "decoder nvjpeg: this torchvision has no decoders", then="choose pillow+torch, or an older torchvision"
        ) from error


def crops(
    source: ImageSource,
    indices: Sequence[int],
    preprocessing: Preprocessing,
    decoder: Decoder = "pillow",
    *,
    device: str = "cpu",
    threads: int = 2,
    window: int = 64,
) -> Iterator[tuple[int, Crop | ImageError]]:
    """(index, crop or why there is none) in order, read up to `window` images ahead; on the device with nvjpeg."""
    if decoder == "nvjpeg":
        files = read_ahead(indices, lambda index: jpeg_of(source, index), threads=threads, window=window)
        return _ahead(crops_of_files(source, files, preprocessing, device, max(1, window // 2)))
    of = pillow_crop if decoder == "pillow" else torch_crop
    return read_ahead(indices, lambda index: of(source, index, preprocessing), threads=threads, window=window)


def pillow_crop(source: ImageSource, index: int, preprocessing: Preprocessing) -> Crop:
    """Raises ImageError for an image that cannot be decoded."""
    picture = picture_of(source, index)
    return picture.size, torch.from_numpy(preprocessing.apply_to_picture(picture)).permute(2, 0, 1)


def torch_crop(source: ImageSource, index: int, preprocessing: Preprocessing) -> Crop:
    """Raises ImageError for an image that cannot be decoded."""
    return cropped(torch.from_numpy(np.array(picture_of(source, index))).permute(2, 0, 1), preprocessing)


def cropped(pixels: Tensor, preprocessing: Preprocessing) -> Crop:
    """As `Preprocessing.apply_to_picture`, with torch's antialiased resize. pixels: (3, H, W) uint8."""
    width, height = size = pixels.shape[2], pixels.shape[1]
    new_width, new_height = preprocessing.resized(width, height)
    if (new_width, new_height) != size:
        pixels = functional.resize(pixels, [new_height, new_width], antialias=True)
    side = preprocessing.crop
    left, top = round((new_width - side) / 2.0), round((new_height - side) / 2.0)
    return size, pixels[:, top : top + side, left : left + side]


def jpeg_of(source: ImageSource, index: int) -> Tensor | None:
    """Bytes of an image that is a JPEG of one or three components, (N,) uint8; else None."""
    value: dict[str, Any] = source.encoded(index)
    try:
        data = np.fromfile(value["path"], dtype=np.uint8) if value["bytes"] is None else value["bytes"]
    except OSError:
        return None
    view = np.frombuffer(data, dtype=np.uint8)
    return torch.from_numpy(view.copy()) if _components(view) in (1, 3) else None


def _components(data: NDArray[np.uint8]) -> int | None:
    """Of a JPEG: the number in its frame header (ITU-T T.81, B.2.2). None for what is no JPEG."""
    if bytes(data[:2]) != b"\xff\xd8":
        return None
    place = 2
    while place + 10 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # padding
            place += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int(data[place + 9])
        else:
            place += 2 + int(data[place + 2]) * 256 + int(data[place + 3])
    return None


def crops_of_files(
    source: ImageSource,
    files: Iterable[tuple[int, Tensor | ImageError | None]],
    preprocessing: Preprocessing,
    device: str,
    batch_size: int,
) -> Iterator[tuple[int, Crop | ImageError]]:
    """Decode on a device, many files a call. files: of `jpeg_of`; where there is none, Pillow reads the image."""
    for some in _groups(files, batch_size):
        pixels = iter(_decoded([data for _, data in some if isinstance(data, Tensor)], device))
        for index, data in some:
            image = next(pixels) if isinstance(data, Tensor) else None
            try:
                crop = pillow_crop(source, index, preprocessing) if image is None else cropped(image, preprocessing)
            except ImageError as error:
                yield index, error
            else:
                yield index, crop


def _decoded(files: list[Tensor], device: str) -> list[Tensor | None]:
    """(3, H, W) uint8 each, None where it is refused."""
    from torchvision.io import ImageReadMode, decode_jpeg

    if not files:
        return []
    try:
        pixels: list[Tensor | None] = decode_jpeg(files, mode=ImageReadMode.RGB, device=device)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # of one or several; it does not say which
        return [None] if len(files) == 1 else [one for file in files for one in _decoded([file], device)]
    return pixels


def _groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while some := list(itertools.islice(iterator, size)):
        yield some


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, the next one made on a thread meanwhile."""
    following: Callable[[], T | None] = lambda: next(items, None)  # noqa: E731
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(following)
        while (item := waiting.result()) is not None:
            waiting = pool.submit(following)
            yield item
