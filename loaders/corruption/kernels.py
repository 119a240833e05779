"""What each corruption makes of an image, before it is laid in through the mask.

Images are (3, H, W) float32 in [0, 1], masks (1, H, W) float32 in [0, 1], on one device; `each` goes through a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision import tv_tensors

from salient_imagenet_data.loaders.region import at_least_half

GRAY = 0.5


def to_unit(image: Tensor) -> Tensor:
    """uint8 or float image -> float32 in [0, 1]."""
    return image.float() / 255.0 if image.dtype == torch.uint8 else image.float()


def from_unit(image: Tensor, dtype: torch.dtype) -> Tensor:
    """float32 in [0, 1] -> dtype; uint8 is rounded to the nearest level."""
    return image.mul(255.0).round().clamp(0.0, 255.0).to(dtype) if dtype == torch.uint8 else image.to(dtype)


def each(kernel: Callable[..., Tensor], images: Tensor, *args: Any) -> Tensor:
    """A kernel on every image of a batch. Arguments that are tensors or lists are taken apart with it."""
    if not len(images):
        return to_unit(images)
    parts = zip(images, *map(_repeated, args), strict=False)
    return torch.stack([kernel(*part) for part in parts])


def _repeated(value: Any) -> Iterable[Any]:
    return value if isinstance(value, (Tensor, list)) else repeat(value)


def normal_like(images: Tensor, seeds: Sequence[int]) -> Tensor:
    """Standard normal numbers (B, 3, H, W) float32, drawn on the images' device for each image from its seed."""
    noise = torch.empty_like(images)
    generator = torch.Generator(images.device)
    for part, seed in zip(noise, seeds, strict=True):
        part.normal_(generator=generator.manual_seed(seed))
    return noise


def uniform_like(images: Tensor, seeds: Sequence[int]) -> Tensor:
    """Numbers (B, 3, H, W) float32, equally likely anywhere in [0, 1), drawn as those of `normal_like`."""
    noise = torch.empty_like(images)
    generator = torch.Generator(images.device)
    for part, seed in zip(noise, seeds, strict=True):
        part.uniform_(generator=generator.manual_seed(seed))
    return noise


def rescaled(noise: Tensor, norm: float) -> Tensor:
    """Noise (B, 3, H, W) of an l2 norm an image; zeros stay zeros."""
    # A sum of a batch may be taken in another order than that of an image.
    length = torch.stack([part.norm() for part in noise])[:, None, None, None] if len(noise) else noise
    return noise * torch.where(length > 0, norm / length, 0.0)


def mean_colors(images: Tensor) -> Tensor:
    """The mean colour of each image (B, 3, H, W), everywhere in it."""
    if not len(images):
        return images
    return torch.stack([image.mean(dim=(1, 2)) for image in images])[:, :, None, None].expand_as(images)


def plain(images: Tensor, color: str | tuple[float, float, float]) -> Tensor:
    """One colour, gray, black or as given, (..., 3, H, W)."""
    rgb = {"gray": (GRAY,) * 3, "black": (0.0,) * 3}[color] if isinstance(color, str) else color
    return torch.tensor(rgb, device=images.device)[:, None, None].expand_as(images)


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur, cut at 4 sigma, with the edge mirrored (the edge pixel is repeated).

    As two products with band matrices: at the widths used here that is faster than a convolution on the CPU.
    """
    rows, columns = (_blur_matrix(n, sigma, image.device) for n in image.shape[1:])
    return (rows @ (image @ columns.T)).clamp(0.0, 1.0)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # a kept tensor must also serve who wants gradients
def _blur_matrix(size: int, sigma: float, device: torch.device) -> Tensor:
    """(size, size) float32: row i holds the weights of the inputs of output i."""
    reach = max(1, math.ceil(4 * sigma))
    offsets = torch.arange(-reach, reach + 1)
    weights = torch.exp(-0.5 * (offsets / sigma).double() ** 2)
    place = (torch.arange(size)[:, None] + offsets) % (2 * size)
    place = torch.where(place < size, place, 2 * size - 1 - place)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    matrix.scatter_add_(1, place, (weights / weights.sum()).expand(size, -1))
    return matrix.float().to(device)


def shuffle(images: Tensor, masks: Tensor, seeds: Sequence[int]) -> Tensor:
    """The pixels of each image (B, 3, H, W) with m > 0, all channels together, in a random order."""
    inside = masks.flatten(1) > 0
    counts = inside.sum(dim=1).tolist()  # a device is waited for once
    generator = torch.Generator(images.device)
    shuffled = images.flatten(2).clone()
    every = torch.split(inside.nonzero()[:, 1], counts)
    for flat, places, seed in zip(shuffled, every, seeds, strict=True):
        order = torch.randperm(len(places), generator=generator.manual_seed(seed), device=images.device)
        flat[:, places] = flat[:, places[order]]
    return shuffled.view_as(images)


Box = tuple[int, int, int, int]


def bounding_boxes(masks: Tensor) -> list[Box | None]:
    """For each mask (B, 1, H, W) the (top, left, bottom, right) of the pixels of at least half its peak; None for an
    empty one. Bottom and right are one past the last pixel, so that slices hold all of them."""
    inside = at_least_half(masks)[:, 0]
    edges = [inside.flatten(1).any(dim=1).long()]
    for line in (inside.any(dim=2), inside.any(dim=1)):
        edges += [line.long().argmax(dim=1), line.shape[1] - line.flip(1).long().argmax(dim=1)]
    found = torch.stack(edges, dim=1).tolist()  # a device is waited for once
    return [(top, left, bottom, right) if there else None for there, top, bottom, left, right in found]


def tile(image: Tensor, box: Box | None) -> Tensor:
    """The largest of the strips above, below, left and right of the region's box, repeated over the whole image."""
    if box is None:
        return image
    top, left, bottom, right = box
    # Strips as wide, or as high, as the box, so that the pattern goes on where the box ends.
    strips = [
        image[:, :top, left:right],
        image[:, bottom:, left:right],
        image[:, top:bottom, :left],
        image[:, top:bottom, right:],
    ]
    strip = max(strips, key=lambda s: s.shape[1] * s.shape[2])
    if not strip.numel():
        return plain(image, "gray")
    height, width = image.shape[1:]
    rows = (torch.arange(height, device=image.device) - top) % strip.shape[1]
    columns = (torch.arange(width, device=image.device) - left) % strip.shape[2]
    return strip[:, rows[:, None], columns]


