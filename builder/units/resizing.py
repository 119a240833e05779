"""Decoded pictures of any sizes to crops on a device, many at once: resizing each alone costs ten launches a picture.

As torch's antialiased resize of floats, for the pixels of the crop alone: along each axis a weighted sum of the source
pixels that the filter covers, rounded once at the end. Sums and no matrix products, which TensorFloat-32 would round.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
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
    """One axis of B resizes, (B,) int64 each. sizes, resized: pixels before and after. first: where the crops begin."""

    sizes: Tensor
    resized: Tensor
    first: Tensor

    def of(self, some: Tensor) -> Axis:
        """Some of them."""
        return Axis(self.sizes[some], self.resized[some], self.first[some])

    def widest(self, half: float) -> int:
        """Source pixels that one of a crop is made of, at most."""
        return 2 * math.ceil(half * max(1.0, float((self.sizes / self.resized).max()))) + 1

    def needed(self, side: int, half: float) -> tuple[Tensor, Tensor]:
        """First source pixel that crops of a side are made of, and the one after their last: (B,) each."""
        low, _ = self._covered(self.first[:, None], half)
        _, high = self._covered(self.first[:, None] + side - 1, half)
        return low[:, 0], high[:, 0]

    def taps(self, side: int, half: float, device: torch.device) -> tuple[Tensor, Tensor]:
        """For each pixel of the crops the source pixels that it is made of, and their weights: (B, side, K) each, on a
        device."""
        there = Axis(*torch.stack([self.sizes, self.resized, self.first]).to(device))
        wanted = there.first[:, None] + torch.arange(side, device=device)
        low, high = there._covered(wanted, half)
        places = low[..., None] + torch.arange(self.widest(half), device=device)
        scale = there.sizes.double() / there.resized
        centres = (wanted + 0.5) * scale[:, None]
        away = (places + 0.5 - centres[..., None]) / scale.clamp_min(1.0)[:, None, None]
        weights = _filter(away, half) * (places < high[..., None])
        weights /= weights.sum(dim=2, keepdim=True)
        return torch.minimum(places, high[..., None] - 1), weights.float()

    def _covered(self, wanted: Tensor, half: float) -> tuple[Tensor, Tensor]:
        """First source pixel below the filter at wanted pixels (B, n), and the one after the last."""
        sizes, scale = self.sizes[:, None], (self.sizes.double() / self.resized)[:, None]
        if not half:
            exact = (wanted + 0.5).float() * scale.float()  # as torch, ties too
            below = torch.minimum(exact.floor().long(), sizes - 1)
            return below, below + 1
        centres, reach = (wanted + 0.5) * scale, half * scale.clamp_min(1.0)
        low, high = ((centres + sign * reach + 0.5).floor().long() for sign in (-1, 1))
        return low.clamp_min(0), torch.minimum(high, sizes)


def crops_of(pictures: Sequence[Tensor], preprocessing: Preprocessing) -> Tensor:
    """Crops of pictures (3, H, W) uint8 on one device: (B, 3, S, S) uint8, channels last in memory.

    None of them a strip (`Preprocessing.is_strip`), the filter one of `HALF_WIDTHS`.
    """
    side, half, device = preprocessing.crop, HALF_WIDTHS[preprocessing.interpolation], pictures[0].device
    columns, rows = _axes(pictures, preprocessing)
    edges = [edge.tolist() for axis in (columns, rows) for edge in axis.needed(side, half)]
    left, right, top, bottom = edges
    widths, heights = ([b - a for a, b in zip(*pair, strict=True)] for pair in ((left, right), (top, bottom)))
    out = torch.empty(len(pictures), side, side, 3, dtype=torch.uint8, device=device).permute(0, 3, 1, 2)
    for group in _groups(widths, heights):
        some, shape = torch.tensor(group), (max(heights[i] for i in group), max(widths[i] for i in group))
        padded = torch.zeros(len(group), 3, *shape, dtype=torch.uint8, device=device)
        for place, i in zip(padded, group, strict=True):
            place[:, : heights[i], : widths[i]].copy_(pictures[i][:, top[i] : bottom[i], left[i] : right[i]])
        begin = [torch.tensor([edge[i] for i in group], device=device) for edge in (left, top)]
        narrow = _summed(padded, *columns.of(some).taps(side, half, device), begin[0], dim=3)
        small = _summed(narrow, *rows.of(some).taps(side, half, device), begin[1], dim=2)
        out[some.to(device)] = small.round_().clamp_(0, 255).to(torch.uint8)
    return out


def _axes(pictures: Sequence[Tensor], preprocessing: Preprocessing) -> tuple[Axis, Axis]:
    """Columns and rows of the resizes."""
    sizes = [(picture.shape[2], picture.shape[1]) for picture in pictures]
    numbers = (sizes, [preprocessing.resized(*s) for s in sizes], [preprocessing.corner(*s) for s in sizes])
    columns, rows = torch.tensor(numbers).permute(2, 0, 1)
    return Axis(*columns), Axis(*rows)


def _groups(widths: Sequence[int], heights: Sequence[int]) -> Iterator[list[int]]:
    """Pictures of like sizes, by their positions: little of what they are padded to is padding."""
    group, own, wide, high = list[int](), 0, 0, 0
    for i in sorted(range(len(widths)), key=lambda i: widths[i] * heights[i]):
        wider, higher, more = max(wide, widths[i]), max(high, heights[i]), own + widths[i] * heights[i]
        padded = (len(group) + 1) * wider * higher
        if group and (padded > PADDING * more or 3 * padded > LARGEST):
            yield group
            group, wider, higher, more = [], widths[i], heights[i], widths[i] * heights[i]
        group.append(i)
        own, wide, high = more, wider, higher
    yield group


def _filter(away: Tensor, half: float) -> Tensor:
    """Weights before they are made to sum to 1, of pixels so far from the centre."""
    x = away.abs()
    if half == HALF_WIDTHS["nearest"]:
        return torch.ones_like(x)
    if half == HALF_WIDTHS["bilinear"]:
        return (1.0 - x).clamp_min(0.0)
    near, far = (1.5 * x - 2.5) * x * x + 1.0, ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0  # Keys' cubic, a = -1/2
    return torch.where(x < 1.0, near, torch.where(x < 2.0, far, 0.0))


def _summed(pixels: Tensor, places: Tensor, weights: Tensor, begin: Tensor, *, dim: int) -> Tensor:
    """Weighted sums along the last axis or the one before it: pixels (B, 3, H, W), which begin at `begin` (B,)."""
    batch, side, taps = places.shape
    view = (batch, 1, 1, side) if dim == 3 else (batch, 1, side, 1)
    shape = [*pixels.shape[:dim], side, *pixels.shape[dim + 1 :]]
    at = places - begin[:, None, None]
    total = torch.zeros(shape, device=pixels.device)
    for k in range(taps):
        found = pixels.gather(dim, at[:, :, k].reshape(view).expand(shape))
        total.addcmul_(found.float(), weights[:, :, k].reshape(view))
    return total
