"""Whether a feature's activation map is where its relevance comes from. Pure functions on arrays.

An activation map says where on the last grid a unit is active; its place there sees much of the image, and what made it
active may lie elsewhere. The unit's relevance, propagated to the image and summed over the cells of that grid, says
where. Both are compared over images, and against the relevance of the class's other units on the same images, which
lies on the same objects, since it gathers where the image is strong: where a map agrees with that as well, agreement
tells nothing of the unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.evaluation.numbers.estimates import Estimate
from salient_imagenet_data.evaluation.numbers.ranks import mean_over, spearman

SHARE = 0.2
"""Of the grid's cells, those where a map is strongest."""
LOW = 0.3
"""Rank correlation below which two maps do not agree."""
FEWEST = 5
"""Images below which nothing is said."""


@dataclass(frozen=True)
class Agreement:
    """Of a feature over n images: rank correlation and IoU of the strongest `SHARE` of the cells, of its activation map
    and its own relevance; the same with another unit's relevance; and the means of the differences, image by image.
    Those with another unit's have n 0 where the class has one feature.

    Low agreement says that the activation map or the relevance is wrong, not which of them."""

    correlation: Estimate
    iou: Estimate
    other_correlation: Estimate
    other_iou: Estimate
    correlation_gain: Estimate
    iou_gain: Estimate

    @property
    def words(self) -> str:
        """What to make of it."""
        if self.correlation.n < FEWEST:
            return f"too few images to tell: {self.correlation.n}"
        nearer = self.correlation_gain.low > 0
        if self.low:
            than = (
                "though nearer to its map than that of other units" if nearer else "no nearer to its map than others'"
            )
            return "low: its relevance lies elsewhere" + (f", {than}" if self.correlation_gain.n else "")
        if not self.correlation_gain.n:
            return "agrees; no other unit to hold it against"
        return "agrees" if nearer else "agrees, but so does the relevance of other units"

    @property
    def low(self) -> bool:
        """Whether a person should doubt one of the two."""
        return self.correlation.n >= FEWEST and self.correlation.value < LOW

    def to_json(self) -> dict[str, Any]:
        def plain(e: Estimate) -> dict[str, float | int] | None:
            return {"value": e.value, "low": e.low, "high": e.high, "n": e.n} if e.n else None

        return {name: plain(e) for name, e in vars(self).items()} | {"flag": self.words, "low": self.low}


def agreement(activations: NDArray[np.floating], relevance: NDArray[np.floating], slot: int) -> Agreement:
    """Of the feature in a slot. activations: (N, h, w), its maps. relevance: (N, K, h, w), that of each of the K
    features of the class on the same images. Images on which the map or its relevance is the same everywhere do not
    count; of several other units the mean does.
    """
    found: list[list[float]] = []
    for own, all_maps in zip(activations, relevance, strict=True):
        others = [k for k in range(len(all_maps)) if k != slot]
        pairs = [compared(own, all_maps[k]) for k in (slot, *others)]
        if math.isnan(pairs[0][0]):
            continue
        rest = np.array(pairs[1:], dtype=np.float64).reshape(-1, 2)
        rest = rest[~np.isnan(rest[:, 0])]
        other = rest.mean(axis=0).tolist() if len(rest) else [math.nan, math.nan]
        found.append([*pairs[0], *other, *(a - b for a, b in zip(pairs[0], other, strict=True))])
    columns = np.array(found, dtype=np.float64).reshape(-1, 6).T
    return Agreement(*(mean_over(column) for column in columns))


def compared(first: NDArray[np.floating], second: NDArray[np.floating]) -> tuple[float, float]:
    """Rank correlation and `top_iou` of two maps (h, w); NaN for a map that is the same everywhere."""
    a, b = first.astype(np.float64).ravel(), second.astype(np.float64).ravel()
    correlation = spearman(a, b)
    return correlation, math.nan if math.isnan(correlation) else top_iou(a, b)


def top_iou(first: NDArray[np.floating], second: NDArray[np.floating], share: float = SHARE) -> float:
    """Intersection over union of the cells (P,) where two maps are strongest, a share of all each; cells that are
    equally strong at the edge of it share what is left."""
    a, b = (_strongest(values, max(1, round(share * len(values)))) for values in (first, second))
    return float(np.minimum(a, b).sum() / np.maximum(a, b).sum())


def _strongest(values: NDArray[np.floating], count: int) -> NDArray[np.float64]:
    """(P,) in [0, 1], adding up to `count`."""
    edge = np.sort(values)[-count]
    above, at = values > edge, values == edge
    result: NDArray[np.float64] = above + at * ((count - above.sum()) / at.sum())
    return result
