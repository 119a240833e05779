"""Whether one measure orders things as another does: rank correlation, and its mean over repetitions. Pure functions on
arrays."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.evaluation.numbers.bootstrap import DRAWS
from salient_imagenet_data.evaluation.numbers.estimates import Z95, Estimate


def spearman(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Spearman's rank correlation in [-1, 1] of two measures (n,) of the same things: Pearson's of their ranks, equal
    values sharing the mean of theirs. NaN for fewer than two things or a measure that is the same for all. Raises
    ValueError for measures of different lengths, or that are not numbers."""
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"spearman: expected two arrays (n,), got {first.shape} and {second.shape}")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("spearman: expected finite numbers")
    if len(first) < 2:
        return math.nan
    a, b = (ranks - ranks.mean() for ranks in (_ranks(first), _ranks(second)))
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / size if size > 0 else math.nan


def spearman_interval(first: NDArray[np.floating], second: NDArray[np.floating]) -> Estimate:
    """Spearman's rank correlation of n >= 4 things with a 95 % interval by Fisher's z, whose standard error is
    sqrt((1 + r^2 / 2) / (n - 3)) [Bonett & Wright 2000]. A perfect order of few things is no proof of another one: it
    counts as half of the smallest step, 12 / (n (n^2 - 1)), from the end, as a share of 0 or 1 does as half an image.
    All NaN where `spearman` is. Raises ValueError for fewer than four things."""
    value, n = spearman(first, second), len(first)
    if n < 4:
        raise ValueError(f"spearman_interval: expected four things or more, got {n}")
    most = 1.0 - 6.0 / (n * (n * n - 1))
    held = min(max(value, -most), most)
    half = Z95 * math.sqrt((1.0 + held * held / 2.0) / (n - 3))
    low, high = (math.tanh(math.atanh(held) + side) for side in (-half, half))
    return Estimate(value, n, min(low, value), max(high, value))


def _ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n,) from 1; equal values have the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
    return ranks


def mean_over(values: NDArray[np.floating], draws: int = DRAWS, seed: int = 0) -> Estimate:
    """Mean of a figure (s,) of s repetitions, such as seeds, with a percentile bootstrap over them. NaN is left out.

    With few repetitions the interval is too narrow, and with one it has no width.
    """
    there = values[~np.isnan(values)]
    n = len(there)
    if not n:
        return Estimate(math.nan, 0, math.nan, math.nan, 0)
    drawn = there[np.random.default_rng(seed).integers(0, n, (draws, n))].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(float(there.mean()), n, float(low), float(high))
