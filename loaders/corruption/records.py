"""The corruptions: each a small record, and the names by which conditions and commands know them. No torch."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from salient_imagenet_data.errors import SalientError

if TYPE_CHECKING:
    from torch import Tensor


class Kind:
    """What a corruption is, whatever its level. random: draws random numbers for each image. needs_other: takes another
    image's pixels. hides: paints nothing, the network is not shown the region."""

    random = False
    needs_other = False
    hides = False


@dataclass(frozen=True)
class GaussianNoise(Kind):
    """x' = clip(x + n m, 0, 1), n ~ N(0, sigma^2). With `l2_norm`, n m is rescaled to that l2 norm over the image first
    and sigma plays no part."""

    sigma: float = 0.25
    l2_norm: float | None = None
    random = True

    def __post_init__(self) -> None:
        if self.sigma < 0 or (self.l2_norm is not None and self.l2_norm < 0):
            raise ValueError(f"GaussianNoise: expected sigma and l2_norm >= 0, got {self.sigma} and {self.l2_norm}")

    @property
    def name(self) -> str:
        return f"noise_{self.sigma:g}" if self.l2_norm is None else f"noise_l2_{self.l2_norm:g}"


@dataclass(frozen=True)
class Fill(Kind):
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


@dataclass(frozen=True)
class Blur(Kind):
    """Gaussian blur of the whole image, with its edge mirrored. sigma: in pixels."""

    sigma: float = 10.0

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise ValueError(f"Blur: expected sigma > 0, got {self.sigma}")

    @property
    def name(self) -> str:
        return f"blur_{self.sigma:g}"


@dataclass(frozen=True)
class Shuffle(Kind):
    """The pixels with m > 0 change places among themselves."""

    name = "shuffle"
    random = True


@dataclass(frozen=True)
class Tile(Kind):
    """The largest strip beside the bounding box of the region (m >= half its peak), repeated over the image
    [Moayeri et al. 2022, arXiv 2201.10766]. Gray where the box leaves no strip."""

    name = "tile"


@dataclass(frozen=True)
class Inpaint(Kind):
    """Colours diffuse into the region from what lies around it. sweeps: of averaging over four neighbours, at each of
    the levels from coarse to fine. Gray where the region is the whole image."""

    sweeps: int = 4

    @property
    def name(self) -> str:
        return "inpaint" if self.sweeps == 4 else f"inpaint_{self.sweeps}"


@dataclass(frozen=True)
class Swap(Kind):
    """The pixels of another image, given as `others`."""

    name = "swap"
    needs_other = True


@dataclass(frozen=True)
class Composite(Kind):
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


Corruption = GaussianNoise | Fill | Blur | Shuffle | Tile | Inpaint | Swap | Composite


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
class Missing(Kind):
    """Nothing is painted over: the network is not shown the pixels whose mask is at least 0.5."""

    name = "missing"
    hides = True


PLAIN: tuple[Corruption | Missing, ...] = (
    Fill("gray"),
    Fill("black"),
    Fill("mean"),
    Shuffle(),
    Tile(),
    Inpaint(),
    Swap(),
    Missing(),
)
"""Corruptions without a level, by their own names."""
LEVELS: dict[str, Callable[[float], Corruption]] = {
    "noise": GaussianNoise,
    "noise_l2": lambda norm: GaussianNoise(l2_norm=norm),
    "blur": Blur,
    "jpeg": lambda quality: Composite(Jpeg(int(quality)), as_uint8=True, label=f"jpeg_{int(quality)}"),
}
"""Corruptions with a level, named `<key>_<level>`."""
FORMS = (*(c.name for c in PLAIN), "noise_SIGMA", "noise_l2_NORM", "blur_SIGMA", "jpeg_QUALITY")


def corruption_of(name: str) -> Corruption | Missing:
    """The corruption of a name, one of `FORMS`. Raises SalientError for another name or a level that cannot be."""
    for plain in PLAIN:
        if plain.name == name:
            return plain
    found = re.fullmatch(r"(noise|noise_l2|blur|jpeg)_(\d+(?:\.\d+)?(?:e[+-]?\d+)?)", name)
    try:
        if found and not (found[1] == "jpeg" and not found[2].isdecimal()):
            return LEVELS[found[1]](float(found[2]))
    except ValueError:
        pass
    raise SalientError(f"corruption {name!r} is not known", expected=f"one of {', '.join(FORMS)}, levels in range")
