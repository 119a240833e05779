"""No waiting for the disk: what has been written is there for all processes without `os.fsync`, and only a power cut would
show the difference. `tests/test_whole_file.py` says what is synced, and when, and does wait; so do processes started anew."""

from __future__ import annotations

import os

fsync = os.fsync
"""That waits."""


def unsynced(descriptor: int) -> None:
    """Refuses what `os.fsync` refuses, a file that is closed."""
    os.fstat(descriptor)


def wait_for_no_disk() -> None:
    os.fsync = unsynced  # type: ignore[assignment]
