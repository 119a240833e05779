"""Accuracy under a shift against accuracy without it, a line over models, and how far a model lies above it: effective
robustness [Taori et al. 2020]. Accuracies go through logit or probit first, where models lie along a line [Miller et
al. 2021]. Pure functions on arrays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.evaluation.numbers.bootstrap import DRAWS
from salient_imagenet_data.evaluation.numbers.choices import Scale
from salient_imagenet_data.evaluation.numbers.estimates import Estimate

LEAST_MODELS, LEAST_SPREAD = 3, 1e-9
"""Models that a line needs, and how far their accuracies must lie apart on the scale: two points lie on every line, and
their residuals would say nothing."""
_NORMAL = NormalDist()


def to_scale(share: float, scale: Scale) -> float:
    """logit log(p / (1 - p)), or probit, the quantile of the standard normal distribution. Raises ValueError for a
    share outside (0, 1)."""
    if not 0.0 < share < 1.0:
        raise ValueError(f"{scale}: expected a share inside (0, 1), got {share}")
    return math.log(share / (1.0 - share)) if scale == "logit" else _NORMAL.inv_cdf(share)


def from_scale(value: float, scale: Scale) -> float:
    """The share of a value of `to_scale`."""
    return 1.0 / (1.0 + math.exp(-value)) if scale == "logit" else _NORMAL.cdf(value)


@dataclass(frozen=True)
class Line:
    """scale(shifted) = slope * scale(clean) + intercept, by least squares over models."""

    slope: float
    intercept: float
    scale: Scale = "logit"

    def at(self, clean: float) -> float:
        """The shifted accuracy that the line gives for a clean accuracy inside (0, 1)."""
        return from_scale(self.slope * to_scale(clean, self.scale) + self.intercept, self.scale)


@dataclass(frozen=True)
class Fit:
    """A line with what it was fitted to. x, y: (models,) accuracies on the scale. explained: share of the variance of y
    that the line explains (R squared); 1 where y is the same for all."""

    line: Line
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    explained: float

    @property
    def models(self) -> int:
        return len(self.x)

    @cached_property
    def drawn(self) -> NDArray[np.float64]:
        """(at most `DRAWS`, 2) slopes and intercepts of lines through as many models, drawn with replacement. Draws of
        models of one clean accuracy make none and are left out."""
        rng, found = np.random.default_rng(0), []
        for part in np.array_split(np.arange(DRAWS), max(1, DRAWS * self.models // 1_000_000)):
            rows = rng.integers(0, self.models, (len(part), self.models))
            x, y = self.x[rows], self.y[rows]
            there = np.ptp(x, axis=1) >= LEAST_SPREAD
            found.append(np.stack(_least_squares(x[there], y[there]), axis=1))
        return np.concatenate(found)


def fit_line(clean: NDArray[np.float64], shifted: NDArray[np.float64], scale: Scale = "logit") -> Fit:
    """Fit a line to accuracies (models,) inside (0, 1). Raises ValueError for fewer than three models, or models of one
    clean accuracy."""
    x, y = (np.array([to_scale(float(v), scale) for v in values]) for values in (clean, shifted))
    if len(x) < LEAST_MODELS or len(x) != len(y) or np.ptp(x) < LEAST_SPREAD:
        raise ValueError(f"fit_line: expected 3 or more models of different clean accuracy, got {clean.tolist()}")
    slope, intercept = _least_squares(x, y)
    rest, whole = y - (slope * x + intercept), y - y.mean()
    size = float(whole @ whole)
    explained = 1.0 - float(rest @ rest) / size if size > 0 else 1.0
    return Fit(Line(float(slope), float(intercept), scale), x, y, explained)


def above(fit: Fit, clean: float, shifted: float) -> Estimate:
    """A model's shifted accuracy minus what the line gives for its clean accuracy, inside (0, 1). n: models of the
    line. The interval is of the line: percentiles over `Fit.drawn`. What the model's own accuracies vary by chance is
    not in it."""
    scale = fit.line.scale
    values = fit.drawn @ [to_scale(clean, scale), 1.0]
    low, high = np.quantile(values, [0.025, 0.975])  # the scale keeps their order
    least, most = (shifted - from_scale(float(end), scale) for end in (high, low))
    return Estimate(shifted - fit.line.at(clean), fit.models, least, most)


def _least_squares(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Slopes and intercepts over the last axis."""
    centred = x - x.mean(axis=-1, keepdims=True)
    slope = (centred * y).sum(axis=-1) / (centred * centred).sum(axis=-1)
    return slope, y.mean(axis=-1) - slope * x.mean(axis=-1)
