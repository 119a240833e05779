"""How good the answers are: agreement, each person's own, pairs in dispute, and whether answers hold for other images.
Pure functions on a ledger."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from salient_imagenet_data.annotation.agreement import Agreement, fleiss, krippendorff
from salient_imagenet_data.annotation.verdicts import decide
from salient_imagenet_data.app.label.assigning import Plan
from salient_imagenet_data.app.label.ledger import Ledger
from salient_imagenet_data.app.label.records import SKIPPED, Pair, Row, Task
from salient_imagenet_data.evaluation.numbers.estimates import Estimate, wilson
from salient_imagenet_data.names import ANSWERS, BACKGROUND, CORE, MAIN_OBJECT, SEPARATE_OBJECT, Kind
from salient_imagenet_data.store.words.short_names import short_name


@dataclass(frozen=True)
class Agreements:
    """On the three answers, and on core or spurious alone."""

    fleiss: Agreement
    krippendorff: Agreement
    fleiss_kind: Agreement
    krippendorff_kind: Agreement


@dataclass(frozen=True)
class Person:
    """Of one annotator. seconds: the median of an answer. again: repetitions that were answered alike. gold: answers to
    gold pairs that are right. others: answers that are what most of the others said, where others answered."""

    name: str
    answers: int
    skipped: int
    seconds: float | None
    again: Estimate | None
    gold: Estimate | None
    others: Estimate | None


@dataclass(frozen=True)
class Dispute:
    """A pair on which not all agree. kind: what the votes make of it now."""

    pair: Pair
    rows: tuple[Row, ...]
    votes: Mapping[str, int]
    kind: Kind


def agreements(ledger: Ledger) -> Agreements:
    """Of all answers of the first round that hold."""
    answered = ledger.answered()
    counts = np.array([[sum(r.answer == a for r in rows) for a in ANSWERS] for rows in answered.values()], np.int64)
    counts = counts.reshape(-1, len(ANSWERS))
    core = counts[:, [ANSWERS.index(MAIN_OBJECT)]]
    kinds = np.concatenate([core, counts.sum(axis=1, keepdims=True) - core], axis=1)
    return Agreements(fleiss(counts), krippendorff(counts), fleiss(kinds), krippendorff(kinds))


def kind_of(rows: list[Row]) -> Kind:
    """What the majority of the answers makes of a pair: spurious if more than half say so, as 3 of 5 in the paper."""
    votes = Counter(row.answer for row in rows)
    return decide(votes[SEPARATE_OBJECT], votes[BACKGROUND], len(rows) // 2 + 1)[0]


def people(ledger: Ledger, gold: Mapping[Pair, str]) -> list[Person]:
    """Each annotator, in the order of their first answers."""
    answered = ledger.answered()
    return [_person(ledger, name, gold, answered) for name in ledger.annotators]


def _person(ledger: Ledger, name: str, gold: Mapping[Pair, str], answered: Mapping[Pair, list[Row]]) -> Person:
    rows = ledger.of(name)
    first = {row.task.pair: row for row in rows if row.task.round == "first" and row.answered}
    again = [row for row in rows if row.task.round == "repeat" and row.answered and row.task.pair in first]
    right = [row.answer == gold[pair] for pair, row in first.items() if pair in gold]
    like = [r for pair, row in first.items() if (r := _as_others(row, answered[pair])) is not None]
    seconds = [row.seconds for row in rows if row.answered and row.seconds is not None]
    return Person(
        name,
        len(first),
        sum(row.answer == SKIPPED for row in rows),
        round(statistics.median(seconds), 1) if seconds else None,
        _share([row.answer == first[row.task.pair].answer for row in again]),
        _share(right),
        _share(like),
    )


def _as_others(row: Row, rows: list[Row]) -> bool | None:
    """Whether a person said what most of the others did; None where no answer is most of the others'."""
    votes = Counter(other.answer for other in rows if other.annotator != row.annotator).most_common(2)
    if not votes or (len(votes) == 2 and votes[0][1] == votes[1][1]):
        return None
    return row.answer == votes[0][0]


def _share(hits: list[bool]) -> Estimate | None:
    return wilson(sum(hits), len(hits)) if hits else None


def disputes(ledger: Ledger) -> list[Dispute]:
    """Pairs with more than one answer of different kinds, or else of different words, the most even first."""
    found = []
    for pair, rows in ledger.answered().items():
        votes = Counter(row.answer for row in rows)
        if len(votes) > 1:
            found.append(Dispute(pair, tuple(rows), {a: votes[a] for a in ANSWERS}, kind_of(rows)))
    return sorted(found, key=_evenness)


def _evenness(dispute: Dispute) -> tuple[float, float, Pair]:
    total = sum(dispute.votes.values())
    core = dispute.votes[MAIN_OBJECT] / total
    return abs(core - 0.5), max(dispute.votes.values()) / total, dispute.pair


@dataclass(frozen=True)
class Name:
    """A pair in a few words, made of its reasons. kind: what the votes make of it now. reasons: how many were given."""

    pair: Pair
    kind: Kind
    words: str
    reasons: int


def named(ledger: Ledger) -> list[Name]:
    """The pairs that have a name, spurious ones first."""
    found = []
    for pair, rows in ledger.answered().items():
        reasons = [row.reason for row in rows if row.reason]
        if words := short_name(reasons):
            found.append(Name(pair, kind_of(rows), words, len(reasons)))
    return sorted(found, key=lambda name: (name.kind == CORE, name.pair))


def generalisation(ledger: Ledger) -> tuple[Estimate | None, list[Pair]]:
    """How often the kind that five images gave a pair is that of five images of the ranks 6 to 65, and the pairs where
    it is not [Singla & Feizi 2022, section 4]. None where no pair was asked both."""
    first, wide = ledger.answered(), ledger.answered("wide")
    both = sorted(first.keys() & wide.keys())
    holds = [kind_of(first[pair]) == kind_of(wide[pair]) for pair in both]
    return _share(holds), [pair for pair, ok in zip(both, holds, strict=True) if not ok]


def settled(ledger: Ledger, plan: Plan) -> set[Pair]:
    """Pairs that nobody is asked about any more, so that what was said of them may be seen: all others are answered
    without it. Gold pairs are asked of everybody, and never among them."""
    first, wide = ledger.full(plan.per_pair), {Task(pair, "wide") for pair in plan.wide}
    open_wide = {task.pair for task in wide - ledger.full(plan.per_pair)}
    return {task.pair for task in first if task.round == "first"} - open_wide - (plan.gold or {}).keys()


def full(ledger: Ledger, pairs: tuple[Pair, ...], per_pair: int) -> int:
    """How many pairs have all their answers."""
    return sum(ledger.count(Task(pair, "first")) >= per_pair for pair in pairs)