def inpaint(images: Tensor, masks: Tensor, sweeps: int) -> Tensor:
    """Fill by diffusion from the pixels outside the region. images (B, 3, H, W), masks (B, 1, H, W).

    A pixel is known to the degree k = 1 - m. Down: blocks of 2 x 2 are averaged, weighted by k, until one pixel is
    left. Up: the coarser level, repeated, fills what is unknown, u = k x + (1 - k) up(u); then `sweeps` times
    u = k x + (1 - k) (mean of the four neighbours). For a 0/1 mask this goes towards the solution of Laplace's
    equation with the known pixels as boundary values. Gray where nothing is known.
    """
    known = 1.0 - masks
    if images.device.type == "cpu" and len(images) > 1:  # one image stays in the caches
        return torch.cat([_diffused(x[None], k[None], sweeps) for x, k in zip(images, known, strict=True)])
    return _diffused(images, known, sweeps)


def _diffused(images: Tensor, known: Tensor, sweeps: int) -> Tensor:
    levels = [(images, known)]
    while max(levels[-1][0].shape[2:]) > 1:
        levels.append(_halve(*levels[-1]))
    filled = levels[-1][0]
    for pixels, sure in reversed(levels[:-1]):
        height, width = pixels.shape[2:]
        filled = filled.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)[:, :, :height, :width]
        filled = torch.lerp(filled, pixels, sure)
        for _ in range(sweeps):
            filled = torch.lerp(_neighbours(filled), pixels, sure)
    return torch.where(known.amax(dim=(2, 3), keepdim=True) > 0, filled.clamp(0.0, 1.0), GRAY)


def _halve(pixels: Tensor, sure: Tensor) -> tuple[Tensor, Tensor]:
    """Blocks of 2 x 2: the mean weighted by how sure each pixel is, and how sure the surest is."""
    weight = F.avg_pool2d(sure, 2, ceil_mode=True)
    total = F.avg_pool2d(pixels * sure, 2, ceil_mode=True)
    return total / weight.clamp_min(1e-12), F.max_pool2d(sure, 2, ceil_mode=True)


def _neighbours(pixels: Tensor) -> Tensor:
    """Mean of the four neighbours, the edge repeated."""
    wide = F.pad(pixels, (1, 1, 1, 1), mode="replicate")
    around = wide[:, :, :-2, 1:-1] + wide[:, :, 2:, 1:-1] + wide[:, :, 1:-1, :-2] + wide[:, :, 1:-1, 2:]
    return around / 4.0


def transformed(image: Tensor, seed: int, transform: Callable[[Any], Any], as_uint8: bool) -> Tensor:
    """The image (uint8 or float) after a v2 transform run under its own seed, float32 in [0, 1]."""
    given = from_unit(to_unit(image), torch.uint8).cpu() if as_uint8 else image
    on_gpu = image.device.type == "cuda"
    with torch.random.fork_rng(devices=[image.device] if on_gpu else []):
        # Not torch.manual_seed, which would also seed the devices whose state is not put back.
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            torch.cuda.default_generators[image.device.index or 0].manual_seed(seed)
        made = transform(tv_tensors.Image(given)).as_subclass(Tensor)
    if made.shape != image.shape:
        raise ValueError(f"Composite: expected a transform that keeps {tuple(image.shape)}, got {tuple(made.shape)}")
    return to_unit(made).clamp(0.0, 1.0).to(image.device)
