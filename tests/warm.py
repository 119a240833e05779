"""Processes of Python that start warm. A command that tests run as its user would, in a process of its own, spends most
of its time on imports: here one process imports what is large, and each command runs in a fork of it.

What reads the environment when it is imported must not be among the modules of a `Warm` that is given other environments.
Forks share the seed of Python's hashes: what must not depend on that needs `sys.executable`.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import runpy
import select
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
Done = subprocess.CompletedProcess[str]


class Warm:
    """A process that has imported modules; those that are not installed are left out."""

    def __init__(self, *modules: str) -> None:
        command = [sys.executable, "-m", "tests.warm", *modules]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        self._server = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    def run(
        self, *arguments: object, cwd: Path = ROOT, env: Mapping[str, str] | None = None, timeout: float = 300
    ) -> Done:
        """As `subprocess.run([sys.executable, *arguments], ...)` with text captured. arguments: `-m MODULE ...` or
        `-c CODE ...`."""
        words = [str(argument) for argument in arguments]
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder) / "out", Path(folder) / "err"
            request = {"words": words, "cwd": str(cwd), "env": dict(os.environ if env is None else env)}
            self._write({**request, "out": str(out), "err": str(err)})
            pid = int(self._line(60))
            try:
                status = int(self._line(timeout))
            except subprocess.TimeoutExpired:
                os.kill(pid, 9)
                self._line(60)
                raise
            return Done(words, os.waitstatus_to_exitcode(status), out.read_text(), err.read_text())

    def close(self) -> None:
        self._server.communicate()

    def _write(self, request: dict[str, Any]) -> None:
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(request).encode() + b"\n")

    def _line(self, timeout: float) -> bytes:
        out = self._server.stdout
        assert out is not None
        if not select.select([out], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self._server.args, timeout)
        line: bytes = out.readline()
        assert line, "the warm process ended"
        return line


def _serve(modules: list[str]) -> None:
    for name in modules:
        if importlib.util.find_spec(name.partition(".")[0]) is not None:
            importlib.import_module(name)
    assert threading.active_count() == 1, "a fork would not have these threads: " + str(threading.enumerate())
    for line in sys.stdin.buffer:
        pid = os.fork()
        if pid == 0:
            _run(**json.loads(line))
            return
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


def _run(words: list[str], cwd: str, env: dict[str, str], out: str, err: str) -> None:
    """In the fork: what python does with its arguments. The rest, an exception among it, is for the interpreter."""
    for name, number in ((os.devnull, 0), (out, 1), (err, 2)):
        file = os.open(name, os.O_RDWR | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.path[0] = cwd
    option, what, *rest = words
    sys.argv = [option, *rest]
    if option == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        assert option == "-c", option
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    _serve(sys.argv[1:])
