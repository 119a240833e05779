"""Reliance on a kind of pixels: differences and ratios of accuracies, with intervals. Pure functions on arrays.

All intervals are percentile bootstraps over images within class. The same drawn images serve both sides of a
difference or ratio, because both were measured on the same images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.evaluation.numbers.estimates import Estimate, class_average

DRAWS = 2_000
"""Bootstrap draws; enough that the ends of an interval move by about a twentieth of its width between seeds."""


def relative_sensitivity(kept: float, lost: float) -> float:
    """(a - b) / (2 min(m, 1 - m)), m = (a + b) / 2, in [-1, 1]; 0 where m is 0 or 1.

    kept, lost: accuracies as fractions. With noise outside the dilated core masks for `kept` and inside for `lost` it
    is RCS [Singla, Moayeri, Feizi 2022]; with background and foreground noise RFS [Moayeri et al. 2022].
    Raises ValueError for accuracies outside [0, 1].
    """
    if not (0.0 <= kept <= 1.0 and 0.0 <= lost <= 1.0):
        raise ValueError(f"relative_sensitivity: expected accuracies in [0, 1], got {kept} and {lost}")
    room = min(kept + lost, 2.0 - (kept + lost))
    # The clip takes off rounding only: |a - b| <= min(a + b, 2 - a - b) for fractions.
    return max(-1.0, min(1.0, (kept - lost) / room)) if room > 0.0 else 0.0


def resampled(
    outcomes: NDArray[np.bool_], labels: NDArray[np.integer], *, draws: int = DRAWS, seed: int = 0
) -> NDArray[np.float64]:
    """Class-averaged means of several outcomes over bootstrap samples of the images within class.

    outcomes: (A, n) bool, measurements of the same n images. labels: (n,). Returns (draws, A).
    Drawing n_c images of a class with replacement makes the counts of its distinct joint outcomes multinomial, which
    is what is drawn. Raises ValueError without an image.
    """
    total, classes = np.zeros((draws, len(outcomes))), 0
    for counts, joint in resampled_classes(outcomes, labels, draws=draws, seed=seed):
        total += counts @ joint.astype(np.float64) / counts[0].sum()
        classes += 1
    return total / classes


def resampled_classes(
    outcomes: NDArray[np.bool_], labels: NDArray[np.integer], *, draws: int = DRAWS, seed: int = 0
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """Bootstrap samples of the images of one class after the other: (draws, J) how many images of each distinct joint
    outcome, and (J, A) these. outcomes, labels, draws and errors as of `resampled`."""
    count, images = outcomes.shape
    if not images or not count:
        raise ValueError(f"resampled: expected outcomes of at least one image, got shape {outcomes.shape}")
    codes, joint = _joint(outcomes)
    rng = np.random.default_rng(seed)
    for label in np.unique(labels):
        seen, cells = np.unique(codes[labels == label], return_counts=True)
        size = int(cells.sum())
        yield rng.multinomial(size, cells / size, size=draws), joint[seen]


def _joint(outcomes: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(A, n) -> (n,) number of each image's joint outcome, and (J, A) the distinct ones, however many measurements.

    They are numbered as binary numbers, the first measurement the lowest bit, so that draws do not depend on A's size.
    """
    packed = np.packbits(outcomes, axis=0, bitorder="little")
    order = np.lexsort(packed)  # by the last byte first
    ordered = packed[:, order]
    new = np.append(True, (ordered[:, 1:] != ordered[:, :-1]).any(axis=0))
    codes = np.empty(outcomes.shape[1], dtype=np.int64)
    codes[order] = np.cumsum(new) - 1
    return codes, outcomes[:, order[new]].T


