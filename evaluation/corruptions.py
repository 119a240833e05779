"""From a corruption's name in a condition to what is done."""

from __future__ import annotations

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.loaders.corruptions import Blur, Corruption, Fill, GaussianNoise, Inpaint, Shuffle, Tile

PLAIN: tuple[Corruption, ...] = (
    Fill("gray"),
    Fill("black"),
    Fill("mean"),
    Blur(),
    Shuffle(),
    Tile(),
    Inpaint(),
)
"""Corruptions without a level, by the names that `loaders.corruptions` gives them."""
FILLS: tuple[str, ...] = tuple(c.name for c in PLAIN)


def corruption_of(name: str) -> Corruption:
    """noise_SIGMA, or one of `FILLS`. Raises SalientError for another name or a negative noise level."""
    for plain in PLAIN:
        if plain.name == name:
            return plain
    try:
        sigma = float(name.removeprefix("noise_")) if name.startswith("noise_") else -1.0
    except ValueError:
        sigma = -1.0
    if not 0.0 <= sigma < float("inf"):
        raise SalientError(
            f"corruption {name!r} is not known", expected=f"noise_SIGMA with SIGMA >= 0, or {', '.join(FILLS)}"
        )
    return GaussianNoise(sigma)
