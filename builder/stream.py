"""From a source to batches of tensors, decoded ahead on threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from salient_imagenet_data.errors import ImageError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images import ImageSource, read_ahead


@dataclass(frozen=True)
class Batch:
    """Images of one batch. indices: into the source. sizes: (width, height) of the originals.

    images: (B, 3, H, W) float32 in [0, 1], channels last in memory.
    """

    indices: list[int]
    sizes: list[tuple[int, int]]
    images: Tensor


def batches(
    source: ImageSource,
    indices: Sequence[int],
    preprocessing: Preprocessing,
    batch_size: int,
    failed: list[tuple[int, ImageError]],
) -> Iterator[Batch]:
    """Batches of preprocessed images in order; those that cannot be decoded are appended to `failed`."""
    kept: list[int] = []
    sizes: list[tuple[int, int]] = []
    crops: list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]] = []

    def flush() -> Batch:
        images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float().div_(255.0)
        batch = Batch(list(kept), list(sizes), images)
        for part in (kept, sizes, crops):
            part.clear()
        return batch

    for index, pixels in read_ahead(source, indices):
        if isinstance(pixels, ImageError):
            failed.append((index, pixels))
            continue
        kept.append(index)
        sizes.append((pixels.shape[1], pixels.shape[0]))
        crops.append(preprocessing.apply(pixels))
        if len(kept) == batch_size:
            yield flush()
    if kept:
        yield flush()
