"""From a source to the network's maps and features, batch by batch, with decoding ahead on threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from salient_imagenet_data.builder.config import Precision
from salient_imagenet_data.builder.model import RobustModel
from salient_imagenet_data.errors import ImageError, SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images import ImageSource, read_ahead

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Batch:
    """Images of one batch. indices: (B,) into the source. sizes: (B, 2) width and height of the originals.

    images: (B, 3, S, S) uint8, channels last in memory.
    """

    indices: NDArray[np.int64]
    sizes: NDArray[np.int64]
    images: Tensor


def batches(
    source: ImageSource,
    indices: Sequence[int],
    preprocessing: Preprocessing,
    batch_size: int,
    failed: list[tuple[int, ImageError]],
    threads: int = 2,
) -> Iterator[Batch]:
    """Batches of crops in order; images that cannot be decoded are appended to `failed` and left out."""

    def ready(pixels: NDArray[np.uint8]) -> tuple[tuple[int, int], NDArray[np.uint8]]:
        return (pixels.shape[1], pixels.shape[0]), preprocessing.apply(pixels)

    window = max(2 * batch_size, 8 * threads)
    kept: list[tuple[int, tuple[int, int], NDArray[np.uint8]]] = []
    for index, item in read_ahead(source, indices, threads=threads, window=window, then=ready):
        if isinstance(item, ImageError):
            failed.append((index, item))
            continue
        kept.append((index, *item))
        if len(kept) == batch_size:
            yield _stack(kept)
            kept = []
    if kept:
        yield _stack(kept)


def _stack(items: list[tuple[int, tuple[int, int], NDArray[np.uint8]]]) -> Batch:
    images = torch.from_numpy(np.stack([crop for _, _, crop in items])).permute(0, 3, 1, 2)
    return Batch(np.array([i for i, _, _ in items]), np.array([size for _, size, _ in items]), images)


def run_model(model: RobustModel, images: Tensor, precision: Precision, device: str) -> tuple[Tensor, Tensor]:
    """Maps (B, F, h, w) and features (B, F), float32 on the device, of crops (B, 3, S, S) uint8.

    With bf16 or fp16 the network's layers run in that type where torch's autocast says so.
    """
    x = images.to(device, non_blocking=True).float().div_(255.0)
    kind = torch.device(device).type
    with torch.autocast(kind, AUTOCAST.get(precision, torch.bfloat16), enabled=precision in AUTOCAST):
        maps, features = model.maps_and_features(x)
    return maps.float(), features.float()


@contextmanager
def numerics(precision: Precision, device: str) -> Iterator[None]:
    """Set TensorFloat-32 as asked, and put it back: fp32 is fp32 everywhere. Raises SalientError for tf32 on a CPU."""
    if precision == "tf32" and torch.device(device).type != "cuda":
        raise SalientError(f"{device}: no TensorFloat-32 here", expected="a CUDA device", then="choose fp32 or bf16")
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
