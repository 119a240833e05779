"""Masked corruptions as `torchvision.transforms.v2`-style modules on samples and batches of the torch datasets."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from salient_imagenet_data.loaders.batches import replaced
from salient_imagenet_data.loaders.controls import region_masks
from salient_imagenet_data.loaders.corruption.corruptions import corrupt, image_seeds
from salient_imagenet_data.loaders.corruption.records import Corruption, GaussianNoise
from salient_imagenet_data.loaders.region import Region, RegionName
from salient_imagenet_data.names import CORE, IMAGE, IMAGE_ID, MASK_COLUMN, SPURIOUS


class MaskedCorruption(torch.nn.Module):
    """Corrupt a region of a sample, or of a collated batch, of `SalientImageNet`.

    region: a `Region` or its name; its control may be "random", not "other", since a sample knows no other image.
    corruption: any but `Swap`, for the same reason; `OtherBackground` knows others. seed: with a number, the random
    numbers of an image depend on (seed, image id, condition) only, in every epoch; None draws a new seed from torch's
    generator at every call, as training wants it. p: the share of images that are corrupted. The image keeps its type
    and dtype, the masks stay as they are. An image without such a region is left alone, and so is one of which
    a crop has left no core: what is not core would be all of it.
    """

    knows_others = False

    def __init__(
        self,
        corruption: Corruption,
        region: Region | RegionName,
        *,
        seed: int | None = 0,
        condition: str = "",
        p: float = 1.0,
    ) -> None:
        super().__init__()
        self.corruption = corruption
        self.region = Region(region) if isinstance(region, str) else region
        self.seed, self.condition, self.p = seed, condition, p
        if (corruption.needs_other and not self.knows_others) or self.region.control == "other":
            raise ValueError("MaskedCorruption: expected what one image is enough for; call corrupt() on a batch")
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"{type(self).__name__}: expected a share p in [0, 1], got {p}")

    def forward(self, sample: dict[str, Any]) -> dict[str, Any]:
        single, image = isinstance(sample[IMAGE_ID], str), sample[IMAGE]
        pixels = as_batch(image, single)
        core, spurious = masks_of_sample(sample, single)
        ids = [sample[IMAGE_ID]] if single else sample[IMAGE_ID]
        seed = seed_of_call(self.seed)
        purposes = [self.condition, f"{self.condition}\0region", f"{self.condition}\0chosen"]
        noise, place, lot = (image_seeds(seed, ids, purpose) for purpose in purposes)
        chosen = self._has(sample) & torch.tensor([number < self.p * 2**63 for number in lot], dtype=torch.bool)
        masks = region_masks(core, spurious, self.region, place) * chosen.to(core.device)[:, None, None, None]
        if self.region.complement:
            masks = masks * (masks.amin(dim=(1, 2, 3), keepdim=True) < 1.0)
        others, there = self.others(sample, seed)
        out = corrupt(pixels, masks * there, self.corruption, noise, others=others)
        return replaced(sample, {IMAGE: tv_tensors.wrap(out[0] if single else out, like=image)})

    def others(self, sample: dict[str, Any], seed: int) -> tuple[Tensor | None, Tensor | float]:
        """Another image for each, as the images of the sample, where the corruption needs it; and whether there is one,
        (B, 1, 1, 1), or 1 for all."""
        return None, 1.0

    def _has(self, sample: dict[str, Any]) -> Tensor:
        """(B,) bool on the CPU."""
        return torch.as_tensor(self.region.counts(sample[f"has_{CORE}"], sample[f"has_{SPURIOUS}"])).reshape(-1).cpu()

    def extra_repr(self) -> str:
        return f"{self.corruption!r}, {self.region!r}, seed={self.seed}, condition={self.condition!r}, p={self.p}"


class MaskedGaussianNoise(MaskedCorruption):
    """Gaussian noise on a region, as the protocol "iclr2022" draws it. region: a `Region` or its name."""

    def __init__(self, region: Region | RegionName, sigma: float = 0.25, seed: int | None = 0) -> None:
        super().__init__(GaussianNoise(sigma), region, seed=seed)


class FiveCrop(v2.FiveCrop):  # type: ignore[misc]
    """torchvision's, which refuses masks, for samples with `SoftMask`s: image and masks become tuples of five."""

    def check_inputs(self, flat_inputs: list[Any]) -> None: ...

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return F.five_crop(inpt, self.size)


class TenCrop(v2.TenCrop):  # type: ignore[misc]
    """torchvision's, which refuses masks, for samples with `SoftMask`s: image and masks become tuples of ten."""

    def check_inputs(self, flat_inputs: list[Any]) -> None: ...

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return F.ten_crop(inpt, self.size, vertical_flip=self.vertical_flip)


def as_batch(image: Tensor, single: bool) -> Tensor:
    """A plain tensor with a batch axis. single: whether it is of a sample, which has none. Raises TypeError for what is
    no tensor."""
    if not isinstance(image, Tensor):
        raise TypeError(f"expected images and masks as tensors, got {type(image).__name__}; v2.ToImage() makes them")
    plain = image.as_subclass(Tensor)
    return plain[None] if single else plain


def masks_of_sample(sample: dict[str, Any], single: bool) -> tuple[Tensor, Tensor]:
    """Core and spurious masks (B, 1, H, W) of a sample or batch. Raises ValueError for one in the compact form."""
    if MASK_COLUMN[CORE] not in sample:
        raise ValueError("expected samples with masks, got the compact form; leave out return_maps, or make them first")
    return as_batch(sample[MASK_COLUMN[CORE]], single), as_batch(sample[MASK_COLUMN[SPURIOUS]], single)


def seed_of_call(seed: int | None) -> int:
    """A seed that was given; None: one drawn from torch's generator, which differs between workers and epochs."""
    return int(torch.randint(2**62, ())) if seed is None else seed
