"""The file of answers: SQLite with a write-ahead log, opened, checked and brought to the newest layout."""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from salient_imagenet_data.errors import SalientError

APPLICATION_ID = 0x53414C49
"""Of SQLite's header: by it a file of ours is known."""

PATIENCE = 10.0
"""Seconds to wait for others who write."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE project (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
        """
    CREATE TABLE answers (
        id INTEGER PRIMARY KEY,
        time REAL NOT NULL,
        annotator TEXT NOT NULL,
        class_index INTEGER NOT NULL,
        feature_index INTEGER NOT NULL,
        round TEXT NOT NULL CHECK (round IN ('first', 'repeat', 'wide')),
        answer TEXT NOT NULL
            CHECK (answer IN ('main_object', 'separate_object', 'background', 'skipped', 'withdrawn')),
        confidence INTEGER CHECK (confidence BETWEEN 1 AND 5),
        reason TEXT NOT NULL,
        seconds REAL,
        ticket TEXT NOT NULL UNIQUE,
        shown TEXT NOT NULL
    ) STRICT
    """,
        "CREATE TRIGGER answers_stay BEFORE UPDATE ON answers BEGIN SELECT RAISE(ABORT, 'answers are only added'); END",
        "CREATE TRIGGER answers_remain BEFORE DELETE ON answers "
        "BEGIN SELECT RAISE(ABORT, 'answers are only added'); END",
        """
    CREATE TABLE leases (
        annotator TEXT PRIMARY KEY,
        class_index INTEGER NOT NULL,
        feature_index INTEGER NOT NULL,
        round TEXT NOT NULL,
        since REAL NOT NULL
    ) STRICT
    """,
    ),
)
"""Step i brings a file from user_version i to i + 1. Steps that were released never change."""


def is_database(path: Path) -> bool:
    """Whether it is a file of SQLite; whether it is one of ours, who reads it says."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


@contextmanager
def told(path: Path, *, read_only: bool = False) -> Iterator[None]:
    """What SQLite raises as an error that names the file. read_only: nothing was to be written."""
    try:
        yield
    except sqlite3.Error as error:
        then = _remedy(error, read_only)
        raise SalientError(f"{path}: the answers' file cannot be used", got=str(error), then=then) from error


def _remedy(error: sqlite3.Error, read_only: bool) -> str:
    words = str(error)
    if read_only and _is_place(error):
        return "copy it, with the -wal file beside it, to a folder that can be written"
    if "full" in words:
        return "make room on the disk; nothing that was there is lost"
    if "readonly" in words or "unable to open" in words:
        return "give --answers with a place that can be written"
    if "locked" in words:
        return "another process writes there; try again"
    return "keep the file, and restore a copy of it or begin another one with --answers"


def open_answers(path: Path, identity: Mapping[str, str]) -> sqlite3.Connection:
    """A connection to a file of answers, which is made where there is none. identity: what the answers are about, such
    as the store's network and classes.

    Raises SalientError for a file that is damaged, of a later version, no file of ours, or about something else.
    """
    with told(path):
        connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            _prepare(connection, path, identity)
        except BaseException:
            connection.close()
            raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, identity: Mapping[str, str]) -> None:
    (damage,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if damage != "ok":
        raise sqlite3.DatabaseError(damage)
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables:
        _check_ours(connection, path)
    _in_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")  # an answer that was said to be saved outlives a power cut
    with writing(connection):
        # Read again, now that nobody else writes: of two that open a new file at once the second finds it made.
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for step in MIGRATIONS[version:]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        for key, value in {"secret": secrets.token_hex(32), **identity}.items():
            connection.execute("INSERT OR IGNORE INTO project VALUES (?, ?)", (key, value))
    _check_identity(connection, path, identity)


def _in_wal(connection: sqlite3.Connection) -> None:
    """Keep a write-ahead log. SQLite does not wait for others here by itself."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.01)


def out_of_wal(connection: sqlite3.Connection) -> None:
    """Leave one whole file that can be copied, and read where nothing can be written. Where somebody else has it open,
    it is theirs to do so."""
    connection.execute("PRAGMA busy_timeout = 0")
    with contextlib.suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode = DELETE")


@contextmanager
def reading_file(path: Path, identity: Mapping[str, str] | None = None) -> Iterator[sqlite3.Connection]:
    """A connection to a file of answers that changes nothing. identity: what the answers must be about.

    Raises SalientError if there is none, or it is damaged, of a later version, none of ours, or about something else.
    """
    if not path.is_file():
        raise SalientError(f"{path}: no such file", expected="a file of answers, as `salient-imagenet label` writes it")
    with told(path, read_only=True):
        connection = _connected(path)
        try:
            _check_ours(connection, path)
            if identity is not None:
                _check_identity(connection, path, identity)
            yield connection
        finally:
            connection.close()


def _connected(path: Path) -> sqlite3.Connection:
    address, log = path.resolve().as_uri(), path.with_name(path.name + "-wal")
    try:
        return _tried(f"{address}?mode=ro")
    except sqlite3.OperationalError as error:
        if not _is_place(error) or (log.exists() and log.stat().st_size):
            raise
        # In a folder that cannot be written, and nothing waits in a log: nobody is changing it.
        return _tried(f"{address}?mode=ro&immutable=1")


def _tried(address: str) -> sqlite3.Connection:
    connection = sqlite3.connect(address, uri=True, timeout=PATIENCE)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _is_place(error: sqlite3.Error) -> bool:
    """Whether the folder does not let SQLite write what it wants beside the file."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


def _check_ours(connection: sqlite3.Connection, path: Path) -> None:
    (kind,) = connection.execute("PRAGMA application_id").fetchone()
    if kind != APPLICATION_ID:
        raise SalientError(f"{path}: not a file of answers", expected="one of `salient-imagenet label`, or a new name")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise SalientError(
            f"{path}: of a later version of this package",
            expected=f"version {len(MIGRATIONS)} or earlier",
            got=str(version),
            then="update the package",
        )


def _check_identity(connection: sqlite3.Connection, path: Path, identity: Mapping[str, str]) -> None:
    known = dict(connection.execute("SELECT key, value FROM project"))
    for key, value in identity.items():
        if known.get(key) != value:
            raise SalientError(
                f"{path}: answers about another store",
                expected=f"{key} {value[:16]}",
                got=known.get(key, "none")[:16],
                then="give the file of this store, or another name as --answers; export-answers with their own store "
                "writes a CSV, which is matched by names",
            )


@contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing, and nobody else between."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk ends it by itself
            connection.execute("ROLLBACK")
        raise
