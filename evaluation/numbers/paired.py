"""Statistics between models: paired tests, and effective robustness. Pure functions on arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.evaluation.numbers.bootstrap import difference
from salient_imagenet_data.evaluation.numbers.estimates import Estimate
from salient_imagenet_data.evaluation.numbers.lines import Line, fit_line, to_scale


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


def inside(share: float, n: int) -> float:
    """A share of n images, at the ends half an image from them, so that it has a logit."""
    return min(max(share, 0.5 / n), 1.0 - 0.5 / n)


def spread(shares: Sequence[float], n: int) -> float:
    """Greatest minus smallest logit of some shares of n images."""
    logits = [to_scale(inside(share, n), "logit") for share in shares]
    return max(logits) - min(logits)


def effective_robustness(clean: Sequence[float], shifted: Sequence[float], n: int) -> tuple[Line, list[float]]:
    """The line of shifted against clean accuracies of three or more models of n images each, and each model's accuracy
    minus what the line gives for its clean accuracy. Raises ValueError as `fit_line`."""
    held, moved = (np.array([inside(v, n) for v in values]) for values in (clean, shifted))
    line = fit_line(held, moved).line
    return line, [s - line.at(float(c)) for c, s in zip(held, shifted, strict=True)]
