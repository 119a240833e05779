"""The regions of a batch of images, and the controls that stand beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from salient_imagenet_data.loaders.region import Region, shaped

FIELD_GRID = 7
"""Cells a side of the random field of a "random" region: the grid that ResNet-50's maps have at 224 pixels."""


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
    masks = shaped(core, spurious, region)
    if region.control == "random":
        if places is None and seeds is not None:
            places = [random_places(masks.shape[2:], seed, masks.device) for seed in seeds]
        if places is None or len(places) != len(masks):
            raise ValueError(f'region_masks: expected {len(masks)} seeds for control "random"')
        masks = moved(masks, torch.stack(list(places))) if len(masks) else masks
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


def random_places(size: Sequence[int], seed: int, device: torch.device | str) -> Tensor:
    """(H * W,) int64: all pixels, from where a random smooth field is lowest to where it is highest."""
    generator = torch.Generator(device).manual_seed(seed)
    grid = torch.randn(1, 1, FIELD_GRID, FIELD_GRID, generator=generator, device=device)
    return field_places(grid, size)[0]


def field_places(grid: Tensor, size: Sequence[int]) -> Tensor:
    """(B, H * W) int64: all pixels, from where a smooth field is lowest to where it is highest; in its order where it
    is equal. grid: (B, 1, h, w) float, the field before it is interpolated (bicubic) to `size`."""
    field = F.interpolate(grid, list(size), mode="bicubic", align_corners=False).flatten(1)
    return field.argsort(dim=1, stable=True)


def moved(masks: Tensor, places: Tensor) -> Tensor:
    """The values of each mask (B, 1, H, W) put in the order of `places` (B, H * W): the largest where the field is
    highest. Area and every other count of values stay exactly as they are; the place has nothing to do with the image.
    """
    values = masks.flatten(1)
    # On a CPU numpy is quicker; equal values are alike, so both give the same.
    quick = values.device.type == "cpu" and not values.requires_grad
    ordered = torch.from_numpy(np.sort(values.numpy(), axis=1)) if quick else values.sort(dim=1).values
    return torch.empty_like(values).scatter_(1, places, ordered).view_as(masks)
