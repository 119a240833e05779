"""Processes: one at a time in a folder, and workers that end with the one they work for."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.names import LOCK

try:
    import fcntl
except ModuleNotFoundError:  # no such locks on this system
    fcntl = None  # type: ignore[assignment]

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""What network file systems without a lock service answer."""


@contextmanager
def held(folder: Path, *, called: Path | None = None) -> Iterator[None]:
    """Hold an existing folder: the lock goes with the process, however that ends.

    The lock is a file in the folder, which nothing but this removes, and it goes with the last act. A process that
    opened it before it went holds a file without a name: it notices, and asks again. On a file system that keeps no
    locks, one line on stderr says that nobody is kept out. called: the folder's name in messages, where a person gave
    another. Raises SalientError with the host and process id of the
    process that holds it, or if the folder may not be written to.
    """
    lock = folder / LOCK
    try:
        file = _locked(lock)
    except BlockingIOError as error:
        raise SalientError(
            f"{called or folder}: another process is writing here",
            got=_owner(lock) or "a lock held by another process",
            then="wait for it, or choose another place",
        ) from error
    except OSError as error:
        raise SalientError(
            f"{called or folder}: cannot write there", got=error.strerror or str(error), then="choose another place"
        ) from error
    try:
        os.ftruncate(file, 0)
        os.pwrite(file, f"host {socket.gethostname()}, pid {os.getpid()}\n".encode(), 0)
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(file)


def _locked(lock: Path) -> int:
    """File descriptor of the lock's file. Raises BlockingIOError while another process has it."""
    while True:
        file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if _lock(file, lock.parent) and not _same(file, lock):
                os.close(file)  # whoever held it has removed it
                continue
        except BaseException:
            os.close(file)
            raise
        return file


def _lock(file: int, folder: Path) -> bool:
    """False where there are no locks, which is told."""
    try:
        if fcntl is None:
            raise OSError(errno.ENOSYS, "no locks on this system")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        print(
            f"{folder}: this file system keeps no locks ({error.strerror}), so let only one process write there",
            file=sys.stderr,
        )
        return False
    return True


def _same(file: int, lock: Path) -> bool:
    try:
        there = os.stat(lock)
    except FileNotFoundError:
        return False
    mine = os.fstat(file)
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)


def _owner(lock: Path) -> str:
    try:
        return lock.read_text().strip()
    except OSError:
        return ""


def end_with_parent() -> None:
    """Make this process a worker of the one that started it, which alone acts on an interrupt from the terminal.

    A worker ends with it, too: one that waits for tasks would not notice that the other was killed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
