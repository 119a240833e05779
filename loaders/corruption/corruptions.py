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
from salient_imagenet_data.loaders.corruption.records import Corruption, Given

ROUNDING = 1e-5
"""How far images and masks may leave [0, 1]: resampled ones do, by the last digits of a float32."""


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
    if corruption.hides:
        raise ValueError(f"corrupt: expected what paints over pixels; {corruption.name} is done to the network")
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
    noise = noise.clone() if corruption.normal and noise is not None else None
    given = Given(images, x, masks, seeds, others, noise)
    # A mixed-precision training loop must not round what the corruption is made of.
    with torch.autocast(images.device.type, enabled=False):
        done = corruption.laid_in(given)
    done = kernels.from_unit(done, images.dtype)
    # Only float64 loses digits on the way through float32.
    return torch.where(masks > 0, done, images) if images.dtype == torch.float64 else done


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
            over = max(ROUNDING, 8 * torch.finfo(tensor.dtype).eps)
            if not (low >= -over and high <= 1.0 + over):
                then = "; go before v2.Normalize, and resize bicubically while it is uint8" if name == "images" else ""
                raise ValueError(f"{name}: expected values in [0, 1], got {low:g} to {high:g}{then}")
