"""Decoded pictures of any sizes to crops on a device, many at once: resizing each alone costs ten launches a picture.

As torch's antialiased resize of floats, for the pixels of the crop alone: along each axis a weighted sum of the source
pixels that the filter covers, rounded once at the end. Sums and no matrix products, which TensorFloat-32 would round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from salient_imagenet_data.geometry import Preprocessing

HALF_WIDTHS = {"bilinear": 1.0, "bicubic": 2.0, "nearest": 0.0}
"""Of the filters, in pixels of the coarser grid."""
LARGEST = 2**27
"""Values of one padded group, which sums of float32 then take four times as bytes."""
PADDING = 1.5
"""Pixels of a padded group by those of its pictures, at most."""


@dataclass(frozen=True)
class Axis:
    """One axis of B resizes. sizes, resized: (B,) pixels before and after. first: (B,) where the crop begins after."""

    sizes: NDArray[np.int64]
    resized: NDArray[np.int64]
    first: NDArray[np.int64]

    def of(self, some: NDArray[np.int64]) -> Axis:
        return Axis(self.sizes[some], self.resized[some], self.first[some])

    def needed(self, side: int, half: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First source pixel that crops of a side are made of, and the one after their last: (B,) each."""
        low, _ = self._covered(self.first, half)
        _, high = self._covered(self.first + side - 1, half)
        return low, high

    def taps(self, side: int, half: float) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """For each pixel of the crops the source pixels that it is made of, and their weights: (B, side, K) each."""
        wanted = self.first[:, None] + np.arange(side)
        low, high = self._covered(wanted, half)
        places = low[..., None] + np.arange((high - low).max())
        scale = self.sizes / self.resized
        centres = (wanted + 0.5) * scale[:, None]
        away = (places + 0.5 - centres[..., None]) / np.maximum(scale, 1.0)[:, None, None]
        weights = _filter(away, half) * (places < high[..., None])
        weights /= weights.sum(axis=2, keepdims=True)
        return np.minimum(places, high[..., None] - 1), weights.astype(np.float32)

    def _covered(self, wanted: NDArray[np.int64], half: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First source pixel below the filter at wanted pixels (B, ...), and the one after the last."""
        scale = (self.sizes / self.resized).reshape(-1, *[1] * (wanted.ndim - 1))
        sizes, centres = self.sizes.reshape(scale.shape), (wanted + 0.5) * scale
        if not half:
            exact = (wanted + np.float32(0.5)).astype(np.float32) * scale.astype(np.float32)  # as torch, ties too
            below = np.minimum(np.floor(exact).astype(np.int64), sizes - 1)
            return below, below + 1
        reach = half * np.maximum(scale, 1.0)
        low, high = (np.floor(centres + sign * reach + 0.5).astype(np.int64) for sign in (-1, 1))
        return np.maximum(low, 0), np.minimum(high, sizes)


def crops_of(pictures: Sequence[Tensor], preprocessing: Preprocessing) -> Tensor:
    """Crops of pictures (3, H, W) uint8 on one device: (B, 3, S, S) uint8, channels last in memory.

    None of them a strip (`Preprocessing.is_strip`), the filter one of `HALF_WIDTHS`.
    """
    side, half, device = preprocessing.crop, HALF_WIDTHS[preprocessing.interpolation], pictures[0].device
    columns, rows = _axes(pictures, preprocessing)
    (left, right), (top, bottom) = columns.needed(side, half), rows.needed(side, half)
    widths, heights = right - left, bottom - top
    out = torch.empty(len(pictures), side, side, 3, dtype=torch.uint8, device=device).permute(0, 3, 1, 2)
    for group in _groups(widths, heights):
        padded = torch.zeros(len(group), 3, heights[group].max(), widths[group].max(), dtype=torch.uint8, device=device)
        for place, i in enumerate(group.tolist()):
            padded[place, :, : heights[i], : widths[i]] = pictures[i][:, top[i] : bottom[i], left[i] : right[i]]
        narrow = _summed(padded, *columns.of(group).taps(side, half), left[group], dim=3)
        small = _summed(narrow, *rows.of(group).taps(side, half), top[group], dim=2)
        out[torch.from_numpy(group).to(device)] = small.round_().clamp_(0, 255).to(torch.uint8)
    return out


def _axes(pictures: Sequence[Tensor], preprocessing: Preprocessing) -> tuple[Axis, Axis]:
    """Columns and rows of the resizes."""
    sizes = [(picture.shape[2], picture.shape[1]) for picture in pictures]
    numbers = (sizes, [preprocessing.resized(*s) for s in sizes], [preprocessing.corner(*s) for s in sizes])
    across, down = (tuple(np.array(n, dtype=np.int64)[:, axis] for n in numbers) for axis in (0, 1))
    return Axis(*across), Axis(*down)


def _groups(widths: NDArray[np.int64], heights: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Pictures of like sizes, by their positions: little of what they are padded to is padding."""
    group, own, wide, high = list[int](), 0, 0, 0
    for i in np.argsort(widths * heights, kind="stable").tolist():
        wider, higher, more = max(wide, int(widths[i])), max(high, int(heights[i])), own + int(widths[i] * heights[i])
        padded = (len(group) + 1) * wider * higher
        if group and (padded > PADDING * more or 3 * padded > LARGEST):
            yield np.array(group)
            group, wider, higher, more = [], int(widths[i]), int(heights[i]), int(widths[i] * heights[i])
        group.append(i)
        own, wide, high = more, wider, higher
    yield np.array(group)


def _filter(away: NDArray[np.float64], half: float) -> NDArray[np.float64]:
    """Weights before they are made to sum to 1, of pixels so far from the centre."""
    x = np.abs(away)
    if half == HALF_WIDTHS["nearest"]:
        return np.ones_like(x)
    if half == HALF_WIDTHS["bilinear"]:
        return np.maximum(1.0 - x, 0.0)
    near, far = (1.5 * x - 2.5) * x * x + 1.0, ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0  # Keys' cubic, a = -1/2
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _summed(
    pixels: Tensor, places: NDArray[np.int64], weights: NDArray[np.float32], begin: NDArray[np.int64], *, dim: int
) -> Tensor:
    """Weighted sums along the last axis or the one before it: pixels (B, 3, H, W), which begin at `begin` (B,)."""
    batch, side, taps = places.shape
    view = (batch, 1, 1, side) if dim == 3 else (batch, 1, side, 1)
    shape = [*pixels.shape[:dim], side, *pixels.shape[dim + 1 :]]
    at = torch.from_numpy(places - begin[:, None, None]).to(pixels.device)
    by = torch.from_numpy(weights).to(pixels.device)
    total = torch.zeros(shape, device=pixels.device)
    for k in range(taps):
        found = pixels.gather(dim, at[:, :, k].reshape(view).expand(shape))
        total.addcmul_(found.float(), by[:, :, k].reshape(view))
    return total
