"""All rows of a file of answers, and what holds now: the newest row of a person and task."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from salient_imagenet_data.app.label.records import SKIPPED, Pair, Row, Task


class Ledger:
    """Rows in the order in which they were written, and indices over them that `add` keeps."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self.rows: list[Row] = []
        self._newest: dict[tuple[str, Task], Row] = {}
        self._of_person: defaultdict[str, dict[Task, Row]] = defaultdict(dict)
        self._counts: Counter[Task] = Counter()
        self._skips: Counter[tuple[str, Task]] = Counter()
        self._full: dict[int, set[Task]] = {}
        self.tickets: dict[str, Row] = {}
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        """Take a row that was written."""
        key = (row.annotator, row.task)
        before = self._newest.get(key)
        self._counts[row.task] += row.answered - (before is not None and before.answered)
        for people, tasks_of in self._full.items():
            (tasks_of.add if self._counts[row.task] >= people else tasks_of.discard)(row.task)
        self._newest[key] = row
        tasks = self._of_person[row.annotator]
        tasks.pop(row.task, None)  # to the end: the order is that of the newest rows
        tasks[row.task] = row
        self._skips[key] += row.answer == SKIPPED
        self.tickets[row.ticket] = row
        self.rows.append(row)

    @property
    def annotators(self) -> list[str]:
        """Who wrote a row, in the order of their first ones."""
        return list(self._of_person)

    def newest(self, annotator: str, task: Task) -> Row | None:
        """What a person said last about a task."""
        return self._newest.get((annotator, task))

    def of(self, annotator: str) -> list[Row]:
        """The newest row of each task of a person, oldest first."""
        return list(self._of_person[annotator].values()) if annotator in self._of_person else []

    def count(self, task: Task) -> int:
        """How many people's answers hold."""
        return self._counts[task]

    def full(self, people: int) -> set[Task]:
        """Tasks with the answers of so many people or more. Do not change it: it is kept, and follows what is added."""
        if people not in self._full:
            self._full[people] = {task for task, count in self._counts.items() if count >= people}
        return self._full[people]

    def skips(self, annotator: str, task: Task) -> int:
        """How often a person went past a task."""
        return self._skips[annotator, task]

    def answered(self, round_name: str = "first") -> dict[Pair, list[Row]]:
        """The answers that hold of a round, by pair; of a pair in the order of the people."""
        found: defaultdict[Pair, list[Row]] = defaultdict(list)
        for tasks in self._of_person.values():
            for task, row in tasks.items():
                if task.round == round_name and row.answered:
                    found[task.pair].append(row)
        return dict(found)
