from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.names import LOCK
from salient_imagenet_data.store.locks import held
from tests.kills import child


def other(folder: Path) -> int:
    """Pid of another process that holds the folder."""
    pid = os.fork()
    if pid == 0:
        with held(folder):
            time.sleep(60)
        os._exit(0)
    end = time.monotonic() + 20
    while time.monotonic() < end and not ((folder / LOCK).exists() and (folder / LOCK).read_text()):
        time.sleep(0.005)
    return pid


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_held_folder_is_refused_with_who_holds_it_and_is_free_when_that_is_killed(tmp_path: Path) -> None:
    pid = other(tmp_path)
    try:
        who = re.escape(f"got host {socket.gethostname()}, pid {pid};")
        with (
            pytest.raises(SalientError, match=f"{tmp_path}: another process is writing here; {who} wait"),
            held(tmp_path),
        ):
            pass
    finally:
        stop(pid)
    with held(tmp_path):
        assert child(lambda: held(tmp_path).__enter__())[0] == 2
    assert not list(tmp_path.iterdir())


def test_who_opened_the_lock_before_it_was_removed_does_not_hold_the_folder(tmp_path: Path) -> None:
    """Else a third process, with a new file, would be in the folder at the same time."""
    plain, waiting = fcntl.flock, [True]

    def late(file: int, how: int) -> None:
        if waiting.pop() if waiting else False:
            (tmp_path / LOCK).unlink()  # as the one that held it does at its end
        plain(file, how)

    fcntl.flock = late  # type: ignore[assignment]
    try:
        with held(tmp_path):
            assert (tmp_path / LOCK).read_text().strip().endswith(f"pid {os.getpid()}")
            fcntl.flock = plain
            assert child(lambda: held(tmp_path).__enter__())[0] == 2
    finally:
        fcntl.flock = plain


def test_a_file_system_without_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    with held(tmp_path):
        pass
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path}: this file system keeps no locks (No locks available)")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_may_not_be_written_to_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("os.open", refused)
    with pytest.raises(SalientError, match=f"{tmp_path}: cannot write there; got Permission denied"), held(tmp_path):
        pass
