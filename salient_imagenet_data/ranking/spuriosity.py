"""How much each image shows its class's spurious features [Moayeri et al. 2023]. Pure functions on arrays.

The spuriosity of an image in its class is the mean, over the class's spurious features, of the within-class z-score of
the feature's activation.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError

MOST = 100
"""At most this many images at either end of a class."""


@dataclass(frozen=True)
class Ends:
    """Rows at the two ends of every class that has any. top, bottom: (m,) rows; labels: (m,) their classes, aligned:
    both ends hold the same number k = min(100, n // 2) of a class, so they never share an image."""

    top: NDArray[np.int64]
    bottom: NDArray[np.int64]
    labels: NDArray[np.int64]


def known(activations: NDArray[np.floating]) -> bool:
    """Whether a store knows its activations (n, K). One of the 2022 release does not: its images have no ranking."""
    return bool(np.isfinite(activations).all())


def check_known(activations: NDArray[np.floating], place: Path | str) -> None:
    """Raise SalientError for activations that are not `known`. place: of the store."""
    if not known(activations):
        raise SalientError(
            f"{place}: does not know how strongly its images show a feature", expected="a store that was built"
        )


def spuriosity(
    activations: NDArray[np.floating], labels: NDArray[np.integer], spurious: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """(n,) spuriosity of each image; NaN in a class without a spurious feature, or with an activation that is not
    known (`check_known`).

    activations: (n, K) of the class's own features. labels: (n,). spurious: (C, K) bool. The z-score divides by the
    population's standard deviation; a feature that does not vary within the class gives 0.
    """
    result = np.full(len(labels), np.nan)
    for label in np.unique(labels).tolist():
        slots = np.flatnonzero(spurious[label])
        mine = np.flatnonzero(labels == label)
        if not len(slots):
            continue
        values = activations[np.ix_(mine, slots)].astype(np.float64)
        spread = values.std(axis=0)
        scores = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        result[mine] = scores.mean(axis=1)
    return result


def ends(scores: NDArray[np.floating], labels: NDArray[np.integer], most: int = MOST) -> Ends:
    """The k = min(most, n // 2) highest and lowest rows of each class with scores; ties go by row.

    Public code takes `idx[:k]` of one ascending sort for both ends where a class is small, which makes the gap 0;
    here the ends are disjoint for every n >= 2, and a class of one image has none.
    """
    top, bottom, classes = [], [], []
    for label in np.unique(labels[~np.isnan(scores)]).tolist():
        mine = np.flatnonzero((labels == label) & ~np.isnan(scores))
        order = mine[np.argsort(scores[mine], kind="stable")]
        k = min(most, len(order) // 2)
        top.append(order[len(order) - k :])
        bottom.append(order[:k])
        classes.append(np.full(k, label))
    empty = np.zeros(0, dtype=np.int64)
    return Ends(*(np.concatenate([empty, *part]).astype(np.int64) for part in (top, bottom, classes)))
