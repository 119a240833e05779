"""From rows to tables: which measure orders the treatments as the truth does, and what each method does. Pure, no
torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.evaluation.numbers.estimates import Estimate
from salient_imagenet_data.evaluation.numbers.ranks import mean_over, spearman
from salient_imagenet_data.evaluation.study.measures import ACCURACY, AGAIN, REGISTERED, SHOWN, WITH, WITHOUT, Measure
from salient_imagenet_data.evaluation.study.methods import BEFORE, BY_NAME, CONTROL, GUIDANCE, Treatment
from salient_imagenet_data.evaluation.study.rows import Row

KEPT = 0.05
"""A treatment keeps the accuracy that loses at most so much of it, with the cue, against training without guidance."""
Wanted = Callable[[Row], bool]
Read = Callable[[Row], float | None]


@dataclass(frozen=True)
class Ordering:
    """How a measure orders the treatments of a network, against the truth: Spearman's rank correlation, turned so that
    1 is the order of the truth and -1 the reverse. all: over all treatments, the mean over networks. guidance: over
    guidance losses and their weights. kept: over treatments that keep the accuracy. lost: all of them, against what
    accuracy is lost without the cue. beyond: `all` minus that of plain accuracy, network by network. by_start: of each
    network. treatments: how many have a value, of the network with the fewest. title, wanted, source: of the
    measure."""

    key: str
    title: str
    wanted: str
    source: str
    all: Estimate
    guidance: Estimate
    kept: Estimate
    lost: Estimate
    beyond: Estimate
    by_start: tuple[float, ...]
    treatments: int


@dataclass(frozen=True)
class OfMethod:
    """A method at the weight that held-out images choose, network by network. figures: by key of a measure or of the
    truth, the mean over networks. helped: in how many networks the truth is above that of training without guidance."""

    method: str
    family: str
    weights: tuple[float, ...]
    figures: dict[str, Estimate]
    helped: int


def starts_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """The networks, in their order."""
    return tuple(dict.fromkeys(row.start for row in rows))


def correlations(rows: Sequence[Row], first: Read, second: Read, wanted: Wanted) -> NDArray[np.float64]:
    """(s,) Spearman's rank correlation of two figures over the treatments of each network that are wanted and have
    both; NaN for fewer than three."""
    found = []
    for start in starts_of(rows):
        pairs = [(first(r), second(r)) for r in rows if r.start == start and not r.failed and wanted(r)]
        both = np.array([(a, b) for a, b in pairs if a is not None and b is not None], dtype=np.float64)
        found.append(spearman(*both.T) if len(both) > 2 else math.nan)
    return np.array(found)


def of(measure: Measure) -> Read:
    """A measure's value, turned so that more is better."""

    def read(row: Row) -> float | None:
        value = row.measures.get(measure.key)
        return None if value is None else measure.better * value

    return read


def true(name: str) -> Read:
    """A truth's value."""
    return lambda row: row.truth.get(name)


def reliance(row: Row) -> float | None:
    """What accuracy is kept where the cue says nothing, against where it goes with its class: less negative is
    better."""
    return row.truth[WITHOUT] - row.truth[WITH] if row.truth else None


def keeps(rows: Sequence[Row]) -> Wanted:
    """Whether a treatment keeps the accuracy of training without guidance, or of no training where that is not
    there."""
    there = {(r.start, r.method): r for r in rows if not r.failed}
    seen = {s: there.get((s, CONTROL), there.get((s, BEFORE))) for s in starts_of(rows)}

    def wanted(row: Row) -> bool:
        like = seen[row.start]
        return like is None or not like.truth or row.truth[WITH] >= like.truth[WITH] - KEPT

    return wanted


def orderings(rows: Sequence[Row]) -> list[Ordering]:
    """Of every measure that some row has, the best first; then, with the key "", of the truth itself on other images:
    no measure can be expected to do better. Empty where nobody knows the truth."""
    if not any(row.truth for row in rows):
        return []
    again = Measure("", "the truth itself, on other images", 1, "", lambda looked: None)
    plain = correlations(rows, lambda r: r.measures.get(ACCURACY), true(WITHOUT), _any)
    found = [_ordering(m.key, m, of(m), rows, plain) for m in REGISTERED]
    found = sorted((o for o in found if o.all.n), key=lambda o: -o.all.value)
    return [*found, _ordering("", again, true(AGAIN), rows, plain)] if found else []


def _any(row: Row) -> bool:
    return True


def _ordering(key: str, measure: Measure, read: Read, rows: Sequence[Row], plain: NDArray[np.float64]) -> Ordering:
    every = correlations(rows, read, true(WITHOUT), _any)
    guided = correlations(rows, read, true(WITHOUT), lambda r: BY_NAME[r.method].family == GUIDANCE)
    kept, lost = correlations(rows, read, true(WITHOUT), keeps(rows)), correlations(rows, read, reliance, _any)
    counts = [sum(r.start == s and not r.failed and read(r) is not None for r in rows) for s in starts_of(rows)]
    return Ordering(
        key,
        measure.title,
        measure.wanted,
        measure.source,
        all=mean_over(every),
        guidance=mean_over(guided),
        kept=mean_over(kept),
        lost=mean_over(lost),
        beyond=mean_over(every - plain),
        by_start=tuple(every.tolist()),
        treatments=min(counts, default=0),
    )


def agreements(rows: Sequence[Row]) -> tuple[list[Measure], NDArray[np.float64]]:
    """The measures that have a value, and (m, m) the mean over networks of the rank correlations between them over all
    treatments, each turned so that more is better: 1 where two put the treatments in one order."""
    there = [m for m in REGISTERED if sum(r.measures.get(m.key) is not None for r in rows) > 2]
    table = np.array([[mean_over(correlations(rows, of(a), of(b), _any)).value for b in there] for a in there])
    return there, table.reshape(len(there), len(there))


def methods_in(rows: Sequence[Row]) -> list[OfMethod]:
    """Every method that worked for some network, at its chosen weights, with the measures of `SHOWN` and the truth."""
    found = []
    for method in dict.fromkeys(row.method for row in rows):
        mine = [chosen(rows, start, method) for start in starts_of(rows)]
        there = [row for row in mine if row is not None]
        if not there:
            continue
        figures = {key: mean_over(_numbers(r.truth[key] for r in there)) for key in (WITHOUT, WITH) if there[0].truth}
        figures |= {key: mean_over(_numbers(r.measures.get(key) for r in there)) for key in SHOWN}
        weights = tuple(row.weight for row in there) if len(BY_NAME[method].weights) > 1 else ()
        like = {row.start: row for s in starts_of(rows) if (row := chosen(rows, s, CONTROL)) is not None and row.truth}
        helped = sum(r.truth[WITHOUT] > like[r.start].truth[WITHOUT] for r in there if r.start in like)
        found.append(OfMethod(method, BY_NAME[method].family, weights, figures, helped))
    return found


def _numbers(values: Iterable[float | None]) -> NDArray[np.float64]:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def chosen(rows: Sequence[Row], start: str, method: str) -> Row | None:
    """A network's row of a method at the weight with the highest accuracy on the least spurious of what was held out,
    of equals the smallest; None where the method could not be used."""
    mine = [r for r in rows if r.start == start and r.method == method and not r.failed]
    return max(mine, key=lambda r: (r.held_out or 0.0, -r.weight), default=None)


def name_of(row: Row) -> str:
    """Method and weight."""
    return Treatment(BY_NAME[row.method], row.weight).name
