"""Groups of images, (class, its cue shown or not), and accuracies over them. Pure functions on arrays.

An image shows its class's cue if its spuriosity (`ranking.spuriosity`) is in the top part of its class; how large that
part is, is the rule. Which weighting an accuracy over groups has, its name says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.numbers.estimates import Estimate, exact_bound

SPLIT = "split"
TAIL = 0.025
"""Chance of a miss on either side of an interval."""
SHARE = 0.5
"""The part of a class, from the top, that shows its cue, where nothing else is said: the halves have as many images."""


@dataclass(frozen=True)
class Rule:
    """Which images of a class show its cue: the `share` of them with the highest spuriosity, rounded down, equal ones
    by row; or with None those above the place where the class falls apart into two [Otsu 1979], whatever their
    share."""

    share: float | None = SHARE

    def __post_init__(self) -> None:
        if self.share is not None and not 0.0 < self.share < 1.0:
            raise SalientError(
                "images that show the cue", expected=f"a share above 0 and below 1, or {SPLIT}", got=str(self.share)
            )

    def __str__(self) -> str:
        return SPLIT if self.share is None else f"{self.share:g}"

    @property
    def words(self) -> str:
        """In a sentence."""
        if self.share is None:
            return "shown is what lies above the place where the spuriosity of a class falls into two"
        return f"shown are the {self.share:g} of a class with the highest spuriosity"

    @staticmethod
    def parse(text: str) -> Rule:
        """Of "0.5" or "split". Raises SalientError for other text."""
        if text == SPLIT:
            return Rule(None)
        try:
            return Rule(float(text))
        except ValueError:
            expected = f"a share above 0 and below 1, or {SPLIT}"
            raise SalientError("images that show the cue", expected=expected, got=text) from None

    def shown(self, scores: NDArray[np.floating]) -> NDArray[np.bool_]:
        """(n,) bool of the spuriosity (n,) of one class's images."""
        order = np.argsort(scores, kind="stable")
        hidden = (
            otsu(scores[order]) if self.share is None else len(scores) - math.floor(self.share * len(scores) + 1e-9)
        )
        result = np.ones(len(scores), dtype=np.bool_)
        result[order[:hidden]] = False
        return result


def otsu(ascending: NDArray[np.floating]) -> int:
    """How many of some values, in ascending order, lie below the cut that leaves the least variance within the two
    parts [Otsu 1979], which is the most between them: w0 w1 (m1 - m0)^2. The lowest cut of equals; all of them where no
    two values differ."""
    n = len(ascending)
    if n < 2 or ascending[0] == ascending[-1]:
        return n
    below = np.arange(1, n)
    sums = np.cumsum(ascending.astype(np.float64) - float(ascending.mean()))[:-1]  # the mean is 0, so m1 - m0 is of one
    between = sums**2 / (below * (n - below))
    between[ascending[1:] == ascending[:-1]] = -1.0  # equal values stay together
    return int(np.argmax(between)) + 1


@dataclass(frozen=True)
class Groups:
    """The groups of some images. scores: (n,) spuriosity, NaN in a class without a cue. labels: (n,) int64. shown: (n,)
    bool. has_cue: (C,) bool, the class has a spurious feature; images of one that has none show none and are of one
    group, which counts for no figure."""

    rule: Rule
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    shown: NDArray[np.bool_]
    has_cue: NDArray[np.bool_]

    @property
    def index(self) -> NDArray[np.int64]:
        """(n,) number of each image's group: twice its class, one more where the cue is shown."""
        return 2 * self.labels + self.shown

    @property
    def counted(self) -> NDArray[np.bool_]:
        """(n,) bool: the image's class has a cue."""
        return np.asarray(self.has_cue[self.labels])

    def at(self, places: NDArray[np.integer] | NDArray[np.bool_]) -> Groups:
        """Of some of the images."""
        return Groups(self.rule, self.scores[places], self.labels[places], self.shown[places], self.has_cue)

    def sizes(self) -> dict[int, int]:
        """Images of each group that counts and has any, by its number."""
        numbers, sizes = np.unique(self.index[self.counted], return_counts=True)
        return dict(zip(numbers.tolist(), sizes.tolist(), strict=True))


def groups_of(
    scores: NDArray[np.floating], labels: NDArray[np.integer], has_cue: NDArray[np.bool_], rule: Rule
) -> Groups:
    """scores: (n,) spuriosity, NaN in a class without a cue; labels: (n,); has_cue: (C,) bool."""
    shown = np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels).tolist():
        if has_cue[label]:
            mine = np.flatnonzero(labels == label)
            shown[mine] = rule.shown(scores[mine])
    return Groups(rule, scores.astype(np.float64), labels.astype(np.int64), shown, has_cue)


def worst_group(hits: NDArray[np.bool_], index: NDArray[np.integer]) -> Estimate:
    """The least of the groups' accuracies. hits, index: (n,). n and classes: of it, and how many groups there are.

    The least of several noisy shares is mostly below the least true one, and so would a bootstrap of it be. The
    interval is of the least true one: it is above the lower bound of its own group, so above the least of the lower
    bounds, and below the upper bound of every group, for as many groups as there are (Bonferroni). The bounds are
    exact.
    """
    counts = [(int(hits[index == g].sum()), int((index == g).sum())) for g in np.unique(index).tolist()]
    share, fewer = min((right / n, -n) for right, n in counts)
    low = min(1.0 - exact_bound(n - right, n, TAIL) for right, n in counts)
    high = min(exact_bound(right, n, TAIL / len(counts)) for right, n in counts)
    return Estimate(share, -fewer, low, high, len(counts))


def weighted_accuracy(
    hits: NDArray[np.bool_],
    index: NDArray[np.integer],
    weights: dict[int, float],
    *,
    draws: int = 10_000,
    seed: int = 0,
) -> Estimate:
    """Mean of the groups' accuracies by weights, which are scaled to a sum of 1 over the groups that have images here.

    The interval is a percentile bootstrap over images within group. classes: how many groups weigh anything. Raises
    ValueError where none does.
    """
    present, place = np.unique(index, return_inverse=True)
    share = np.array([weights.get(int(g), 0.0) for g in present])
    if not share.sum() > 0:
        raise ValueError("weighted_accuracy: expected a group with images and a weight above 0, got none")
    share = share / share.sum()
    totals = np.bincount(place)
    accuracies = np.bincount(place, weights=hits.astype(np.float64)) / totals
    drawn = np.random.default_rng(seed).binomial(totals, accuracies, size=(draws, len(present))) / totals
    low, high = np.quantile(drawn @ share, [0.025, 0.975])
    return Estimate(float(accuracies @ share), len(hits), float(low), float(high), int((share > 0).sum()))
