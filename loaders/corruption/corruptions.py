"""Masked corruptions of batches: what is done to the pixels of a region, one pure function on the records of `records`.

Images are (B, 3, H, W), floating point in [0, 1] or uint8 in 0..255; masks (B, 1, H, W), floating point in [0, 1].
All arithmetic is in float32 on the [0, 1] scale; uint8 is rounded to the nearest level at the end. A pixel whose
mask is 0 keeps its value exactly. Every image is worked on by itself with a generator of its own, so nothing
depends on the batch, its order, the worker or the number of devices.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from salient_imagenet_data.loaders.corruption import kernels
from salient_imagenet_data.loaders.corruption.records import (
    Blur,
    Composite,
    Corruption,
    Fill,
    GaussianNoise,
    Inpaint,
    Shuffle,
    Tile,
)


def image_seeds(seed: int, image_ids: Sequence[str], condition: str = "") -> list[int]:
    """A 63-bit seed for each image, a function of (seed, image id, condition) only."""
    tail = f"\0{condition}" if condition else ""
    digests = [hashlib.blake2b(f"{seed}\0{i}{tail}".encode(), digest_size=8).digest() for i in image_ids]
    return [int.from_bytes(digest, "little") >> 1 for digest in digests]


def image_generator(seed: int, image_id: str) -> torch.Generator:
    """A CPU generator for one image: the same for the same (seed, image id), whatever the batch or worker."""
    return torch.Generator().manual_seed(image_seeds(seed, [image_id])[0])


def gaussian_noise(image: Tensor, mask: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """x' = clip(x + n * m, 0, 1) with n ~ N(0, sigma^2) [Singla & Feizi 2022, section 5].

    image: (..., C, H, W) float in [0, 1]. mask: broadcasts to it, in [0, 1]. sigma: standard deviation on the
    [0, 1] scale. Noise is drawn where the generator is. Returns the image's dtype and device. Raises TypeError for
    integer images.
    """
    if not image.is_floating_point():
        raise TypeError(f"gaussian_noise: expected a float image in [0, 1], got {image.dtype}; convert it first")
    noise = torch.randn(image.shape, generator=generator, dtype=torch.float32, device=generator.device).to(image)
    return (image + sigma * noise * mask.to(image)).clamp(0.0, 1.0)


def corrupt(
    images: Tensor,
    masks: Tensor,
    corruption: Corruption,
    seeds: Sequence[int],
    *,
    others: Tensor | None = None,
    noise: Tensor | None = None,
    check_values: bool = True,
) -> Tensor:
    """Corrupt each image where its mask is: x' = (1 - m) x + m c(x), and for noise clip(x + n m, 0, 1).

    images: (B, 3, H, W) float in [0, 1] or uint8. masks: (B, 1, H, W) float in [0, 1], on the same device. seeds:
    B numbers, from `image_seeds`. others: another image for each, as images, for `Swap`. noise: (B, 3, H, W) what
    `kernels.normal_like` draws from these seeds, for who corrupts the same images several times. check_values: look
    whether images and masks are in range, for which a CUDA device is waited for. Returns new images of the same dtype.
    The result is the same for the same image and seed on one type of device; CPU and CUDA draw different random
    numbers. Raises TypeError for other dtypes, ValueError for other shapes, ranges or devices.
    """
    check_batch(images, masks, values=check_values)
    if len(seeds) != len(images):
        raise ValueError(f"corrupt: expected {len(images)} seeds, got {len(seeds)}")
    if corruption.needs_other:
        if others is None or others.shape != images.shape or others.dtype != images.dtype:
            got = "none" if others is None else f"{tuple(others.shape)} {others.dtype}"
            wanted = f"{tuple(images.shape)} {images.dtype} for {type(corruption).__name__}"
            raise ValueError(f"corrupt: expected others {wanted}, got {got}")
        check_batch(others, masks, values=check_values)
    # A copy of its own: results of matrix products may hang on strides, so on what the batch came from.
    images = images.clone(memory_format=torch.contiguous_format)
    x, masks = kernels.to_unit(images), masks.float()
    if isinstance(corruption, GaussianNoise):
        noise = kernels.normal_like(x, seeds) if noise is None else noise.clone()
        if corruption.l2_norm is None:
            added = noise.mul_(corruption.sigma).mul_(masks)
        else:
            added = kernels.each(kernels.rescaled, noise.mul_(masks), corruption.l2_norm)
        return kernels.from_unit(added.add_(x).clamp_(0.0, 1.0), images.dtype)
    # A mixed-precision training loop must not round what the corruption is made of.
    with torch.autocast(images.device.type, enabled=False):
        made = _made(images, x, masks, corruption, seeds, others)
    return kernels.from_unit(torch.lerp(x, made, masks), images.dtype)


def check_batch(images: Tensor, masks: Tensor, *, values: bool = True) -> None:
    """Hold a batch to the rules of this module, its values too if asked; raises TypeError or ValueError."""
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise TypeError(f"images: expected uint8, or float in [0, 1], got {images.dtype}")
    if not masks.is_floating_point():
        raise TypeError(f"masks: expected float in [0, 1], got {masks.dtype}")
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images: expected (B, 3, H, W), got {tuple(images.shape)}")
    if masks.shape != (len(images), 1, *images.shape[2:]):
        raise ValueError(f"masks: expected {(len(images), 1, *images.shape[2:])}, got {tuple(masks.shape)}")
    if masks.device != images.device:
        raise ValueError(f"masks: expected on {images.device} as the images are, got on {masks.device}")
    for name, tensor in (("images", images), ("masks", masks)) if values else ():
        if tensor.is_floating_point() and tensor.numel():
            low, high = (v.item() for v in tensor.aminmax())
            if not (low >= 0.0 and high <= 1.0):
                raise ValueError(f"{name}: expected values in [0, 1], got {low:g} to {high:g}")


def _made(
    images: Tensor, x: Tensor, masks: Tensor, corruption: Corruption, seeds: Sequence[int], others: Tensor | None
) -> Tensor:
    """What comes in place of the images x, float32. Image by image where a step could hang on the batch's size."""
    match corruption:
        case Fill(color):
            return kernels.each(kernels.mean_color, x) if color == "mean" else kernels.plain(x, color)
        case Blur(sigma):
            return kernels.each(kernels.gaussian_blur, x, sigma)
        case Shuffle():
            return kernels.each(kernels.shuffle, x, masks, seeds)
        case Tile():
            return kernels.each(kernels.tile, x, masks)
        case Inpaint(sweeps):
            return kernels.inpaint(x, masks, sweeps)
        case Composite(transform, as_uint8):
            return kernels.each(kernels.transformed, images, seeds, transform, as_uint8)
        case _:
            assert others is not None
            return kernels.to_unit(others)
