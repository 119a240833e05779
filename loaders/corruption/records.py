"""The corruptions: each a small record, and the names by which conditions and commands know them. Importing them loads
no torch: a record calls its kernel when it corrupts."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from salient_imagenet_data.errors import SalientError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Given:
    """What a corruption is made of. images: (B, 3, H, W) as they came, x: the same as float32 in [0, 1], masks:
    (B, 1, H, W) float32. seeds: one an image. others: another image for each, as images. noise: (B, 3, H, W) standard
    normal numbers of these seeds that may be overwritten, of who has drawn them already."""

    images: Tensor
    x: Tensor
    masks: Tensor
    seeds: Sequence[int]
    others: Tensor | None = None
    noise: Tensor | None = None


class Corruption:
    """What is done to the pixels of a region. A new one is a record that says what it makes, and a line in
    `REGISTERED`.

    random: draws random numbers for each image. normal: these are standard normal, `Given.noise`. needs_other: takes
    another image's pixels. hides: paints nothing, the network is not shown the region. noise_level: of Gaussian noise,
    its standard deviation on the [0, 1] scale: accuracies under several make a curve.
    """

    random = False
    normal = False
    needs_other = False
    hides = False

    @property
    def name(self) -> str:
        """As conditions and commands write it."""
        raise NotImplementedError

    @property
    def noise_level(self) -> float | None:
        return None

    def made(self, given: Given) -> Tensor:
        """What comes in place of the images, float32 (B, 3, H, W). Image by image where a step could hang on the
        batch's size."""
        raise NotImplementedError

    def laid_in(self, given: Given) -> Tensor:
        """The corrupted images, float32: (1 - m) x + m c(x)."""
        import torch

        return torch.lerp(given.x, self.made(given), given.masks)


@dataclass(frozen=True)
class GaussianNoise(Corruption):
    """x' = clip(x + n m, 0, 1), n ~ N(0, sigma^2). With `l2_norm`, n m is rescaled to that l2 norm over the image first
    and sigma plays no part."""

    sigma: float = 0.25
    l2_norm: float | None = None
    random = True
    normal = True

    def __post_init__(self) -> None:
        if not (self.sigma >= 0 and (self.l2_norm is None or self.l2_norm >= 0)):  # nor NaN
            raise ValueError(f"GaussianNoise: expected sigma and l2_norm >= 0, got {self.sigma} and {self.l2_norm}")

    @property
    def name(self) -> str:
        return f"noise_{self.sigma:g}" if self.l2_norm is None else f"noise_l2_{self.l2_norm:g}"

    @property
    def noise_level(self) -> float | None:
        return self.sigma if self.l2_norm is None else None

    def laid_in(self, given: Given) -> Tensor:
        from salient_imagenet_data.loaders.corruption import kernels

        noise = kernels.normal_like(given.x, given.seeds) if given.noise is None else given.noise
        if self.l2_norm is None:
            added = noise.mul_(self.sigma).mul_(given.masks)
        else:
            added = kernels.rescaled(noise.mul_(given.masks), self.l2_norm)
        return added.add_(given.x).clamp_(0.0, 1.0)


@dataclass(frozen=True)
class Fill(Corruption):
    """One colour: "gray" (0.5), "black" (0), "mean" (the image's own mean colour), or (r, g, b) in [0, 1], such as the
    mean colour of a data set."""

    color: str | tuple[float, float, float] = "gray"

    def __post_init__(self) -> None:
        named = self.color in ("gray", "black", "mean")
        if not named and (
            isinstance(self.color, str) or len(self.color) != 3 or not all(0 <= v <= 1 for v in self.color)
        ):
            raise ValueError(f"Fill: expected gray, black, mean or three numbers in [0, 1], got {self.color!r}")

    @property
    def name(self) -> str:
        return f"fill_{self.color}" if isinstance(self.color, str) else "fill_" + "_".join(f"{v:g}" for v in self.color)

    def made(self, given: Given) -> Tensor:
        from salient_imagenet_data.loaders.corruption import kernels

        if self.color == "mean":
            return kernels.mean_colors(given.x)
        return kernels.plain(given.x, self.color)


@dataclass(frozen=True)
class Blur(Corruption):
    """Gaussian blur of the whole image, with its edge mirrored. sigma: in pixels."""

    sigma: float = 10.0

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise ValueError(f"Blur: expected sigma > 0, got {self.sigma}")

    @property
    def name(self) -> str:
        return f"blur_{self.sigma:g}"

    def made(self, given: Given) -> Tensor:
        from salient_imagenet_data.loaders.corruption import kernels

        return kernels.each(kernels.gaussian_blur, given.x, self.sigma)


@dataclass(frozen=True)
class Shuffle(Corruption):
    """The pixels with m > 0 change places among themselves."""

    name = "shuffle"
    random = True

    def made(self, given: Given) -> Tensor:
        from salient_imagenet_data.loaders.corruption import kernels

        return kernels.shuffle(given.x, given.masks, given.seeds)