def class_means(outcomes: NDArray[np.bool_], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """(A, n) outcomes -> (A,) means over classes of each class's mean."""
    present, index = np.unique(labels, return_inverse=True)
    totals = np.bincount(index)
    sums = np.stack([np.bincount(index, weights=row.astype(np.float64), minlength=len(present)) for row in outcomes])
    result: NDArray[np.float64] = (sums / totals).mean(axis=1)
    return result


def difference(before: NDArray[np.bool_], after: NDArray[np.bool_], labels: NDArray[np.integer]) -> Estimate:
    """Class-averaged accuracy before minus after, on the same images, in [-1, 1]."""
    outcomes = np.stack([before, after])
    first, second = class_means(outcomes, labels)
    drawn = resampled(outcomes, labels)
    return estimate(float(first - second), drawn[:, 0] - drawn[:, 1], labels)


def mean_accuracy(outcomes: NDArray[np.bool_], labels: NDArray[np.integer]) -> Estimate:
    """Class-averaged accuracy, the mean of trials. outcomes: (T, n)."""
    if len(outcomes) == 1:
        return class_average(outcomes[0], labels)
    drawn = resampled(outcomes, labels).mean(axis=1)
    return estimate(float(class_means(outcomes, labels).mean()), drawn, labels)


def value_average(values: NDArray[np.float64], labels: NDArray[np.int64], seed: int = 0) -> Estimate:
    """Mean over classes of each class's mean of any figure of its images, with a bootstrap over images within class.

    values, labels: (n,). Images whose value is NaN are left out; where none is left, all is NaN and n is 0.
    """
    there = ~np.isnan(values)
    values, labels = values[there], labels[there]
    if not len(values):
        return Estimate(math.nan, 0, math.nan, math.nan, 0)
    rng, present = np.random.default_rng(seed), np.unique(labels)
    drawn, mean = np.zeros(DRAWS), 0.0
    for label in present:
        mine = values[labels == label]
        mean += float(mine.mean())
        drawn += mine[rng.integers(0, len(mine), (DRAWS, len(mine)))].mean(axis=1)
    return estimate(mean / len(present), drawn / len(present), labels)


def sensitivity(kept: NDArray[np.bool_], lost: NDArray[np.bool_], labels: NDArray[np.integer]) -> Estimate:
    """`relative_sensitivity` of class-averaged accuracies (averaged before the ratio), with its interval.

    kept, lost: (T, n), trials of the same images, whose accuracies are averaged; labels (n,).
    """
    outcomes, trials = np.concatenate([kept, lost]), len(kept)
    a, b = class_means(outcomes, labels).reshape(2, trials).mean(axis=1)
    drawn = resampled(outcomes, labels).reshape(DRAWS, 2, trials).mean(axis=2)
    room = np.minimum(drawn.sum(axis=1), 2.0 - drawn.sum(axis=1))
    ratio = np.divide(drawn[:, 0] - drawn[:, 1], room, out=np.zeros(len(drawn)), where=room > 1e-12)
    return estimate(relative_sensitivity(float(a), float(b)), np.clip(ratio, -1.0, 1.0), labels)


def saturated(kept: NDArray[np.bool_], lost: NDArray[np.bool_]) -> bool:
    """Whether one side is right, or wrong, on every image while the other is not: then `relative_sensitivity` is 1 or
    -1 however far apart the two are, and the interval mostly closes on it. kept, lost: (T, n)."""
    ends = [(side.all(), not side.any()) for side in (kept, lost)]
    return bool(any(any(e) for e in ends) and ends[0] != ends[1])


def curve_area(levels: NDArray[np.floating], accuracies: NDArray[np.floating]) -> float:
    """Area under accuracy against noise level by trapezoids, divided by the span: a mean accuracy, in [0, 1].

    levels: (L,) strictly ascending, L >= 2, the first usually 0 (clean). accuracies: (L,). Raises ValueError else.
    """
    if len(levels) != len(accuracies):
        raise ValueError(f"curve_area: expected as many accuracies as levels, got {len(accuracies)} and {len(levels)}")
    return float(accuracies @ _trapezoid_weights(levels))


def area(levels: NDArray[np.floating], outcomes: NDArray[np.bool_], labels: NDArray[np.integer]) -> Estimate:
    """`curve_area` of class-averaged accuracies with its interval. outcomes: (L, n), the same images at every level."""
    drawn = resampled(outcomes, labels) @ _trapezoid_weights(levels)
    return estimate(curve_area(levels, class_means(outcomes, labels)), drawn, labels)


def _trapezoid_weights(levels: NDArray[np.floating]) -> NDArray[np.float64]:
    steps = np.diff(levels.astype(np.float64))
    if len(levels) < 2 or not (steps > 0).all():
        raise ValueError(f"curve_area: expected two or more ascending levels, got {list(levels)}")
    weights = (np.append(steps, 0.0) + np.append(0.0, steps)) / (2.0 * steps.sum())
    return np.asarray(weights)


def estimate(value: float, drawn: NDArray[np.float64], labels: NDArray[np.integer]) -> Estimate:
    """An Estimate with the 2.5 % and 97.5 % quantiles of the bootstrap draws as its interval."""
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(value, len(labels), float(low), float(high), len(np.unique(labels)))
