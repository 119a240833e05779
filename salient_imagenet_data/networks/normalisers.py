"""The normalisation that a checkpoint brings along: a pair of tensors that are plainly a mean and a deviation.

Training code puts (x - mean) / std in front of the network in many ways, and files name it accordingly:
`normalizer.new_mean` and `new_std` (robustness), `normalize.mean` and `std` (RobustBench), `0.mean` and `0.std`
(`nn.Sequential(Normalize, net)`), `normalize_layer.means` and `sds`, `mu` and `sigma`, behind any prefix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from salient_imagenet_data.errors import SalientError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

SHAPES = ((3,), (3, 1, 1), (1, 3, 1, 1))
"""Of three channels' numbers."""
PARTNERS = {"mean": ("std",), "means": ("stds", "sds"), "mu": ("sigma", "std")}
"""Last words of a mean's name, and of the deviation's beside it."""
_MEAN = re.compile(r"(?P<before>.*?)(?P<word>means?|mu)")


@dataclass(frozen=True)
class Normaliser:
    """(x - mean) / std of images in [0, 1], three numbers each. source: where they are from, in words."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str

    def to_json(self) -> dict[str, object]:
        return {"mean": list(self.mean), "std": list(self.std), "from": self.source}

    def __str__(self) -> str:
        mean, std = (", ".join(f"{v:.4g}" for v in values) for values in (self.mean, self.std))
        return f"mean {mean}, std {std} ({self.source})"


def find_normaliser(tensors: Mapping[str, Tensor], path: Path) -> tuple[Normaliser | None, set[str]]:
    """The pair among some tensors, and the names of all that belong to it; None and nothing where there is none.

    Raises SalientError for pairs that disagree, or one that cannot be of images in [0, 1].
    """
    found: dict[tuple[str, str], Normaliser] = {}
    for mean_name, std_name in _pairs(tensors):
        mean, std = (tuple(tensors[n].double().flatten().tolist()) for n in (mean_name, std_name))
        found[mean_name, std_name] = Normaliser(mean, std, f"{mean_name} and {std_name} of the weights")
    if not found:
        return None, set()
    (names, first), *others = found.items()
    for name, other in others:
        if (other.mean, other.std) != (first.mean, first.std):
            raise SalientError(
                f"{path}: two normalisations", expected="one", got=f"{names[0]} and {name[0]}, not equal"
            )
    if not all(0 <= m <= 1 for m in first.mean) or not all(0 < s <= 2 for s in first.std):
        raise SalientError(
            f"{path}: a normalisation that cannot be of images in [0, 1]",
            expected="means in [0, 1] and deviations in (0, 2]",
            got=str(first),
        )
    return first, {name for pair in found for name in pair}


def _pairs(tensors: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    """Names of means and of the deviations beside them, shortest first."""
    found = []
    for name in sorted(tensors, key=lambda n: (len(n), n)):
        owner, dot, last = name.rpartition(".")
        match = _MEAN.fullmatch(last)
        if match is None or match["before"] == "running_" or tuple(tensors[name].shape) not in SHAPES:
            continue
        beside = (f"{owner}{dot}{match['before']}{word}" for word in PARTNERS[match["word"]])
        partner = next((b for b in beside if b in tensors and tuple(tensors[b].shape) in SHAPES), None)
        if partner is not None:
            found.append((name, partner))
    return found
