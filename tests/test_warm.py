"""A fork of the warm process ends as Python does, though it does not take its modules apart."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.warm import Warm

LATE = "import atexit, threading, time; atexit.register(lambda: print('last'))\n"
LATE += "threading.Thread(target=lambda: (time.sleep(0.1), print('thread'))).start(); print('first')"


@pytest.fixture(scope="module")
def bare() -> Iterator[Warm]:
    process = Warm()
    yield process
    process.close()


@pytest.mark.parametrize(
    ("code", "status", "out", "err"),
    [
        ("print('said')", 0, "said\n", ""),
        (LATE, 0, "first\nthread\nlast\n", ""),
        ("import sys; sys.exit(3)", 3, "", ""),
        ("import sys; sys.exit(-1)", 255, "", ""),
        ("import sys; sys.exit()", 0, "", ""),
        ("import sys; sys.exit('words')", 1, "", "words\n"),
        ("1 / 0", 1, "", "ZeroDivisionError: division by zero\n"),
        ("raise KeyboardInterrupt", -2, "", "KeyboardInterrupt\n"),
        ("import os; os._exit(5)", 5, "", ""),
    ],
)
def test_a_fork_ends_as_python_does(bare: Warm, code: str, status: int, out: str, err: str) -> None:
    done = bare.run("-c", code)
    assert (
        (done.returncode, done.stdout) == (status, out) and done.stderr.endswith(err) and bool(done.stderr) == bool(err)
    )


def test_it_ends_though_a_fork_of_this_process_holds_its_input_open() -> None:
    process = Warm()
    holder = os.fork()
    if not holder:
        time.sleep(60)
        os._exit(0)
    try:
        start = time.monotonic()
        process.close()
        assert time.monotonic() - start < 30
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
