"""Statistics between models: paired tests, and effective robustness. Pure functions on arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.evaluation.numbers.bootstrap import difference
from salient_imagenet_data.evaluation.numbers.estimates import Estimate


@dataclass(frozen=True)
class Paired:
    """Two models on the same images. first_only, second_only: images that one gets right and the other does not.

    p_value: McNemar's exact test, two-sided, that both are as likely. difference: class-averaged accuracy of the first
    minus the second with a paired bootstrap interval.
    """

    first_only: int
    second_only: int
    p_value: float
    difference: Estimate


def mcnemar_exact(first_only: int, second_only: int) -> float:
    """Two-sided exact binomial p-value of the discordant pairs at 1/2 [McNemar 1947]; 1 where there is none.

    Twice the smaller tail, at most 1. Summed in logarithms, so thousands of pairs neither overflow nor underflow.
    """
    n, k = first_only + second_only, min(first_only, second_only)
    if min(first_only, second_only) < 0:
        raise ValueError(f"mcnemar_exact: expected counts >= 0, got {first_only} and {second_only}")
    logs = [math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2.0) for i in range(k + 1)]
    top = max(logs)
    return min(1.0, 2.0 * math.exp(top) * math.fsum(math.exp(v - top) for v in logs))


def compare(first: NDArray[np.bool_], second: NDArray[np.bool_], labels: NDArray[np.integer]) -> Paired:
    """Compare the hits (n,) of two models on the same images."""
    only = int((first & ~second).sum()), int((second & ~first).sum())
    return Paired(*only, mcnemar_exact(*only), difference(first, second, labels))


@dataclass(frozen=True)
class LogitLine:
    """logit(y) = slope * logit(x) + intercept, fitted by least squares over models."""

    slope: float
    intercept: float

    def at(self, x: float) -> float:
        """The accuracy that the line gives for accuracy x."""
        return 1.0 / (1.0 + math.exp(-(self.slope * logit(x) + self.intercept)))


def logit(share: float, n: int | None = None) -> float:
    """log(p / (1 - p)). A share of 0 or 1 of n images counts as half an image from the end; without n it raises."""
    if n:
        share = min(max(share, 0.5 / n), 1.0 - 0.5 / n)
    if not 0.0 < share < 1.0:
        raise ValueError(f"logit: expected a share inside (0, 1), got {share}")
    return math.log(share / (1.0 - share))


LEAST_MODELS, LEAST_SPREAD = 3, 1e-9
"""Models that a line needs, and how far their clean accuracies must lie apart in logits."""


def spread(shares: Sequence[float], n: int) -> float:
    """Greatest minus smallest logit of some shares of n images."""
    logits = [logit(share, n) for share in shares]
    return max(logits) - min(logits)


def fit_logit_line(clean: Sequence[float], shifted: Sequence[float], n: int) -> LogitLine:
    """Fit shifted against clean accuracies of three or more models [Taori et al. 2020, Miller et al. 2021].

    n: images behind each accuracy. Raises ValueError for fewer than three models or equal clean accuracies: two
    points lie on every line, and their residuals would say nothing.
    """
    x, y = np.array([logit(v, n) for v in clean]), np.array([logit(v, n) for v in shifted])
    if len(x) < LEAST_MODELS or len(x) != len(y) or spread(clean, n) < LEAST_SPREAD:
        raise ValueError(f"fit_logit_line: expected 3 or more models of different clean accuracy, got {list(clean)}")
    centred = x - x.mean()
    slope = float((centred * y).sum() / (centred * centred).sum())
    return LogitLine(slope, float(y.mean() - slope * x.mean()))


def effective_robustness(clean: Sequence[float], shifted: Sequence[float], n: int) -> tuple[LogitLine, list[float]]:
    """The fitted line, and each model's accuracy minus what the line gives for its clean accuracy."""
    line = fit_logit_line(clean, shifted, n)
    held = [min(max(c, 0.5 / n), 1.0 - 0.5 / n) for c in clean]
    return line, [s - line.at(c) for c, s in zip(held, shifted, strict=True)]
