"""Masked corruptions: pure functions first, `transforms.v2` classes that call them second."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from salient_imagenet_data.names import IMAGE, IMAGE_ID, MASK_COLUMN, Kind


def image_generator(seed: int, image_id: str) -> torch.Generator:
    """A CPU generator for one image: the same for the same (seed, image id), whatever the batch or worker."""
    digest = hashlib.blake2b(f"{seed}\0{image_id}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def gaussian_noise(image: Tensor, mask: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """x' = clip(x + n * m, 0, 1) with n ~ N(0, sigma^2) [Singla & Feizi 2022, section 5].

    image: (..., C, H, W) float in [0, 1]. mask: broadcasts to it, in [0, 1]. sigma: standard deviation on the
    [0, 1] scale. generator: on the CPU. Returns the image's dtype and device. Raises TypeError for integer images.
    """
    if not image.is_floating_point():
        raise TypeError(f"gaussian_noise: expected a float image in [0, 1], got {image.dtype}; convert it first")
    noise = torch.randn(image.shape, generator=generator, dtype=torch.float32).to(image)
    return (image + sigma * noise * mask.to(image)).clamp(0.0, 1.0)


class MaskedGaussianNoise(torch.nn.Module):
    """Put Gaussian noise on the core or spurious pixels of a sample of `SalientImageNet`.

    region: which mask the noise is multiplied with. The noise depends on (seed, image id) only. The image
    becomes float32 in [0, 1].
    """

    def __init__(self, region: Kind, sigma: float = 0.25, seed: int = 0) -> None:
        super().__init__()
        self.region: Kind = region
        self.sigma, self.seed = sigma, seed

    def forward(self, sample: dict[str, Any]) -> dict[str, Any]:
        image = F.to_dtype(sample[IMAGE], torch.float32, scale=True).as_subclass(Tensor)
        mask = sample[MASK_COLUMN[self.region]].as_subclass(Tensor)
        generator = image_generator(self.seed, sample[IMAGE_ID])
        return {**sample, IMAGE: tv_tensors.Image(gaussian_noise(image, mask, self.sigma, generator))}

    def extra_repr(self) -> str:
        return f"region={self.region!r}, sigma={self.sigma}, seed={self.seed}"
