"""Whether two models fail on the same images more than chance would have it. Pure functions on arrays.

Two models of p and q mistakes that had nothing in common would both be wrong on p q of the images. Error consistency
[Geirhos et al. 2020] is Cohen's kappa of right and wrong: (agreement - expected) / (1 - expected), 0 for models without
anything in common, 1 for equal ones. Images of hard classes are missed by everybody: `within` has what is expected
worked out in each class by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.evaluation.numbers.bootstrap import DRAWS, resampled_classes
from salient_imagenet_data.evaluation.numbers.estimates import Estimate

LEAST_DEFINED = 0.95
"""Share of the bootstrap draws in which a figure has to be defined for its interval to be given."""


@dataclass(frozen=True)
class Together:
    """Mistakes of two models on the same n images. both, first_only, second_only: how many images they get wrong.
    expected: how many both would by chance; expected_within: by chance in each class. times: both / expected. kappa:
    error consistency; most: the largest it could be, one model's mistakes being among the other's, below 1 for models
    with different numbers of mistakes; kappa_within: with what is expected in each class.

    These four are None where a model is right, or wrong, on every image: then nothing can be said. Intervals are
    bootstraps over images within class; NaN at both ends where mistakes are so few that many draws have none.
    """

    n: int
    both: int
    first_only: int
    second_only: int
    expected: float
    expected_within: float
    times: Estimate | None
    kappa: Estimate | None
    most: float | None
    kappa_within: Estimate | None


@dataclass(frozen=True)
class _Sums:
    """Over classes, each (draws,) or a single value: images, mistakes of each, of both, expected in each class of both
    wrong and of both right."""

    n: int
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    both: NDArray[np.float64]
    wrong_within: NDArray[np.float64]
    right_within: NDArray[np.float64]

    def plus(self, counts: NDArray[np.integer], first: NDArray[np.bool_], second: NDArray[np.bool_]) -> _Sums:
        """With a class more. counts: (draws, J) images of each joint outcome; first, second: (J,) mistakes in it."""
        n = int(counts[0].sum())
        a, b, both = (counts @ wrong.astype(np.float64) for wrong in (first, second, first & second))
        within = self.wrong_within + a * b / n, self.right_within + (n - a) * (n - b) / n
        return _Sums(self.n + n, self.first + a, self.second + b, self.both + both, *within)

    @property
    def expected(self) -> NDArray[np.float64]:
        return self.first * self.second / self.n

    @property
    def agreeing(self) -> NDArray[np.float64]:
        """Images that both get right, or both wrong."""
        return self.n - self.first - self.second + 2.0 * self.both

    @property
    def chance(self) -> NDArray[np.float64]:
        """Images that would agree by chance."""
        return self.expected + (self.n - self.first) * (self.n - self.second) / self.n

    @property
    def most(self) -> float:
        """The largest kappa of models of so many mistakes, of the first draw."""
        agreeing = self.n - abs(float(self.first[0] - self.second[0]))
        return (agreeing - float(self.chance[0])) / (self.n - float(self.chance[0]))

    @property
    def figures(self) -> NDArray[np.float64]:
        """(draws, 3): times, kappa, kappa_within; NaN where they say nothing."""
        within = self.wrong_within + self.right_within
        says = (self.first > 0) & (self.second > 0) & (self.first < self.n) & (self.second < self.n)
        with np.errstate(divide="ignore", invalid="ignore"):
            kappas = [
                np.where(self.n - by > 1e-9, (self.agreeing - by) / (self.n - by), np.nan)
                for by in (self.chance, within)
            ]
            found = np.stack([self.both / self.expected, *kappas], axis=-1)
        return np.where(says[:, None], found, np.nan)


def _sums(draws: int) -> _Sums:
    return _Sums(0, *(np.zeros(draws) for _ in range(5)))


def together(first: NDArray[np.bool_], second: NDArray[np.bool_], labels: NDArray[np.integer]) -> Together:
    """How two models fail together. first, second: (n,) mistakes on the same images, n >= 1; labels: (n,)."""
    (found,), _ = _together(np.stack([first, second]), labels)
    return found


def beyond(
    mistakes: NDArray[np.bool_], control: NDArray[np.bool_], labels: NDArray[np.integer]
) -> tuple[Estimate | None, Estimate | None]:
    """Error consistency under a control, and how much more it is under what the control is of, on the same images, with
    a paired bootstrap. mistakes, control: (2, n) of the two models. None where nothing can be said."""
    (here, there), (first, second) = _together(np.concatenate([mistakes, control]), labels)
    if here.kappa is None or there.kappa is None:
        return there.kappa, None
    more = _estimate(here.kappa.value - there.kappa.value, first[:, 1] - second[:, 1], labels)
    return there.kappa, more


def _together(
    mistakes: NDArray[np.bool_], labels: NDArray[np.integer]
) -> tuple[list[Together], list[NDArray[np.float64]]]:
    """Of (2 m, n) mistakes of two models under m conditions, one after the other; and (draws, 3) figures of each."""
    drawn, found = _drawn(mistakes, labels), []
    for pair, figures in zip(mistakes.reshape(-1, 2, len(labels)), drawn, strict=True):
        seen = _sums(1)
        for label in np.unique(labels):
            a, b = pair[:, labels == label]
            seen = seen.plus(np.ones((1, len(a)), dtype=np.int64), a, b)
        a, b = pair
        counts = (int((a & b).sum()), int((a & ~b).sum()), int((b & ~a).sum()))
        chances = float(seen.expected[0]), float(seen.wrong_within[0])
        times, kappa, within = (_estimate(float(v), d, labels) for v, d in zip(seen.figures[0], figures.T, strict=True))
        most = None if kappa is None else seen.most
        found.append(Together(len(labels), *counts, *chances, times, kappa, most, within))
    return found, drawn


def _drawn(mistakes: NDArray[np.bool_], labels: NDArray[np.integer]) -> list[NDArray[np.float64]]:
    """(draws, 3) figures of each condition over the same drawn images."""
    sums = [_sums(DRAWS)] * (len(mistakes) // 2)
    for counts, joint in resampled_classes(mistakes, labels):
        sums = [s.plus(counts, joint[:, 2 * k], joint[:, 2 * k + 1]) for k, s in enumerate(sums)]
    return [s.figures for s in sums]


def _estimate(value: float, drawn: NDArray[np.float64], labels: NDArray[np.integer]) -> Estimate | None:
    if math.isnan(value):
        return None
    there = drawn[~np.isnan(drawn)]
    if len(there) < LEAST_DEFINED * len(drawn):
        return Estimate(value, len(labels), math.nan, math.nan)
    low, high = np.quantile(there, [0.025, 0.975])
    return Estimate(value, len(labels), float(low), float(high))
