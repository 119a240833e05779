"""The file of answers: only added to, shared by processes, and what is damaged, full or somebody else's is told."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sqlite3
import tempfile
import threading
from collections.abc import Callable
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from salient_imagenet_data.app.label.assigning import Plan
from salient_imagenet_data.app.label.book import Book, read_book
from salient_imagenet_data.app.label.records import Pair, Task
from salient_imagenet_data.app.label.schema import APPLICATION_ID, MIGRATIONS, open_answers
from salient_imagenet_data.errors import SalientError
from tests.warm import Warm

ABOUT = {"weights": "a" * 64, "pairs": "b" * 64}
PAIRS = tuple(Pair(0, f) for f in range(40))
TASK = Task(PAIRS[0], "first")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.sqlite"


def test_rows_come_back_as_they_were_written(path: Path) -> None:
    clock = iter([100.0, 107.5, 200.0])
    book = Book(path, ABOUT, clock=lambda: next(clock))
    assert book.next_task("ada", Plan(PAIRS)) == TASK
    row = book.add("ada", TASK, "background", confidence=3, reason="héllo <&>", ticket="t" * 8, shown=("a/1", "b,2"))
    assert row is not None and row.seconds == 7.5
    assert book.add("ada", TASK, "main_object", ticket="t" * 8) is None  # a page is answered once
    book.close()
    assert read_book(path).rows == [row]
    mode = sqlite3.connect(path)
    assert mode.execute("PRAGMA journal_mode").fetchone() == ("delete",)  # closed, it is one whole file
    assert mode.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    assert mode.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    mode.close()


def test_nothing_that_was_written_changes(path: Path) -> None:
    book = Book(path, ABOUT)
    book.add("ada", TASK, "background")
    book.close()
    connection = sqlite3.connect(path)
    for change in ("UPDATE answers SET answer = 'main_object'", "DELETE FROM answers"):
        with pytest.raises(sqlite3.IntegrityError, match="answers are only added"):
            connection.execute(change)
    for wrong in ("'maybe', 1", "'background', 6", "'background', 'x'"):
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(f"INSERT INTO answers SELECT 99, 1.0, 'a', 1, 1, 'first', {wrong}, '', NULL, 'tt', '[]'")
    connection.close()


def test_two_open_files_see_each_other(path: Path) -> None:
    one, two = Book(path, ABOUT), Book(path, ABOUT)
    assert one.next_task("ada", Plan(PAIRS)) == TASK
    assert two.next_task("bob", Plan(PAIRS)) == Task(PAIRS[1], "first")
    one.add("ada", TASK, "background")
    with two.reading() as ledger:
        assert ledger.count(TASK) == 1
    assert two.next_task("cy", Plan(PAIRS)) == Task(PAIRS[2], "first")
    one.close()
    two.close()


def test_many_threads_lose_no_answer_and_share_no_pair(path: Path) -> None:
    book = Book(path, ABOUT)

    def work(who: str) -> None:
        while (task := book.next_task(who, Plan(PAIRS, repeats=0))) is not None:
            assert book.add(who, task, "background") is not None

    threads = [threading.Thread(target=work, args=(f"p{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    book.close()
    rows = read_book(path).rows
    assert sorted(row.task.pair for row in rows) == list(PAIRS)


def _write_until_killed(path: Path, told: int) -> None:
    book = Book(path, ABOUT)
    with os.fdopen(told, "w") as pipe:
        for number in range(10_000):
            book.add("ada", Task(Pair(0, number), "first"), "background")
            pipe.write(f"{number}\n")
            pipe.flush()


def test_what_was_said_to_be_saved_is_there_after_a_kill(path: Path) -> None:
    read, write = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=_write_until_killed, args=(path, write))
    process.start()
    os.close(write)
    with os.fdopen(read) as pipe:
        said = [int(pipe.readline()) for _ in range(25)]
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join(10)
        said += [int(line) for line in pipe.read().split()]
    book = Book(path, ABOUT)
    with book.reading() as ledger:
        kept = [row.task.pair.feature_index for row in ledger.rows]
    book.close()
    assert kept[: len(said)] == said and len(kept) - len(said) in (0, 1)


def test_answers_about_another_store_are_not_mixed_in(path: Path) -> None:
    Book(path, ABOUT).close()
    with pytest.raises(SalientError, match="answers about another store; expected weights cccccc.*--answers"):
        Book(path, ABOUT | {"weights": "c" * 64})
    Book(path, ABOUT).close()


def test_a_file_of_somebody_else_is_left_alone(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (a)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(SalientError, match="not a file of answers"):
        Book(path, ABOUT)
    assert path.read_bytes() == before


def test_a_file_of_a_later_version_is_refused(path: Path) -> None:
    Book(path, ABOUT).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(SalientError, match="later version.*update the package"):
        Book(path, ABOUT)


@pytest.mark.parametrize("damage", ["head", "middle", "cut"])
def test_a_damaged_file_is_told_and_not_made_anew(path: Path, damage: str) -> None:
    book = Book(path, ABOUT)
    for pair in PAIRS:
        book.add("ada", Task(pair, "first"), "background", reason="a reason that fills pages " * 8)
    book.close()
    data = bytearray(path.read_bytes())
    if damage == "head":
        data[:64] = b"x" * 64
    elif damage == "middle":
        data[8192:16384] = bytes(8192)
    else:
        del data[len(data) // 2 :]
    path.write_bytes(bytes(data))
    with pytest.raises(SalientError, match=r"a\.sqlite: the answers' file cannot be used.*restore a copy") as caught:
        Book(path, ABOUT)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == bytes(data)
    with pytest.raises(SalientError, match=r"a\.sqlite"):
        read_book(path / "missing")


def _open_when_told(path: Path, start: Barrier, said: SimpleQueue[str]) -> None:
    start.wait()
    try:
        book = Book(path, ABOUT)
        book.add(str(os.getpid()), TASK, "background")
        book.close()
        said.put("")
    except SalientError as error:
        said.put(str(error))


def test_a_new_file_is_made_once_though_several_open_it_at_once(tmp_path: Path) -> None:
    """Four processes on each of eight new files; in some of them two find it empty."""
    bare = Warm()
    try:
        done = bare.run(
            "-c", "import sys; from tests.app.label.test_book import open_at_once as f; f(sys.argv[1])", tmp_path
        )
    finally:
        bare.close()
    assert done.returncode == 0, done.stderr


def open_at_once(folder: str) -> None:
    """In a process that holds little else: a fork of one that has run other tests takes much longer."""
    fork = multiprocessing.get_context("fork")
    for number in range(8):
        path, start, said = Path(folder) / f"{number}.sqlite", fork.Barrier(4), fork.SimpleQueue()
        people = [fork.Process(target=_open_when_told, args=(path, start, said)) for _ in range(4)]
        for process in people:
            process.start()
        assert [said.get() for _ in people] == [""] * 4
        for process in people:
            process.join(10)
        assert len(read_book(path).rows) == 4


class _Lock:
    """A lock that does something once, when it is let go entirely."""

    def __init__(self, then: Callable[[], object]) -> None:
        self.held, self.then = 0, [then]

    def __enter__(self) -> None:
        self.held += 1

    def __exit__(self, *_: object) -> None:
        self.held -= 1
        while not self.held and self.then:
            self.then.pop()()


def test_a_page_that_comes_twice_at_once_is_one_answer(path: Path) -> None:
    """The second comes as soon as the lock is free: from then on the ledger knows the first."""
    book, found = Book(path, ABOUT), []
    book._lock = _Lock(lambda: found.append(book.add("ada", TASK, "background", ticket="t" * 8)))  # type: ignore[assignment]
    first = book.add("ada", TASK, "background", ticket="t" * 8)
    assert found == [None] and first is not None
    book.close()
    assert read_book(path).rows == [first]


def _read_as_nobody(path: Path, said: SimpleQueue[object]) -> None:
    if os.getuid() == 0:
        os.setuid(65534)
    try:
        said.put([row.annotator for row in read_book(path).rows])
    except SalientError as error:
        said.put(str(error))


def test_a_copy_is_read_from_a_folder_that_cannot_be_written() -> None:
    """A file that was closed, one whose log is gone, and one whose log still holds answers."""
    folder = Path(tempfile.mkdtemp())  # below tmp_path nobody else may read
    try:
        book = Book(folder / "a.sqlite", ABOUT)
        book.add("ada", TASK, "background")
        for name in ("waits.sqlite", "waits.sqlite-wal"):
            shutil.copy(folder / name.replace("waits", "a"), folder / name)
        book.close()
        shutil.copy(folder / "a.sqlite", folder / "log.sqlite")
        connection = sqlite3.connect(folder / "log.sqlite")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.close()  # which removes its empty log
        assert sorted(p.name for p in folder.iterdir()) == [
            "a.sqlite",
            "log.sqlite",
            "waits.sqlite",
            "waits.sqlite-wal",
        ]
        folder.chmod(0o555)
        fork = multiprocessing.get_context("fork")
        for name, expected in (
            ("a", ["ada"]),
            ("log", ["ada"]),
            ("waits", "copy it, with the -wal file beside it, to"),
        ):
            said = fork.SimpleQueue()
            process = fork.Process(target=_read_as_nobody, args=(folder / f"{name}.sqlite", said))
            process.start()
            found = said.get()
            process.join(10)
            assert found == expected or (isinstance(expected, str) and expected in found), found
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_full_disk_is_told_and_what_was_there_stays(path: Path) -> None:
    book = Book(path, ABOUT)
    book.add("ada", TASK, "background")
    (pages,) = book._connection.execute("PRAGMA page_count").fetchone()
    book._connection.execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own "database or disk is full"
    with pytest.raises(SalientError, match="full.*make room on the disk; nothing that was there is lost"):
        for pair in PAIRS[1:]:
            book.add("ada", Task(pair, "first"), "background", reason="x" * 400)
    with book.reading() as ledger:
        kept = len(ledger.rows)
    book._connection.execute("PRAGMA max_page_count = 100000")
    assert book.add("ada", Task(PAIRS[39], "first"), "background") is not None
    book.close()
    rows = read_book(path).rows
    assert len(rows) == kept + 1 and rows[0].task == TASK and rows[-1].task.pair == PAIRS[39]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(SalientError, match="--answers with a place that can be written"):
        open_answers(tmp_path / "nowhere" / "a.sqlite", ABOUT)
