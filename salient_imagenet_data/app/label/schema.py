"""The file of answers: SQLite with a write-ahead log, opened, checked and brought to the newest layout."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from salient_imagenet_data.errors import SalientError

APPLICATION_ID = 0x53414C49
"""Of SQLite's header: by it a file of ours is known."""

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE project (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
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
    ) STRICT;
    CREATE TRIGGER answers_stay BEFORE UPDATE ON answers BEGIN SELECT RAISE(ABORT, 'answers are only added'); END;
    CREATE TRIGGER answers_remain BEFORE DELETE ON answers BEGIN SELECT RAISE(ABORT, 'answers are only added'); END;
    CREATE TABLE leases (
        annotator TEXT PRIMARY KEY,
        class_index INTEGER NOT NULL,
        feature_index INTEGER NOT NULL,
        round TEXT NOT NULL,
        since REAL NOT NULL
    ) STRICT;
    """,
)
"""Step i brings a file from user_version i to i + 1. Steps that were released never change."""


@contextmanager
def told(path: Path) -> Iterator[None]:
    """What SQLite raises as an error that names the file."""
    try:
        yield
    except sqlite3.Error as error:
        raise SalientError(f"{path}: the answers' file cannot be used", got=str(error), then=_remedy(error)) from error


def _remedy(error: sqlite3.Error) -> str:
    words = str(error)
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
        connection = sqlite3.connect(path, timeout=10.0, isolation_level=None, check_same_thread=False)
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
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (kind,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and kind != APPLICATION_ID:
        raise SalientError(f"{path}: not a file of answers", expected="one of `salient-imagenet label`, or a new name")
    if version > len(MIGRATIONS):
        raise SalientError(
            f"{path}: of a later version of this package",
            expected=f"version {len(MIGRATIONS)} or earlier",
            got=str(version),
            then="update the package",
        )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # an answer that was said to be saved outlives a power cut
    for number, step in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE; {step} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number}; COMMIT;"
        )
    with writing(connection):
        known = dict(connection.execute("SELECT key, value FROM project"))
        for key, value in {"secret": secrets.token_hex(32), **identity}.items():
            connection.execute("INSERT OR IGNORE INTO project VALUES (?, ?)", (key, value))
    for key, value in identity.items():
        if known.get(key, value) != value:
            raise SalientError(
                f"{path}: answers about another store",
                expected=f"{key} {value[:16]}",
                got=known[key][:16],
                then="give another file as --answers",
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