@dataclass(frozen=True)
class Static(Corruption):
    """Every pixel another colour, drawn evenly from all there are."""

    name = "static"
    random = True

    def made(self, given: Given) -> Tensor:
        from salient_imagenet_data.loaders.corruption import kernels

        return kernels.uniform_like(given.x, given.seeds)


@dataclass(frozen=True)
class Tile(Corruption):
    """The largest strip beside the bounding box of the region (m >= half its peak), repeated over the image
    [Moayeri et al. 2022, arXiv 2201.10766]. Gray where the box leaves no strip."""

    name = "tile"

    def made(self, given: Given) -> Tensor:
        from salient_imagenet_data.loaders.corruption import kernels

        return kernels.each(kernels.tile, given.x, kernels.bounding_boxes(given.masks))


@dataclass(frozen=True)
class Inpaint(Corruption):
    """Colours diffuse into the region from what lies around it. sweeps: of averaging over four neighbours, at each of
    the levels from coarse to fine. Gray where the region is the whole image."""

    sweeps: int = 4

    def __post_init__(self) -> None:
        if self.sweeps < 0:
            raise ValueError(f"Inpaint: expected sweeps >= 0, got {self.sweeps}")

    @property
    def name(self) -> str:
        return "inpaint" if self.sweeps == 4 else f"inpaint_{self.sweeps}"

    def made(self, given: Given) -> Tensor:
        from salient_imagenet_data.loaders.corruption import kernels

        return kernels.inpaint(given.x, given.masks, self.sweeps)


@dataclass(frozen=True)
class Swap(Corruption):
    """The pixels of another image, given as `others`."""

    name = "swap"
    needs_other = True

    def made(self, given: Given) -> Tensor:
        from salient_imagenet_data.loaders.corruption import kernels

        assert given.others is not None
        return kernels.to_unit(given.others)


@dataclass(frozen=True)
class Composite(Corruption):
    """What a `torchvision.transforms.v2` transform that keeps the size makes of the image.

    The transform sees the image as it is, float or uint8. as_uint8: it sees uint8 on the CPU, as JPEG wants it.
    Its random numbers are seeded by image; the global generator is left as it was. label: a short name.
    """

    transform: Callable[[Any], Any]
    as_uint8: bool = False
    label: str | None = None

    @property
    def name(self) -> str:
        return self.label or str(self.transform)

    def made(self, given: Given) -> Tensor:
        from salient_imagenet_data.loaders.corruption import kernels

        return kernels.each(kernels.transformed, given.images, given.seeds, self.transform, self.as_uint8)


@dataclass(frozen=True)
class Jpeg:
    """Compressed by Pillow with a quality of 1 to 100, and decoded. (3, H, W) uint8 on the CPU, both ways."""

    quality: int

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise ValueError(f"Jpeg: expected a quality of 1 to 100, got {self.quality}")

    def __call__(self, image: Tensor) -> Tensor:
        import torch
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=self.quality)
        with Image.open(file) as decoded:
            return torch.from_numpy(np.array(decoded)).permute(2, 0, 1)


@dataclass(frozen=True)
class Missing(Corruption):
    """Nothing is painted over: the network is not shown the pixels whose mask is at least 0.5."""

    name = "missing"
    hides = True


@dataclass(frozen=True)
class Levelled:
    """Corruptions with a level, named `<key>_<level>`. level: what is written for it in help. whole: a whole number."""

    key: str
    level: str
    make: Callable[[float], Corruption]
    whole: bool = False

    def of(self, name: str) -> Corruption | None:
        """The corruption of a name, None if it is not one of these, or its level cannot be."""
        digits = r"\d+" if self.whole else r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"
        found = re.fullmatch(rf"{self.key}_({digits})", name, re.ASCII)
        if found is None or not math.isfinite(float(found[1])):
            return None
        try:
            return self.make(float(found[1]))
        except ValueError:
            return None


REGISTERED: tuple[Corruption | Levelled, ...] = (
    Fill("gray"),
    Fill("black"),
    Fill("mean"),
    Shuffle(),
    Static(),
    Tile(),
    Inpaint(),
    Swap(),
    Missing(),
    Levelled("noise", "SIGMA", GaussianNoise),
    Levelled("noise_l2", "NORM", lambda norm: GaussianNoise(l2_norm=norm)),
    Levelled("blur", "SIGMA", Blur),
    Levelled(
        "jpeg",
        "QUALITY",
        lambda quality: Composite(Jpeg(int(quality)), as_uint8=True, label=f"jpeg_{int(quality)}"),
        whole=True,
    ),
)
"""All that a name can mean: those without a level by their own names, and families with one."""
FORMS = tuple(f"{known.key}_{known.level}" if isinstance(known, Levelled) else known.name for known in REGISTERED)
"""How the names look."""


def corruption_of(name: str) -> Corruption:
    """The corruption of a name, one of `FORMS`. Raises SalientError for another name or a level that cannot be."""
    for known in REGISTERED:
        found = known.of(name) if isinstance(known, Levelled) else known if known.name == name else None
        if found is not None:
            return found
    raise SalientError(f"corruption {name!r} is not known", expected=f"one of {', '.join(FORMS)}, levels in range")
