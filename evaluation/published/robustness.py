"""Effective robustness of our models by published results, and whether our figures go with it.

Effective robustness [Taori et al. 2020] is the accuracy on a shifted set minus what a line over models expects of one
with this accuracy without the shift. The line is fitted to the models of the tables, in logits or probits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from salient_imagenet_data.errors import SalientError, many
from salient_imagenet_data.evaluation.numbers.choices import Scale
from salient_imagenet_data.evaluation.numbers.estimates import Estimate
from salient_imagenet_data.evaluation.numbers.lines import LEAST_MODELS, LEAST_SPREAD, Fit, above, fit_line
from salient_imagenet_data.evaluation.numbers.ranks import spearman_interval
from salient_imagenet_data.evaluation.published.joining import joined
from salient_imagenet_data.evaluation.published.tables import Key, Shift, in_words

LEAST_TO_CORRELATE = 5
"""Models below which no rank correlation is given."""


@dataclass(frozen=True)
class Expectation:
    """What a line over published models expects on a shifted set. words: of which tables, over how many models, and
    what was left out."""

    name: str
    against: str
    scale: Scale
    slope: float
    intercept: float
    explained: float
    models: int
    words: str


@dataclass(frozen=True)
class OnShift:
    """A model's published results. clean, shifted: top-1 accuracy in [0, 1]. expected: what the line gives for `clean`.
    effective: shifted minus expected, with the interval of the line, n models."""

    clean: float
    shifted: float
    expected: float
    effective: Estimate


@dataclass(frozen=True)
class OfModel:
    """One of our models in the tables. published: timm's name. size: of the images there, None where it is not said.
    note: what was taken for granted. on: by the name of the shifted set, those that have it."""

    published: str
    size: int | None
    note: str
    on: dict[str, OnShift]


@dataclass(frozen=True)
class Correlation:
    """Whether a figure of ours orders models as effective robustness does. models: how many have both. estimate:
    Spearman's rank correlation; None for fewer than `LEAST_TO_CORRELATE` models, or one value for all."""

    figure: str
    name: str
    models: int
    estimate: Estimate | None


@dataclass(frozen=True)
class Published:
    """What the tables say of the models of one board. joined: by our name. left_out: ours without a published result,
    with the reason."""

    expectations: tuple[Expectation, ...]
    joined: dict[str, OfModel]
    left_out: dict[str, str]
    correlations: tuple[Correlation, ...]

    @property
    def given(self) -> tuple[Correlation, ...]:
        """Correlations over enough models."""
        return tuple(c for c in self.correlations if c.models >= LEAST_TO_CORRELATE)

    @property
    def few(self) -> str:
        """That some figures are of too few models to be correlated, in words; empty where none is."""
        counts = sorted({c.models for c in self.correlations if c.models < LEAST_TO_CORRELATE})
        words = " or ".join(map(str, counts))
        return f"no rank correlation over {words} models: at least {LEAST_TO_CORRELATE} are needed" if counts else ""

    @property
    def partly(self) -> dict[str, tuple[str, ...]]:
        """The sets that a joined model has no result on, by our name, of those that lack some: it is not in both tables
        at this size, or at 0 or 100 % without the shift."""
        sets = [expectation.name for expectation in self.expectations]
        lacking = {ours: tuple(name for name in sets if name not in of.on) for ours, of in self.joined.items()}
        return {ours: names for ours, names in lacking.items() if names}


@dataclass(frozen=True)
class Lines:
    """Lines over the models of tables, fitted once for all boards. fits: by the name of the shifted set."""

    shifts: tuple[Shift, ...]
    fits: dict[str, Fit]
    expectations: tuple[Expectation, ...]


def fit_lines(shifts: Sequence[Shift], scale: Scale = "logit", only: Sequence[str] = ()) -> Lines:
    """A line for each shifted set. only: patterns of names such as "*.a1_in1k"; models of other names make no line.

    A model that is right on all images of a set, or on none, has no logit and makes no line; how many is told. Raises
    SalientError where fewer than three models of different accuracy are left.
    """
    fits, expectations = {}, []
    for shift in shifts:
        named = {k: v for k, v in shift.pairs.items() if not only or any(fnmatchcase(k.model, p) for p in only)}
        inner = np.array([pair for pair in named.values() if all(0.0 < share < 1.0 for share in pair)]).reshape(-1, 2)
        clean, shifted = inner.T
        if len(inner) < LEAST_MODELS or np.ptp(clean) < LEAST_SPREAD:
            raise SalientError(
                f"{shift.name} against {shift.against}: no line can be fitted",
                expected="three models or more, of different accuracy inside 0 and 100 %",
                got=f"{len(inner)}" + (f" called {' or '.join(only)}" if only else ""),
            )
        fit = fit_line(clean, shifted, scale)
        words = f"{in_words(shift)}; line in {scale}s over {fit.models}"
        if only:
            words += f" called {' or '.join(only)}"
        if lost := len(named) - len(inner):
            words += f", without {many(lost, 'model')} at 0 or 100 %"
        words += f": slope {fit.line.slope:.3f}, intercept {fit.line.intercept:.3f}, R^2 {fit.explained:.3f}"
        if not shift.part and shift.name in ("ImageNet-A", "ImageNet-R"):
            words += f"; {shift.name} has 200 of ImageNet's classes: timm's -clean table is of the same"
        fits[shift.name] = fit
        line = (scale, fit.line.slope, fit.line.intercept, fit.explained, fit.models)
        expectations.append(Expectation(shift.name, shift.against, *line, words))
    return Lines(tuple(shifts), fits, tuple(expectations))


def published(
    models: Mapping[str, Mapping[str, Any]],
    figures: Mapping[str, Mapping[str, float]],
    lines: Lines,
    same_as: Mapping[str, str],
) -> Published:
    """What the tables say of our models, and which of our figures goes with it. models: what is recorded of each, by
    name. figures: ours by name and model. same_as: as of `joined`."""
    found, left_out = joined(models, lines.shifts, same_as)
    rows = {ours: OfModel(one.key.model, one.key.size, one.note, _on(one.key, lines)) for ours, one in found.items()}
    correlations = tuple(
        _correlation(figure, shift.name, of, rows) for shift in lines.shifts for figure, of in figures.items()
    )
    return Published(lines.expectations, rows, left_out, correlations)


def _on(key: Key, lines: Lines) -> dict[str, OnShift]:
    rows = {}
    for shift in lines.shifts:
        if key in shift.pairs and 0.0 < shift.pairs[key][0] < 1.0:
            clean, shifted = shift.pairs[key]
            fit = lines.fits[shift.name]
            rows[shift.name] = OnShift(clean, shifted, fit.line.at(clean), above(fit, clean, shifted))
    return rows


def _correlation(figure: str, name: str, of: Mapping[str, float], rows: Mapping[str, OfModel]) -> Correlation:
    both = [(of[ours], row.on[name].effective.value) for ours, row in rows.items() if ours in of and name in row.on]
    if len(both) < LEAST_TO_CORRELATE:
        return Correlation(figure, name, len(both), None)
    first, second = np.array(both).T
    found = spearman_interval(first, second)
    return Correlation(figure, name, len(both), None if math.isnan(found.value) else found)
