"""Processes of Python that start warm. A command that tests run as its user would, in a process of its own, spends most
of its time on imports: here one process imports what is large, and each command runs in a fork of it.

What reads the environment when it is imported must not be among the modules of a `Warm` that is given other environments.
Forks share the seed of Python's hashes: what must not depend on that needs `sys.executable`.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import importlib.util
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
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
        self,
        *arguments: object,
        cwd: Path = ROOT,
        env: Mapping[str, str] | None = None,
        timeout: float = 300,
        without: str = "",
    ) -> Done:
        """As `subprocess.run([sys.executable, *arguments], ...)` with text captured. arguments: `-m MODULE ...` or
        `-c CODE ...`. without: a package that is to be imported anew, from another place."""
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder) / "out", Path(folder) / "err"
            process = self.start(*arguments, cwd=cwd, env=env, out=out, err=err, without=without)
            status = process.wait(timeout)
            return Done([*map(str, arguments)], status, out.read_text(), err.read_text())

    def start(
        self,
        *arguments: object,
        cwd: Path = ROOT,
        env: Mapping[str, str] | None = None,
        out: Path | None = None,
        err: Path | None = None,
        without: str = "",
    ) -> Started:
        """As `subprocess.Popen`. out, err: files; without them the output goes nowhere."""
        words = [str(argument) for argument in arguments]
        files = {"out": str(out or os.devnull), "err": str(err or os.devnull)}
        given = {"words": words, "cwd": str(cwd), "env": dict(os.environ if env is None else env), "without": without}
        return Started(self, self.ask({**given, **files}, 60))

    def ranks(self, world: int, *arguments: object, env: Mapping[str, str]) -> list[Done]:
        """The processes that torchrun starts on one machine, with the settings that it gives them."""
        with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
            free.bind(("127.0.0.1", 0))
            given = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
            free.close()
            given |= {"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world)}
            files = [(Path(folder) / f"out{rank}", Path(folder) / f"err{rank}") for rank in range(world)]
            started = [
                self.start(
                    *arguments, env={**env, **given, "RANK": str(rank), "LOCAL_RANK": str(rank)}, out=out, err=err
                )
                for rank, (out, err) in enumerate(files)
            ]
            words = [*map(str, arguments)]
            ends = [process.wait() for process in started]
            return [
                Done(words, end, out.read_text(), err.read_text()) for end, (out, err) in zip(ends, files, strict=True)
            ]

    def ask(self, request: dict[str, Any], timeout: float) -> Any:
        """What the process says to a request. Raises subprocess.TimeoutExpired."""
        to, back = self._server.stdin, self._server.stdout
        assert to is not None and back is not None
        if request:
            to.write(json.dumps(request).encode() + b"\n")
        if not select.select([back], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self._server.args, timeout)
        line = back.readline()
        assert line, "the warm process ended"
        return json.loads(line)

    def close(self) -> None:
        # Told, not by the end of its input: forks of this process, as workers of a DataLoader are, hold the pipe open.
        self._server.communicate(b"null\n")


@dataclass
class Started:
    """A process that was started, with the words of `subprocess.Popen`."""

    warm: Warm
    pid: int
    returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self.warm.ask({"wait": self.pid, "options": os.WNOHANG}, 60)
        return self.returncode

    def wait(self, timeout: float = 300) -> int:
        try:
            if self.returncode is None:
                self.returncode = self.warm.ask({"wait": self.pid, "options": 0}, timeout)
        except subprocess.TimeoutExpired:
            os.kill(self.pid, signal.SIGKILL)
            self.returncode = self.warm.ask({}, 60)
            raise
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


_status: list[int] = []
"""With what a fork ends, once that is known."""


def _leave() -> None:
    """The last thing that a fork does before the interpreter takes its modules apart: that would touch, so copy, all of
    the memory it shares with the others, and takes ten times as long as a fork. Threads are joined by now."""
    if _status:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_status[0])


def _serve(modules: list[str]) -> None:
    atexit.register(_leave)  # the first that is registered is called last
    gc.disable()  # to search a growing heap for garbage takes a third of the time of imports
    for name in modules:
        if importlib.util.find_spec(name.partition(".")[0]) is not None:
            importlib.import_module(name)
    assert threading.active_count() == 1, f"a fork would not have these threads: {threading.enumerate()}"
    gc.freeze()  # what was imported stays: no fork searches it
    gc.enable()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if request is None:
            return
        if "wait" in request:
            pid, status = os.waitpid(request["wait"], request["options"])
            answer = os.waitstatus_to_exitcode(status) if pid else None
        elif (answer := os.fork()) == 0:
            _run(**request)
            return
        print(json.dumps(answer), flush=True)


def _run(words: list[str], cwd: str, env: dict[str, str], out: str, err: str, without: str) -> None:
    """In the fork: what python does with its arguments. The rest, an exception among it, is for the interpreter."""
    for name, number in ((os.devnull, 0), (out, 1), (err, 2)):
        file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND)  # two may be one file
        os.dup2(file, number)
        os.close(file)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    if "torch" in sys.modules and "OMP_NUM_THREADS" in env:  # which was read when torch was loaded
        sys.modules["torch"].set_num_threads(int(env["OMP_NUM_THREADS"]))
    sys.path[0] = cwd
    for name in [name for name in sys.modules if without and f"{name}.".startswith(f"{without}.")]:
        del sys.modules[name]
    option, what, *rest = words
    sys.argv = [option, *rest]
    try:
        if option == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            assert option == "-c", option
            exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
        _status.append(0)
    except SystemExit as end:
        _status.append(end.code & 0xFF if isinstance(end.code, int) else int(end.code is not None))
        raise
    except Exception:
        _status.append(1)
        raise


if __name__ == "__main__":
    _serve(sys.argv[1:])
