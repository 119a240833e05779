"""How far a soft map lies on a region: mass inside, pointing, overlap. Pure functions on arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.evaluation.numbers.estimates import Estimate
from salient_imagenet_data.evaluation.numbers.overlap import pointing

DRAWS = 2_000
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Of a map, 0.05 to 0.95, at which its overlap with the region is measured."""


@dataclass(frozen=True)
class Placed:
    """One map against one region.

    mass: share of the map's sum inside. cover: share of the crop that the region is, which is what a uniform map has
    inside. pointing: share of the pixels of the map's maximum that lie inside. overlap: intersection over union of the
    map over each of `THRESHOLDS`, times its peak, with the region.
    """

    mass: float
    cover: float
    pointing: float
    overlap: tuple[float, ...]


def place(soft: NDArray[np.floating], region: NDArray[np.bool_]) -> Placed | None:
    """The figures of one map (H, W) in [0, 1] and a region (H, W); None for a map of zeros, which is nowhere."""
    values = np.asarray(soft, dtype=np.float64)
    total, peak = values.sum(), values.max()
    if peak <= 0.0:
        return None
    order = np.sort(values, axis=None)
    inside = np.sort(values[region])
    levels = np.array(THRESHOLDS) * peak
    found = values.size - np.searchsorted(order, levels)
    both = inside.size - np.searchsorted(inside, levels)
    union = found + inside.size - both
    return Placed(
        float(values[region].sum() / total),
        float(region.mean()),
        pointing(values, region),
        tuple((both / np.maximum(union, 1)).tolist()),
    )


@dataclass(frozen=True)
class Localised:
    """A group of maps against their regions, over images.

    mass: mean share of a map's sum inside. cover: mean share of the crop that the regions are. lift: mass / cover, the
    ratio of both means (one small region would outweigh the rest in a mean of ratios); 1 is a uniform map. pointing:
    how often the maximum lies inside; by chance as often as cover. iou: mean overlap at the threshold that is best for
    the group. Intervals are 95 % percentile bootstraps over images [Zhang et al. 2018; Wang et al. 2020; Choe et al.
    2020].
    """

    images: int
    mass: Estimate
    cover: float
    lift: Estimate
    pointing: Estimate
    iou: Estimate
    threshold: float


def localised(placed: list[Placed], *, draws: int = DRAWS, seed: int = 0) -> Localised | None:
    """The figures of a group, one `Placed` an image; None for an empty group."""
    if not placed:
        return None
    n = len(placed)
    values = np.array([(p.mass, p.cover, p.pointing) for p in placed])
    overlaps = np.array([p.overlap for p in placed])
    best = int(overlaps.mean(axis=0).argmax())
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1.0 / n), size=draws) / n
    drawn = counts @ np.column_stack([values, overlaps[:, best]])
    mean = values.mean(axis=0)

    def estimate(value: float, samples: NDArray[np.float64]) -> Estimate:
        low, high = np.quantile(samples, [0.025, 0.975])
        return Estimate(float(value), n, float(low), float(high))

    return Localised(
        n,
        estimate(mean[0], drawn[:, 0]),
        float(mean[1]),
        estimate(mean[0] / mean[1], drawn[:, 0] / drawn[:, 1]),
        estimate(mean[2], drawn[:, 2]),
        estimate(overlaps[:, best].mean(), drawn[:, 3]),
        THRESHOLDS[best],
    )
