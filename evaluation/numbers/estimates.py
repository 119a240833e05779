"""Accuracies with intervals. Pure functions on arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""


FEW = 5
"""Images a class, below which a bootstrap over a class's images is too narrow, without any width for one image."""


@dataclass(frozen=True)
class Estimate:
    """A share in [0, 1] of n images, with a 95 % interval. classes: how many were averaged (1: pooled)."""

    value: float
    n: int
    low: float
    high: float
    classes: int = 1

    @property
    def interval(self) -> str:
        """In words: "[low, high]"."""
        return f"[{self.low:.3f}, {self.high:.3f}]"

    @property
    def words(self) -> str:
        """The value with its interval."""
        return f"{self.value:.3f} {self.interval}"

    def few(self, what: str) -> str | None:
        """The remark that the images, called so, are too few a class for an interval; None where they are not."""
        if self.n >= FEW * self.classes:
            return None
        return f"{self.n} {what} of {self.classes} classes: too few, so that intervals are too narrow"


def wilson(hits: int, n: int) -> Estimate:
    """Share with Wilson's score interval [Wilson 1927]. Raises ValueError for n = 0 or hits outside 0..n."""
    if n < 1 or not 0 <= hits <= n:
        raise ValueError(f"wilson: expected 0 <= hits <= n and n >= 1, got {hits} of {n}")
    share, z2 = hits / n, Z95 * Z95
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Estimate(share, n, max(0.0, centre - half), min(1.0, centre + half))


@lru_cache(4096)  # groups are often of few sizes
def exact_bound(hits: int, n: int, tail: float) -> float:
    """The true share above which so many hits or fewer have a chance below `tail`: the upper bound of Clopper and
    Pearson [1934], which is never short of 1 - tail, however skewed the share. The lower one is 1 - exact_bound(n -
    hits, ...)."""
    if hits == n:
        return 1.0
    k = np.arange(hits + 1)
    ways = math.lgamma(n + 1) - np.array([math.lgamma(i + 1) + math.lgamma(n - i + 1) for i in k.tolist()])
    low, high = hits / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2.0
        chance = float(np.exp(ways + k * math.log(middle) + (n - k) * math.log1p(-middle)).sum()) if middle else 1.0
        low, high = (middle, high) if chance > tail else (low, middle)
    return high


def class_average(
    hits: NDArray[np.bool_], labels: NDArray[np.integer], *, draws: int = 10_000, seed: int = 0
) -> Estimate:
    """Mean over classes of each class's accuracy, with a percentile bootstrap over images within class.

    hits, labels: (n,). Drawing n_c images of a class with replacement makes its hits binomial, which is what is
    drawn. Raises ValueError without an image.
    """
    if not len(hits):
        raise ValueError("class_average: expected at least one image, got none")
    present, index = np.unique(labels, return_inverse=True)
    totals = np.bincount(index)
    shares = np.bincount(index, weights=hits.astype(np.float64)) / totals
    sampled = np.random.default_rng(seed).binomial(totals, shares, size=(draws, len(present))) / totals
    low, high = np.quantile(sampled.mean(axis=1), [0.025, 0.975])
    return Estimate(float(shares.mean()), len(hits), float(low), float(high), len(present))
