"""Who is asked what next. Pure: a ledger, who else is at what, and a plan."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from salient_imagenet_data.app.label.ledger import Ledger
from salient_imagenet_data.app.label.records import SKIPPED, WITHDRAWN, Pair, Row, Task

LEASE = 900.0
"""Seconds for which a pair that somebody looks at is nobody else's."""
APART = 10
"""Answers between an answer and its repetition; fewer where a person has nothing else left."""
GOLD_EVERY = 5
"""Of so many answers one is about a gold pair, while there are any."""


@dataclass(frozen=True)
class Plan:
    """What is to be asked. order: all pairs. per_pair: people a pair. gold: pairs whose answer is known, which
    everybody is asked. repeats: share of a person's answers that is asked again. wide: pairs whose answer is tried on
    other images."""

    order: tuple[Pair, ...]
    per_pair: int = 1
    gold: Mapping[Pair, str] | None = None
    repeats: float = 0.05
    wide: tuple[Pair, ...] = ()

    @cached_property
    def tasks(self) -> dict[Task, None]:
        """The tasks of the first round, in their order."""
        return {Task(pair, "first"): None for pair in self.order}


@dataclass(frozen=True)
class Lease:
    """A person looks at a task since then, in seconds since 1970."""

    task: Task
    since: float


def drawn(pairs: Iterable[Pair], count: int) -> tuple[Pair, ...]:
    """So many of the pairs, as if by chance, and the same ones each time."""
    return tuple(sorted(pairs, key=_chance)[:count])


def _chance(pair: Pair) -> bytes:
    return hashlib.sha256(f"{pair.class_index}:{pair.feature_index}".encode()).digest()


def next_task(ledger: Ledger, annotator: str, plan: Plan, leases: Mapping[str, Lease], now: float) -> Task | None:
    """What a person is asked next; None where nothing is left for them. What they look at already stays theirs."""
    mine = leases.get(annotator)
    at = _Position(ledger, annotator, plan, _of_others(annotator, leases, now))
    if mine is not None and at.is_open(mine.task):
        return mine.task
    due = at.due_gold() if at.answers % GOLD_EVERY == GOLD_EVERY - 1 else None
    due = due or at.due_repeat(APART)
    return due or at.unseen() or at.due_gold() or at.skipped() or at.due_repeat(min(APART, 3)) or at.wide()


def then_task(ledger: Ledger, annotator: str, plan: Plan, leases: Mapping[str, Lease], now: float) -> Task | None:
    """What a person is likely asked after the task they look at: the next open one that they have not seen."""
    mine = leases.get(annotator)
    at = _Position(ledger, annotator, plan, _of_others(annotator, leases, now))
    return at.unseen(after=None if mine is None else mine.task)


def left(ledger: Ledger, annotator: str, plan: Plan, leases: Mapping[str, Lease], now: float) -> int:
    """How many tasks are open to a person now."""
    at = _Position(ledger, annotator, plan, _of_others(annotator, leases, now))
    first = len(plan.tasks) - len(at.closed & plan.tasks.keys())
    wide = sum(at.is_open(Task(pair, "wide")) for pair in plan.wide)
    return first + wide + max(0, int(plan.repeats * (at.answers + first)) - at.repeated)


def _of_others(annotator: str, leases: Mapping[str, Lease], now: float) -> Counter[Task]:
    return Counter(at.task for name, at in leases.items() if name != annotator and now - at.since < LEASE)


class _Position:
    """Where a person stands."""

    def __init__(self, ledger: Ledger, annotator: str, plan: Plan, others: Counter[Task]) -> None:
        self.ledger, self.annotator, self.plan, self.others = ledger, annotator, plan, others
        rows = ledger.of(annotator)
        self.first: list[Row] = [row for row in rows if row.task.round == "first" and row.answered]
        self.answers = len(self.first)
        self.repeated = sum(row.task.round == "repeat" and row.answer != WITHDRAWN for row in rows)

    @cached_property
    def closed(self) -> set[Task]:
        """Tasks of the first round that `is_open` says no to. All at once, since each page looks through thousands."""
        rows = (row for row in self.ledger.of(self.annotator) if row.task.round == "first")
        mine = {row.task for row in rows if row.answered or (row.answer == SKIPPED and self._given_up(row.task))}
        most = self.plan.per_pair
        taken = {task for task, others in self.others.items() if self.ledger.count(task) + others >= most}
        gold = {Task(pair, "first") for pair in self.plan.gold or ()}
        return mine | ((self.ledger.full(most) | taken) - gold)

    def is_open(self, task: Task) -> bool:
        """Whether the person may be asked it: not answered, not passed over twice, and not the business of enough
        others."""
        row = self.ledger.newest(self.annotator, task)
        if row is not None and (row.answered or (row.answer == SKIPPED and self._given_up(task))):
            return False
        if task.round == "repeat":
            before = self.ledger.newest(self.annotator, Task(task.pair, "first"))
            return before is not None and before.answered
        return self._is_gold(task) or self.ledger.count(task) + self.others[task] < self.plan.per_pair

    def _given_up(self, task: Task) -> bool:
        return task.round != "first" or self.ledger.skips(self.annotator, task) > 1

    def _is_gold(self, task: Task) -> bool:
        return task.round == "first" and task.pair in (self.plan.gold or {})

    def _asked_before(self, task: Task) -> bool:
        row = self.ledger.newest(self.annotator, task)
        return row is not None and row.answer == SKIPPED

    def due_gold(self) -> Task | None:
        tasks = (Task(pair, "first") for pair in self.plan.gold or {})
        return next((t for t in tasks if self.is_open(t) and not self._asked_before(t)), None)

    def unseen(self, after: Task | None = None) -> Task | None:
        tasks = (task for task in self.plan.tasks if task not in self.closed and task != after)
        return next((task for task in tasks if not self._asked_before(task)), None)

    def skipped(self) -> Task | None:
        return next((task for task in self.plan.tasks if task not in self.closed), None)

    def due_repeat(self, apart: int) -> Task | None:
        if int(self.plan.repeats * self.answers) <= self.repeated:
            return None
        tasks = (
            Task(row.task.pair, "repeat") for row in sorted(self.first[:-apart], key=lambda r: _chance(r.task.pair))
        )
        return next((t for t in tasks if self.is_open(t)), None)

    def wide(self) -> Task | None:
        return next((t for t in (Task(pair, "wide") for pair in self.plan.wide) if self.is_open(t)), None)
