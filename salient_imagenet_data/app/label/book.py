"""The file of answers while the server runs: reading, adding, and leases, by several people and processes at once."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from salient_imagenet_data.app.label.assigning import Lease, Plan, left, next_task, then_task
from salient_imagenet_data.app.label.ledger import Ledger
from salient_imagenet_data.app.label.records import Pair, Row, Task
from salient_imagenet_data.app.label.schema import open_answers, out_of_wal, reading_file, told, writing

_COLUMNS = "id, time, annotator, class_index, feature_index, round, answer, confidence, reason, seconds, ticket, shown"


class Book:
    """A file of answers and what is in it. Only rows are added; each is on the disk when `add` returns.

    Several threads may use it, and several processes the same file: what others wrote is read before anything is
    decided. clock: seconds since 1970.
    """

    def __init__(self, path: Path, identity: Mapping[str, str], clock: Callable[[], float] = time.time) -> None:
        self.path, self.clock = path, clock
        self._lock = threading.RLock()
        self._connection = open_answers(path, identity)
        with told(path):
            self.secret: str = self._connection.execute("SELECT value FROM project WHERE key = 'secret'").fetchone()[0]
        self._version = -1
        self._durable = True
        self._ledger = Ledger()
        self._leases: dict[str, Lease] = {}

    def close(self) -> None:
        """Give the file back."""
        with self._lock:
            out_of_wal(self._connection)
            self._connection.close()

    @contextmanager
    def reading(self) -> Iterator[Ledger]:
        """The ledger as it is, which stays so inside."""
        with self._lock, told(self.path):
            self._refresh()
            yield self._ledger

    def copy(self) -> Ledger:
        """The ledger as it is now, apart: for what takes long, so that nobody waits for it."""
        with self.reading() as ledger:
            rows = list(ledger.rows)
        return Ledger(rows)

    def next_task(self, annotator: str, plan: Plan) -> Task | None:
        """What a person is asked next, and is now theirs."""
        with self._writing(durable=False):
            now = self.clock()
            task = next_task(self._ledger, annotator, plan, self._leases, now)
            if task is None:
                self._connection.execute("DELETE FROM leases WHERE annotator = ?", (annotator,))
                self._leases.pop(annotator, None)
            else:
                self._lease(annotator, task, now)
            return task

    def then_task(self, annotator: str, plan: Plan) -> Task | None:
        """What a person is likely asked next but one."""
        with self.reading() as ledger:
            return then_task(ledger, annotator, plan, self._leases, self.clock())

    def look_at(self, annotator: str, task: Task) -> None:
        """A person looks at a task of their own choice; from now on its seconds count."""
        with self._writing(durable=False):
            self._lease(annotator, task, self.clock())

    def left(self, annotator: str, plan: Plan) -> int:
        """How many tasks are open to a person."""
        with self.reading() as ledger:
            return left(ledger, annotator, plan, self._leases, self.clock())

    def add(
        self,
        annotator: str,
        task: Task,
        answer: str,
        *,
        confidence: int | None = None,
        reason: str = "",
        ticket: str | None = None,
        shown: tuple[str, ...] = (),
    ) -> Row | None:
        """Write a row; None where the page with that ticket was answered before. Raises SalientError if it cannot be
        written, and nothing is."""
        # One lock over both: between file and ledger the same page would be taken for a new one.
        with self._lock:
            return self._add(annotator, task, answer, confidence, reason, ticket, shown)

    def _add(
        self,
        annotator: str,
        task: Task,
        answer: str,
        confidence: int | None,
        reason: str,
        ticket: str | None,
        shown: tuple[str, ...],
    ) -> Row | None:
        with self._writing():
            ticket = ticket or secrets.token_hex(8)
            if ticket in self._ledger.tickets:
                return None
            now = self.clock()
            lease = self._leases.get(annotator)
            seconds = round(now - lease.since, 3) if lease is not None and lease.task == task else None
            values = (now, annotator, *task.pair, task.round, answer, confidence, reason, seconds, ticket)
            cursor = self._connection.execute(
                f"INSERT INTO answers ({_COLUMNS}) VALUES (NULL, {', '.join('?' * 11)})", (*values, json.dumps(shown))
            )
            if lease is not None and lease.task == task:
                self._connection.execute("DELETE FROM leases WHERE annotator = ?", (annotator,))
            row = Row(
                int(cursor.lastrowid or 0), now, annotator, task, answer, confidence, reason, seconds, ticket, shown
            )
        if lease is not None and lease.task == task:
            self._leases.pop(annotator, None)
        self._ledger.add(row)
        return row

    def add_all(self, rows: list[tuple[str, Task, str, int | None, str]]) -> None:
        """Write many answers, all or none: annotator, task, answer, confidence, reason."""
        with self._writing():
            now = self.clock()
            values = [
                (now, who, *task.pair, task.round, answer, confidence, reason, None, secrets.token_hex(8), "[]")
                for who, task, answer, confidence, reason in rows
            ]
            self._connection.executemany(
                f"INSERT INTO answers ({_COLUMNS}) VALUES (NULL, {', '.join('?' * 11)})", values
            )
            self._version = -1

    @contextmanager
    def _writing(self, *, durable: bool = True) -> Iterator[None]:
        """durable: wait until it is on the disk. Who looks at what need not outlive a power cut, and each wait holds up
        everybody."""
        with self._lock, told(self.path):
            if durable != self._durable:
                self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._durable = durable
            try:
                with writing(self._connection):
                    self._refresh()
                    yield
            except BaseException:
                self._version = -1  # what is in memory may be ahead of the file
                raise

    def _lease(self, annotator: str, task: Task, now: float) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?)", (annotator, *task.pair, task.round, now)
        )
        self._leases[annotator] = Lease(task, now)

    def _refresh(self) -> None:
        """Read what another connection wrote since."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if version == self._version:
            return
        self._ledger = Ledger(map(_row, self._connection.execute(f"SELECT {_COLUMNS} FROM answers ORDER BY id")))
        leases = self._connection.execute("SELECT annotator, class_index, feature_index, round, since FROM leases")
        self._leases = {name: Lease(Task(Pair(c, f), r), since) for name, c, f, r, since in leases}
        self._version = version


def read_book(path: Path, identity: Mapping[str, str] | None = None) -> Ledger:
    """What is in a file of answers, without changing it. identity: what they must be about, for whoever reads them for
    a store. Raises SalientError as `reading_file` does."""
    with reading_file(path, identity) as connection:
        return Ledger(map(_row, connection.execute(f"SELECT {_COLUMNS} FROM answers ORDER BY id")))


def _row(values: tuple[object, ...]) -> Row:
    number, when, annotator, c, f, round_name, answer, confidence, reason, seconds, ticket, shown = values
    task = Task(Pair(c, f), round_name)  # type: ignore[arg-type]
    ids = tuple(json.loads(str(shown)))
    return Row(number, when, annotator, task, answer, confidence, reason, seconds, ticket, ids)  # type: ignore[arg-type]
