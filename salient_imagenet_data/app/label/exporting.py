"""The answers of a file in other forms, and answers from other forms into the file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from salient_imagenet_data.annotation.answers import OFFICIAL_COLUMNS
from salient_imagenet_data.annotation.applying import check_pairs
from salient_imagenet_data.annotation.files import csv_of, read_annotations
from salient_imagenet_data.annotation.label_studio import read_tasks, tasks_of
from salient_imagenet_data.annotation.restricting import of_classes
from salient_imagenet_data.annotation.verdicts import Annotations, Generalised
from salient_imagenet_data.app.label.book import Book
from salient_imagenet_data.app.label.desk import SHOWN, WIDE_RANKS, answers_in, checked_name, identity_of
from salient_imagenet_data.app.label.ledger import Ledger
from salient_imagenet_data.app.label.quality import generalisation
from salient_imagenet_data.app.label.records import Pair, Task
from salient_imagenet_data.errors import SalientError, many
from salient_imagenet_data.names import Form
from salient_imagenet_data.store.reading import Store

NAMES: dict[Form, str] = {
    "csv": "answers.csv",
    "official": "answers-official.csv",
    "label-studio": "answers-label-studio.json",
}
"""What a file of each form is called by default."""


def exported(ledger: Ledger, store: Store, form: Form) -> str:
    """The answers of the first round that hold, as the text of a file. Answers to repetitions and to other images are
    not among them: they are about the answers."""
    answers = answers_in(ledger, store)
    if form == "csv":
        return csv_of(answers)
    if form == "official":
        return csv_of(answers, OFFICIAL_COLUMNS)
    first = [row for row in ledger.rows if row.task.round == "first" and row.shown]
    shown = {(row.task.pair.class_index, row.task.pair.feature_index): row.shown for row in first}
    return json.dumps(tasks_of(answers, shown), indent=1, ensure_ascii=False) + "\n"


def annotations_in(ledger: Ledger, store: Store) -> Annotations:
    """The same as `read_annotations` of the exported CSV, and whether answers hold for other images, which a CSV does
    not say. Raises SalientError where nobody answered."""
    answers = answers_in(ledger, store)
    if not answers:
        raise SalientError("no answers", expected="at least one")
    sha256 = hashlib.sha256(csv_of(answers).encode()).hexdigest()
    return Annotations(tuple(answers), sha256, generalised=_generalised(ledger))


def _generalised(ledger: Ledger) -> Generalised | None:
    held, _ = generalisation(ledger)
    if held is None:
        return None
    return Generalised(held.n, round(held.value * held.n), held.low, held.high, SHOWN, *WIDE_RANKS)


def take_in(path: Path, store: Store, answers: Path, tell: Callable[[str], None]) -> int:
    """Add the answers of a CSV or Parquet file (ours or the official columns) or of Label Studio's JSON to a file of
    answers; how many. Classes are matched by name. Left out and told are rows without an answer, answers about classes
    that the store has not, and those of a person to a pair that has one of theirs, which stays.

    Raises SalientError for a pair that the store does not have.
    """
    given = Annotations(tuple(read_tasks(path)), "") if path.suffix == ".json" else read_annotations(path)
    if given.unanswered:
        tell(f"{many(given.unanswered, 'row')} of {path} without an answer left out")
    restricted = of_classes(given, store.class_names)
    if line := restricted.line():
        tell(line)
    read = restricted.annotations.answers
    check_pairs(read, store.features, path)
    book = Book(answers, identity_of(store))
    try:
        with book.reading() as ledger:
            rows, twice = [], 0
            for a in read:
                task, who = Task(Pair(a.class_index, a.feature_index), "first"), checked_name(a.annotator)
                before = ledger.newest(who, task)
                if before is not None and before.answered:
                    twice += 1
                else:
                    rows.append((who, task, a.answer, a.confidence, a.reason))
            book.add_all(rows)
    finally:
        book.close()
    if twice:
        tell(f"{many(twice, 'answer')} left out: {answers} has one of that person about that pair")
    return len(rows)
