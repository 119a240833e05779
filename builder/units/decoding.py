"""Files to batches of crops, by one of four decoders.

`pillow` is the reference: Pillow decodes and resizes. With `pillow+torch`, torch resizes, which is faster and puts
some pixels off by one level, fewer with newer torch. With `simplejpeg`, that library decodes, to Pillow's pixels and
faster, and torch resizes: the crops are those of `pillow+torch`. `nvjpeg` decodes and resizes on a CUDA device. What is
no plain JPEG (a PNG called .JPEG, a CMYK JPEG), or is refused there, goes to Pillow; what nvJPEG makes of a damaged
file is its own affair.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, functional

from salient_imagenet_data.builder.choices import Decoder
from salient_imagenet_data.builder.units.jpeg import by_simplejpeg, check_simplejpeg, jpeg_of
from salient_imagenet_data.errors import ImageError, SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.reading import read_ahead
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
    return ("simplejpeg",) if decoder == "simplejpeg" else ()


def _try_nvjpeg(device: str) -> None:
    """Decode one small image, since what fails later would be read by Pillow unnoticed. Raises SalientError."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, format="JPEG")
    try:
        from torchvision.io import decode_jpeg  # deprecated since 0.29

        decode_jpeg(torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8), device=device)
    except (ImportError, RuntimeError) as error:
        raise SalientError(
            "decoder nvjpeg: this torchvision cannot decode on the device",
            got=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}",
            then="choose pillow+torch",
        ) from error


def batches(
    source: ImageSource,
    indices: Sequence[int],
    preprocessing: Preprocessing,
    batch_size: int,
    failed: list[tuple[int, ImageError]],
    decoder: Decoder = "pillow",
    *,
    device: str = "cpu",
    threads: int = 2,
) -> Iterator[Batch]:
    """Batches of crops in order; images that cannot be decoded are appended to `failed` and left out.

    Read ahead on threads; for a CUDA device the next two batches are also put together ahead.
    """
    window, on_gpu = max(2 * batch_size, 8 * threads), torch.device(device).type == "cuda"
    if decoder == "nvjpeg":
        _try_nvjpeg(device)
        files = read_ahead(indices, lambda i: _file(source, i, preprocessing), threads=threads, window=window)
        return _ahead(batches_of_files(source, files, preprocessing, batch_size, failed, device), 2)
    of = CROPS[decoder]
    crops = read_ahead(indices, lambda index: of(source, index, preprocessing), threads=threads, window=window)
    stacked = _stacked(crops, batch_size, failed, pinned=on_gpu)
    return _ahead(stacked, 2) if on_gpu else stacked


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


def _stacked(
    crops: Iterable[tuple[int, Crop | ImageError]],
    batch_size: int,
    failed: list[tuple[int, ImageError]],
    *,
    pinned: bool,
) -> Iterator[Batch]:
    good = _without_failed(crops, failed)
    for some in _groups(good, batch_size):
        yield _batch(some, torch.device("cpu"), pinned=pinned)


def _without_failed(
    items: Iterable[tuple[int, T | ImageError]], failed: list[tuple[int, ImageError]]
) -> Iterator[tuple[int, T]]:
    for index, item in items:
        if isinstance(item, ImageError):
            failed.append((index, item))
        else:
            yield index, item


def _batch(crops: Sequence[tuple[int, Crop]], device: torch.device, *, pinned: bool = False) -> Batch:
    parts = [crop.permute(1, 2, 0).to(device) for _, (_, crop) in crops]
    # Pinned memory is what a device copies while the processor goes on.
    out = torch.empty((len(parts), *parts[0].shape), dtype=torch.uint8, device=device, pin_memory=pinned)
    images = torch.stack(parts, out=out).permute(0, 3, 1, 2)
    return Batch(np.array([i for i, _ in crops]), np.array([size for _, (size, _) in crops]), images)


def _file(source: ImageSource, index: int, preprocessing: Preprocessing) -> Tensor | Crop:
    """A JPEG's bytes for the device, or else the crop by Pillow. Raises ImageError if that cannot decode it."""
    data = jpeg_of(source, index)
    return pillow_crop(source, index, preprocessing) if data is None else torch.from_numpy(data.copy())


def batches_of_files(
    source: ImageSource,
    files: Iterable[tuple[int, Tensor | Crop | ImageError]],
    preprocessing: Preprocessing,
    batch_size: int,
    failed: list[tuple[int, ImageError]],
    device: str,
) -> Iterator[Batch]:
    """Decode on a device, a batch of files a call. files: bytes to decode, crops made by Pillow, or failures.

    On a CUDA device in a stream of its own: torchvision's decoder writes to memory that the allocator hands it without
    waiting for what is queued on the caller's stream, so nothing else may be (pytorch/vision issue 9606).
    """
    on = torch.device(device)
    side = torch.cuda.Stream(on) if on.type == "cuda" else None  # type: ignore[no-untyped-call]
    good: Iterator[tuple[int, Tensor | Crop]] = _without_failed(files, failed)
    for some in _groups(good, batch_size):
        with nullcontext() if side is None else torch.cuda.stream(side):
            if side is not None:
                side.synchronize()
            pixels = iter(_decoded([file for _, file in some if isinstance(file, Tensor)], device))
            crops: list[tuple[int, Crop]] = []
            for index, file in some:
                image = next(pixels) if isinstance(file, Tensor) else None
                try:
                    if not isinstance(file, Tensor):
                        crops.append((index, file))
                    elif image is not None:
                        with _as_image_error(source, index):
                            crops.append((index, cropped(image, preprocessing)))
                    else:
                        crops.append((index, pillow_crop(source, index, preprocessing)))
                except ImageError as error:
                    failed.append((index, error))
            batch = _batch(crops, on) if crops else None
            if side is not None:
                side.synchronize()
        if batch is not None:
            yield batch


def _decoded(files: list[Tensor], device: str) -> list[Tensor | None]:
    """(3, H, W) uint8 each, None where it is refused."""
    from torchvision.io import ImageReadMode, decode_jpeg

    if not files:
        return []
    try:
        pixels: list[Tensor | None] = decode_jpeg(files, mode=ImageReadMode.RGB, device=device)
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "CUDA error" in str(error):
            raise
        # Of one or several; it does not say which.
        return [None] if len(files) == 1 else [one for file in files for one in _decoded([file], device)]
    return pixels


def _groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while some := list(itertools.islice(iterator, size)):
        yield some


def _ahead(items: Iterator[T], depth: int) -> Iterator[T]:
    """The same items, made on one thread up to `depth` ahead."""
    following: Callable[[], T | None] = lambda: next(items, None)  # noqa: E731
    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(following) for _ in range(depth)]
        try:
            while (item := waiting.pop(0).result()) is not None:
                waiting.append(pool.submit(following))
                yield item
        finally:
            for future in waiting:
                future.cancel()
