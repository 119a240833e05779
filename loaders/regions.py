"""Regions of an image, from its core and spurious masks, and the controls that stand beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from salient_imagenet_data.loaders.corruption.kernels import boxes

RegionName = Literal["core", "spurious", "neither", "not_core"]
Control = Literal["random", "other"]

FIELD_GRID = 7
"""Cells a side of the random field of a "random" region: the grid that ResNet-50's maps have at 224 pixels."""


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

    def counts(self, has_core: Any, has_spurious: Any) -> Any:
        """Whether an image has this region, elementwise: it must have a spurious feature for "spurious", and a core one
        for the others, since what is not core is not known where core is not."""
        return has_spurious if self.name == "spurious" else has_core


def region_masks(
    core: Tensor,
    spurious: Tensor,
    region: Region,
    seeds: Sequence[int] | None = None,
    others: tuple[Tensor, Tensor] | None = None,
    *,
    places: Sequence[Tensor] | None = None,
) -> Tensor:
    """The region of each image, (B, 1, H, W) float32 in [0, 1].

    core, spurious: (B, 1, H, W) float in [0, 1]. seeds: one an image, for control "random". others: core and spurious
    masks of another image for each, for control "other". places: what `random_places` gives for these seeds, for who
    moves several masks of the same images. Raises ValueError where what the control needs is missing or
    shapes differ.
    """
    if region.control == "other":
        if others is None or others[0].shape != core.shape:
            raise ValueError(f'region_masks: expected others of shape {tuple(core.shape)} for control "other"')
        core, spurious = others
    if core.ndim != 4 or core.shape[1] != 1 or core.shape != spurious.shape:
        shapes = f"{tuple(core.shape)} and {tuple(spurious.shape)}"
        raise ValueError(f"region_masks: expected core and spurious masks (B, 1, H, W), got {shapes}")
    masks = _named(core, spurious, region)
    if region.box:
        masks = boxes(masks) if len(masks) else masks
    if region.control == "random":
        if places is None and seeds is not None:
            places = [random_places(masks.shape[2:], seed, masks.device) for seed in seeds]
        if places is None or len(places) != len(masks):
            raise ValueError(f'region_masks: expected {len(masks)} seeds for control "random"')
        masks = _elsewhere(masks, torch.stack(list(places))) if len(masks) else masks
    return masks


def partners(
    image_ids: Sequence[str],
    seed: int,
    *,
    labels: Sequence[int] | NDArray[np.integer] | None = None,
    condition: str = "",
) -> NDArray[np.int64]:
    """For each image the position of another one in `image_ids`; with labels, one of another class.

    Images are ordered by a hash of (seed, condition, id), as on a ring, and each takes the next on it that will do:
    a function of the set of images, whatever their order. Raises ValueError where an image has no partner.
    """
    n = len(image_ids)
    classes = np.arange(n) if labels is None else np.asarray(labels)
    if n < 2 or (classes == classes[0]).all():
        raise ValueError("partners: expected at least two images" + ("" if labels is None else " of different classes"))
    keys = [hashlib.blake2b(f"{seed}\0{condition}\0{i}".encode(), digest_size=8).digest() for i in image_ids]
    ring = np.array(sorted(range(n), key=lambda i: (keys[i], image_ids[i])), dtype=np.int64)
    # next_other[p]: places on the ring from p to the next image of another class, found backwards in one pass.
    around = classes[ring]
    found, result = 0, np.empty(n, dtype=np.int64)
    steps = np.empty(2 * n, dtype=np.int64)
    for place in range(2 * n - 1, -1, -1):
        same = around[place % n] == around[(place + 1) % n]
        found = found + 1 if same else 1
        steps[place] = found
    result[ring] = ring[(np.arange(n) + steps[:n]) % n]
    return result


def _prepared(masks: Tensor, region: Region) -> Tensor:
    masks = masks.float()
    if region.threshold is not None:
        masks = (masks >= region.threshold).float()
    for _ in range(region.dilation):
        masks = _plus(masks)
    if region.normalise:
        peaks = masks.amax(dim=(2, 3), keepdim=True)
        masks = masks / torch.where(peaks > 0, peaks, 1.0)
    return masks


def _plus(masks: Tensor) -> Tensor:
    """Largest value of each pixel and its four neighbours. Ten times as fast on the CPU as max pooling."""
    wide = masks.clone()
    for axis in (2, 3):
        size = masks.shape[axis] - 1
        for to, start in ((1, 0), (0, 1)):
            place = wide.narrow(axis, to, size)
            torch.maximum(place, masks.narrow(axis, start, size), out=place)
    return wide


def _named(core: Tensor, spurious: Tensor, region: Region) -> Tensor:
    match region.name:
        case "core":
            return _prepared(core, region)
        case "spurious":
            return _prepared(spurious, region)
        case "not_core":
            return 1.0 - _prepared(core, region)
        case "neither":
            return 1.0 - torch.maximum(_prepared(core, region), _prepared(spurious, region))


def random_places(size: Sequence[int], seed: int, device: torch.device | str) -> Tensor:
    """(H * W,) int64: all pixels, from where a random smooth field is lowest to where it is highest."""
    generator = torch.Generator(device).manual_seed(seed)
    grid = torch.randn(1, 1, FIELD_GRID, FIELD_GRID, generator=generator, device=device)
    field = F.interpolate(grid, list(size), mode="bicubic", align_corners=False).flatten()
    return field.argsort(stable=True)


def _elsewhere(masks: Tensor, places: Tensor) -> Tensor:
    """The values of each mask (B, 1, H, W) put in the order of `places` (B, H * W): the largest where the field is
    highest. Area and every other count of values stay exactly as they are; the place has nothing to do with the image.
    """
    values = masks.flatten(1)
    # On a CPU numpy is quicker; equal values are alike, so both give the same.
    quick = values.device.type == "cpu" and not values.requires_grad
    ordered = torch.from_numpy(np.sort(values.numpy(), axis=1)) if quick else values.sort(dim=1).values
    return torch.empty_like(values).scatter_(1, places, ordered).view_as(masks)
