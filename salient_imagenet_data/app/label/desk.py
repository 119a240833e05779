"""What the pages of answering stand on: a store with its images, the file of answers, and what is to be asked."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from salient_imagenet_data.annotation.answers import Answer
from salient_imagenet_data.annotation.sheets import top_rows
from salient_imagenet_data.app.gallery import Gallery
from salient_imagenet_data.app.label.ahead import Ahead
from salient_imagenet_data.app.label.assigning import Plan
from salient_imagenet_data.app.label.attacks import Attacks
from salient_imagenet_data.app.label.book import Book
from salient_imagenet_data.app.label.ledger import Ledger
from salient_imagenet_data.app.label.records import Pair, Row, Task
from salient_imagenet_data.errors import SalientError, many
from salient_imagenet_data.imagenet import display_names
from salient_imagenet_data.store.features import Feature
from salient_imagenet_data.store.reading import Store

SHOWN = 5
"""Images of a task."""
WIDE_RANKS = (6, 65)
"""Ranks, from 1, among which the images of a wide task are drawn."""
OTHERS = 6
"""Further images of the class, below the question."""
LONGEST_NAME, LONGEST_REASON = 60, 500
"""Characters of an annotator's name and of a reason."""


def identity_of(store: Store) -> dict[str, str]:
    """What answers about a store are about: its network and its pairs, in a form that a file of answers keeps."""
    pairs = sorted((f.class_index, f.class_name, f.feature_index, f.rank) for f in store.features)
    return {
        "weights": store.manifest.weights_sha256,
        "pairs": hashlib.sha256(repr(pairs).encode()).hexdigest(),
    }


@dataclass
class Desk:
    """place: where the store is, as it was given: pages call it so, and answers are applied there. seen: the store as
    it was read last. definitions: a text by class name, as the store calls it. annotator: whose pages these are, where
    that is one person. majority: answers that make a feature spurious, in what the pages tell. attacks: made in the
    background, where there is something to make them with. ahead: draws the next pictures, once there are pages."""

    gallery: Gallery
    book: Book
    plan: Plan
    definitions: Mapping[str, str] = field(default_factory=dict)
    annotator: str | None = None
    place: str | Path = ""
    seen: Store | None = None
    kinds: dict[Pair, Feature] = field(default_factory=dict)
    _rows: dict[Task, list[int]] = field(default_factory=dict)
    attacks: Attacks | None = None
    ahead: Ahead | None = None

    def close(self) -> None:
        """End what works in the background, and give the file back."""
        if self.ahead is not None:
            self.ahead.close()
        if self.attacks is not None:
            self.attacks.close()
        self.book.close()

    def __post_init__(self) -> None:
        self.place = self.place or self.store.path
        self.read_kinds(self.store)

    @property
    def store(self) -> Store:
        return self.gallery.joined.store

    @property
    def majority(self) -> int:
        """More than half of the people a pair: 3 of 5, as in the paper, and 1 of one."""
        return self.plan.per_pair // 2 + 1

    def as_it_is(self) -> Store:
        """The store with the kinds that it has now: in a folder others may have applied answers since."""
        self.read_kinds(Store((self.seen or self.store).path))
        assert self.seen is not None
        return self.seen

    def read_kinds(self, store: Store) -> None:
        """Take what a store says of its features now."""
        self.seen = store
        self.kinds = {Pair(f.class_index, f.feature_index): f for f in store.features}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Class names to show."""
        return display_names(self.store.class_names)

    @property
    def defined(self) -> int:
        """How many of the store's classes have a text in `definitions`."""
        return sum(name in self.definitions for name in self.store.class_names)

    def rows_of(self, task: Task) -> list[int]:
        """Rows of the store whose images a task shows, most active first. Kept: a store may have a million rows."""
        if task not in self._rows:
            self._rows[task] = self._rows_of(task)
        return self._rows[task]

    def _rows_of(self, task: Task) -> list[int]:
        slot = self.kinds[task.pair].slot
        first, last = WIDE_RANKS
        if task.round != "wide":
            return [int(row) for row in top_rows(self.store, task.pair.class_index, slot, SHOWN)]
        rows = top_rows(self.store, task.pair.class_index, slot, last)[first - 1 :]
        chance = np.random.default_rng(list(task.pair))
        places = np.sort(chance.choice(len(rows), min(SHOWN, len(rows)), replace=False))
        return [int(rows[place]) for place in places]

    def other_rows(self, task: Task) -> list[int]:
        """Some more rows of the class, whatever they show."""
        rows = np.setdiff1d(np.flatnonzero(self.store.rows.labels == task.pair.class_index), self.rows_of(task))
        chance = np.random.default_rng(task.pair.class_index)
        return [int(row) for row in chance.choice(rows, min(OTHERS, len(rows)), replace=False)]

    def ids_of(self, rows: list[int]) -> tuple[str, ...]:
        """Image ids of rows."""
        return tuple(self.store.rows.image_ids[row].as_py() for row in rows)


def reasons_of(rows: list[Row], most: int = 50) -> list[str]:
    """What a person wrote before, most frequent first. Only their own: a pair's answers are to be independent."""
    counts = Counter(row.reason for row in reversed(rows) if row.reason)
    return [reason for reason, _ in counts.most_common(most)]


def answers_in(ledger: Ledger, store: Store, round_name: str = "first") -> list[Answer]:
    """The answers of a round that hold, by class, rank and person. Those to pairs that the store does not have are left
    out; `unknown_in` counts them."""
    features = {Pair(f.class_index, f.feature_index): f for f in store.features}
    found = []
    for pair, rows in ledger.answered(round_name).items():
        if (feature := features.get(pair)) is not None:
            found += [
                Answer(row.annotator, feature.class_name, *pair, feature.rank, row.answer, row.confidence, row.reason)
                for row in rows
            ]
    return sorted(found, key=lambda a: (a.class_index, a.feature_rank, a.annotator))


def unknown_in(ledger: Ledger, store: Store) -> str:
    """How many answers of the first round are to pairs that the store does not have, in one line; empty for none."""
    known = {Pair(f.class_index, f.feature_index) for f in store.features}
    count = sum(len(rows) for pair, rows in ledger.answered().items() if pair not in known)
    return f"{many(count, 'answer')} left out, to pairs that the store does not have" if count else ""


def checked_name(name: str) -> str:
    """An annotator's name, without blanks around it. Raises SalientError for one that cannot be."""
    name = " ".join(name.split())
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise SalientError(
            "annotator's name", expected=f"1 to {LONGEST_NAME} characters that can be printed", got=repr(name[:80])
        )
    return name


def task_of(desk: Desk, class_index: str, feature_index: str, round_name: str) -> Task:
    """A task of its parts as text. Raises SalientError for a pair that the store does not have."""
    for text in (class_index, feature_index):
        if not (text.isdecimal() and text.isascii() and len(text) < 10):
            raise SalientError(
                "not a pair", expected="two whole numbers", got=repr(f"{class_index} {feature_index}"[:80])
            )
    pair = Pair(int(class_index), int(feature_index))
    if pair not in desk.kinds:
        raise SalientError("no such pair in this store", got=f"class {pair.class_index}, feature {pair.feature_index}")
    if round_name == "first":
        return Task(pair, "first")
    if round_name == "repeat":
        return Task(pair, "repeat")
    if round_name == "wide":
        return Task(pair, "wide")
    raise SalientError("no such round", expected="first, repeat or wide", got=repr(round_name[:40]))
