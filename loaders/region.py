"""A region of an image, made of its core and spurious masks: the record, and its shape. No torch.

The shape is worked out by one set of functions on numpy arrays and torch tensors (..., H, W) alike, which share slices,
reductions and `maximum` with `out=`. Whoever gives tensors gets tensors, on their device, without waiting for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

RegionName = Literal["core", "spurious", "neither", "not_core"]
Control = Literal["random", "other"]
Masks = TypeVar("Masks", "NDArray[Any]", "Tensor")

DILATION, DILATED_AT = 15, 224
"""Iterations of the plus-shaped maximum filter of the protocol "corm2022", at a crop of so many pixels."""
_ROWS: Any = ((..., slice(None, -1), slice(None)), (..., slice(1, None), slice(None)))
_COLUMNS: Any = ((..., slice(None, -1)), (..., slice(1, None)))
"""All but the last, and all but the first."""


@dataclass(frozen=True)
class Region:
    """Which pixels. Masks are soft unless `threshold` is given. The steps, in this order:

    threshold: core and spurious masks become 1 where they reach it and 0 elsewhere. dilation: that many times, each
    pixel takes the largest value of itself and its four neighbours. normalise: core and spurious masks are divided by
    their peak. name: the mask, "neither" = 1 - max(core, spurious), "not_core" = 1 - core. box: 1 in the bounding box
    of the pixels of at least half the peak. control: "random" puts the same mask values elsewhere, "other" takes
    another image's masks from the start.
    """

    name: RegionName
    control: Control | None = None
    threshold: float | None = None
    dilation: int = 0
    normalise: bool = False
    box: bool = False

    def __post_init__(self) -> None:
        if self.name not in ("core", "spurious", "neither", "not_core"):
            raise ValueError(f"Region: expected core, spurious, neither or not_core, got {self.name!r}")
        if self.control not in (None, "random", "other"):
            raise ValueError(f"Region: expected control random, other or None, got {self.control!r}")
        if self.dilation < 0 or (self.threshold is not None and not 0 < self.threshold <= 1):
            raise ValueError(
                f"Region: expected dilation >= 0 and threshold in (0, 1], got {self.dilation} and {self.threshold}"
            )

    @property
    def label(self) -> str:
        """Short name, different for different regions: "core", "not_core_dilated15_normalised", "core_random"."""
        parts: list[str] = [self.name]
        parts += [f"over{self.threshold:g}"] if self.threshold is not None else []
        parts += [f"dilated{self.dilation}"] if self.dilation else []
        parts += ["normalised"] if self.normalise else []
        parts += ["box"] if self.box else []
        return "_".join(parts + ([self.control] if self.control else []))

    @property
    def complement(self) -> bool:
        """Whether it is what a mask leaves over."""
        return self.name in ("neither", "not_core")

    def at(self, crop: int) -> Region:
        """The region whose dilation is meant at 224 pixels, for a crop of another size."""
        return replace(self, dilation=round(self.dilation * crop / DILATED_AT))

    def counts(self, has_core: Any, has_spurious: Any) -> Any:
        """Whether an image has this region, elementwise: it must have a spurious feature for "spurious", and a core one
        for the others, since what is not core is not known where core is not."""
        return has_spurious if self.name == "spurious" else has_core


OUTSIDE_CORE = Region("not_core", dilation=DILATION, normalise=True)
"""What is outside the core as "corm2022" has it, at 224 pixels: outside a core that is dilated and has a peak of 1."""


def shaped(core: Masks, spurious: Masks, region: Region) -> Masks:
    """The region, before any control, of masks (..., H, W) in [0, 1]: float32, likewise in [0, 1]."""
    masks = _prepared(spurious if region.name == "spurious" else core, region)
    if region.name == "neither":
        masks = _library(masks).maximum(masks, _prepared(spurious, region))
    if region.complement:
        masks = 1.0 - masks
    return boxes(masks) if region.box else masks


def boxes(masks: Masks) -> Masks:
    """1 in the bounding box of each mask's pixels of at least half its peak, 0 elsewhere; all 0 for an empty mask."""
    inside, library = at_least_half(masks), _library(masks)
    rows, columns = (_between(inside.any(axis), library) for axis in (-1, -2))
    boxed: Masks = _float32(rows[..., :, None] & columns[..., None, :])
    return boxed


def at_least_half(masks: Masks) -> Any:
    """(..., H, W) bool: pixels of at least half the mask's peak; none of an empty mask."""
    peaks = _peaks(masks)
    return (masks >= peaks / 2) & (peaks > 0)


def _prepared(masks: Masks, region: Region) -> Masks:
    masks = _float32(masks)
    if region.threshold is not None:
        masks = _float32(masks >= region.threshold)
    for _ in range(region.dilation):
        masks = _plus(masks)
    if region.normalise:
        peaks = _peaks(masks)
        masks = masks / _library(masks).where(peaks > 0, peaks, 1.0)
    return masks


def _plus(masks: Masks) -> Masks:
    """Largest value of each pixel and its four neighbours. Ten times as fast on the CPU as max pooling."""
    maximum = _library(masks).maximum
    wide = masks.copy() if isinstance(masks, np.ndarray) else masks.clone()
    for first, last in (_ROWS, _COLUMNS):
        for to, start in ((last, first), (first, last)):
            maximum(wide[to], masks[start], out=wide[to])
    return wide


def _peaks(masks: Masks) -> Masks:
    """(..., 1, 1)."""
    peaks: Masks = _library(masks).amax(masks, (-2, -1), keepdims=True)
    return peaks


def _between(marked: Any, library: Any) -> Any:
    """(..., n) bool: true from the first marked place to the last."""
    before = marked.cumsum(-1) > 0
    behind = library.flip(library.flip(marked, (-1,)).cumsum(-1), (-1,)) > 0
    return before & behind


def _float32(masks: Any) -> Any:
    return masks.astype(np.float32, copy=False) if isinstance(masks, np.ndarray) else masks.float()


def _library(masks: Any) -> Any:
    """The module with the functions for an array."""
    if isinstance(masks, np.ndarray):
        return np
    import torch  # only who gives tensors pays for it

    return torch
