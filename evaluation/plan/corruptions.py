"""From a corruption's name in a condition to what is done."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.loaders.corruption.corruptions import (
    Blur,
    Composite,
    Corruption,
    Fill,
    GaussianNoise,
    Inpaint,
    Shuffle,
    Swap,
    Tile,
)
from salient_imagenet_data.loaders.missing.layers import LayerMasking
from salient_imagenet_data.loaders.missing.tokens import TokenDropping, can_drop_tokens


@dataclass(frozen=True)
class Jpeg:
    """Compressed by Pillow with a quality of 1 to 100, and decoded. (3, H, W) uint8 on the CPU, both ways."""

    quality: int

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise ValueError(f"Jpeg: expected a quality of 1 to 100, got {self.quality}")

    def __call__(self, image: Tensor) -> Tensor:
        file = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=self.quality)
        with Image.open(file) as decoded:
            return torch.from_numpy(np.array(decoded)).permute(2, 0, 1)


@dataclass(frozen=True)
class Missing:
    """Nothing is painted over: the network is not shown the pixels whose mask is at least 0.5."""

    name = "missing"


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
"""Corruptions without a level, by the names that `loaders.corruptions` gives them."""
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


def hiding(model: object) -> Callable[[Tensor, Tensor], Tensor]:
    """A model that takes images (B, 3, S, S) and masks (B, 1, S, S) and is not shown what the masks cover.

    A vision transformer is not given the tokens (one that averages them says nothing, logits of 0, of an image without
    any), any other network runs under layer masking. Raises SalientError for a function that is no network.
    """
    if not isinstance(model, nn.Module):
        raise SalientError(
            f"{type(model).__name__}: pixels cannot be missing to a function",
            expected="an nn.Module for the condition 'missing'",
        )
    return TokenDropping(model, empty="zero") if can_drop_tokens(model) else LayerMasking(model)
