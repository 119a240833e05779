"""How far people agree about pairs: Fleiss' kappa and Krippendorff's alpha, with intervals. Pure, on counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
"""Of the bootstrap over pairs."""
_Measure = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""(draws, pairs) how often each pair counts -> (draws,)."""


@dataclass(frozen=True)
class Agreement:
    """1: all agree; 0: as much as by chance. low, high: 95 % interval over pairs; None where it cannot be told, as
    where all answers are alike. pairs: those that count. left_out: those with answers that do not. people: of each
    pair, where the measure wants as many for all."""

    value: float | None
    low: float | None
    high: float | None
    pairs: int
    left_out: int = 0
    people: int | None = None

    @property
    def words(self) -> str:
        """The value with its interval."""
        if self.value is None:
            return "cannot be told"
        around = "" if self.low is None else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"{self.value:.2f}{around}"


def fleiss(counts: NDArray[np.integer], *, draws: int = DRAWS, seed: int = 0) -> Agreement:
    """Fleiss' kappa [Fleiss 1971]. counts: (pairs, answers), how many people gave each answer.

    The measure wants as many people for each pair: the number that most pairs have is taken, and the others left out.
    """
    totals = counts.sum(axis=1)
    several = totals[totals > 1]
    answered = int((totals > 0).sum())
    if not len(several):
        return Agreement(None, None, None, 0, answered)
    people = int(np.bincount(several).argmax())
    kept = counts[totals == people].astype(np.float64)
    alike = ((kept**2).sum(axis=1) - people) / (people * (people - 1))

    def kappa(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        seen = weights @ alike / weights.sum(axis=1)
        shares = weights @ kept / (people * weights.sum(axis=1, keepdims=True))
        return _ratio(seen, (shares**2).sum(axis=1))

    found = _with_interval(kappa, len(kept), draws, seed)
    return replace(found, left_out=answered - len(kept), people=people)


def krippendorff(counts: NDArray[np.integer], *, draws: int = DRAWS, seed: int = 0) -> Agreement:
    """Krippendorff's alpha for answers without an order [Krippendorff 2004, section 11.3]. counts: (pairs, answers).

    Pairs may have any number of people; those with fewer than two say nothing of agreement.
    """
    kept = counts[counts.sum(axis=1) > 1].astype(np.float64)
    left_out = int((counts.sum(axis=1) == 1).sum())
    if not len(kept):
        return Agreement(None, None, None, 0, left_out)
    people = kept.sum(axis=1)
    apart = (people**2 - (kept**2).sum(axis=1)) / (people - 1)

    def alpha(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        n, values = weights @ people, weights @ kept
        expected = (n**2 - (values**2).sum(axis=1)) / (n - 1)
        return _ratio(1.0 - weights @ apart / n, 1.0 - expected / n)

    return replace(_with_interval(alpha, len(kept), draws, seed), left_out=left_out)


def _ratio(seen: NDArray[np.float64], chance: NDArray[np.float64]) -> NDArray[np.float64]:
    """(seen - chance) / (1 - chance); NaN where chance is 1, since nobody could have disagreed."""
    left = 1.0 - chance
    ok = left > 1e-12
    return np.where(ok, (seen - chance) / np.where(ok, left, 1.0), np.nan)


def _with_interval(measure: _Measure, pairs: int, draws: int, seed: int) -> Agreement:
    (value,) = measure(np.ones((1, pairs)))
    if np.isnan(value):
        return Agreement(None, None, None, pairs)
    weights = np.random.default_rng(seed).multinomial(pairs, np.full(pairs, 1.0 / pairs), size=draws)
    drawn = measure(weights.astype(np.float64))
    drawn = drawn[~np.isnan(drawn)]
    if pairs < 2 or not len(drawn):
        return Agreement(float(value), None, None, pairs)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Agreement(float(value), float(low), float(high), pairs)
