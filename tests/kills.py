"""Kill a command before and after each of its writes, run it again, and compare what is there then.

A command runs in a forked child in which every call that changes the disk is counted; at a chosen one the child kills
itself with SIGKILL, before the call or after it. With `empty`, the file that was put in its place last is then cut to
nothing, as a power cut leaves one that was not synced. Writes of a library's own (Arrow opens its files itself) are seen
by their renames.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from salient_imagenet_data.errors import SalientError

Run = Callable[[Path], object]
When = Literal["before", "after"]
SINGLE = ("unlink", "remove", "mkdir", "rmdir", "truncate", "utime", "chmod")
DOUBLE = ("replace", "rename", "link", "symlink")
PLACED = ("replace", "rename", "link")
"""Calls after which a whole file stands under its name."""


@dataclass(frozen=True)
class Command:
    """What is killed.

    Each is given a folder. prepare: copies into it what the command needs, in this process, and is not killed. first:
    the command as given at first. again: as a person runs it after it was stopped. anew: what a person does where
    `again` refuses, naming what is damaged by a power cut; None where it may not. These run in forked children, torch
    on one thread.
    """

    name: str
    prepare: Run
    first: Run
    again: Run
    anew: Run | None = None


@dataclass
class Kills:
    """What a campaign found. writes: of the command, not killed. wrong: a line for each kill with another end."""

    name: str
    writes: int = 0
    kills: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)


def child(run: Callable[[], object], limit: float = 120) -> tuple[int, str]:
    """Exit status of a function in a forked process, and its error in one line.

    0 done, 2 SalientError, 1 any other exception, -9 killed by itself; a child past the limit in seconds is 124.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code, text = 1, ""
        try:
            os.close(reading)
            _quiet()
            run()
            code = 0
        except SalientError as error:
            code, text = 2, str(error)
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
            if os.environ.get("KILLS_SHOW"):
                import traceback

                text = traceback.format_exc()
        finally:
            os.write(writing, text.encode()[:60_000])
            os._exit(code)
    os.close(writing)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        time.sleep(0.002)
    else:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        status = 124 << 8
    with os.fdopen(reading, "rb") as pipe:
        return os.waitstatus_to_exitcode(status), pipe.read().decode()


def tree(folder: Path) -> dict[str, bytes | None]:
    """Bytes of every file below a folder, None for a folder."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))
    }


def campaign(
    command: Command,
    scratch: Path,
    *,
    empty: bool = False,
    most: int | None = None,
    shift: float = 0,
) -> Kills:
    """Kill a command at each of its writes and run it again; what then stands in the folder must be what an undisturbed
    run leaves. most: kills, evenly spread over those that leave different folders; all of them by default. shift: where
    in each of these equal shares, from 0 to below 1, so that commands that write much the same are killed at other
    writes."""
    found = Kills(command.name)
    with tempfile.TemporaryDirectory(dir=scratch) as place:
        fresh, folder, log = Path(place) / "fresh", Path(place) / "folder", Path(place) / "log"
        fresh.mkdir()
        command.prepare(fresh)
        calls = _undisturbed(command, fresh, folder, log)
        expected, found.writes = tree(folder), len(calls)
        points = [point for point in _points(calls, empty) if most is None or _differs(calls, *point)]
        kills = min(most or len(points), len(points))
        for number, when in [points[int((i + shift) * len(points) / kills)] for i in range(kills)]:
            _again(fresh, folder)
            log.unlink(missing_ok=True)
            code, text = child(partial(_killed, command, folder, log, number, when))
            where = f"{command.name}: {when} write {number} of {len(calls)}, {calls[number]}"
            if code == 0:  # the order of threads decides how many writes there are
                continue
            if code != -signal.SIGKILL:
                found.wrong.append(f"{where}: the command itself ended with {code} {text}")
                continue
            found.kills += 1
            if empty and not _emptied(log):
                continue
            code, text = child(lambda: command.again(folder))
            if code == 2 and empty and command.anew is not None:
                found.refused += 1
                code, text = child(lambda: command.anew(folder) if command.anew else None)
            if code != 0:
                found.wrong.append(f"{where}: run again, it ended with {code} {text}")
            elif difference := _difference(expected, tree(folder)):
                found.wrong.append(f"{where}: run again, {difference}")
    return found


def _undisturbed(command: Command, fresh: Path, folder: Path, log: Path) -> list[str]:
    _again(fresh, folder)
    code, text = child(partial(_killed, command, folder, log, None, "before"))
    assert code == 0, f"{command.name}, not killed: {code} {text}"
    return [f"{call} {name}" for call, name in _calls(log)]


def _killed(command: Command, folder: Path, log: Path, number: int | None, when: When) -> None:
    _hook(folder, log, number, when)
    command.first(folder)


def _points(calls: list[str], empty: bool) -> Iterator[tuple[int, When]]:
    for number, call in enumerate(calls):
        if not empty:
            yield number, "before"
            yield number, "after"
        elif call.split()[0] in PLACED:
            yield number, "after"


def _differs(calls: list[str], number: int, when: When) -> bool:
    """Whether a folder killed there is another than one killed elsewhere: before a call it is as after the one before,
    unless that opened a file that has its content now; and after a folder is made, as before the file in it is."""
    call = calls[number].split()[0]
    return call in PLACED or (when == "after" and call != "mkdir")


def _again(fresh: Path, folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(fresh, folder, symlinks=True)


def _calls(log: Path) -> list[tuple[str, str]]:
    return [tuple(json.loads(line)) for line in log.read_text().splitlines()] if log.exists() else []


def _emptied(log: Path) -> bool:
    """Cut the file that the last call put in its place to nothing; False if that was no file."""
    call, name = _calls(log)[-1]
    if call not in PLACED or not Path(name).is_file():
        return False
    os.truncate(name, 0)
    return True


def _difference(expected: dict[str, bytes | None], got: dict[str, bytes | None]) -> str:
    left, gone = sorted(set(got) - set(expected)), sorted(set(expected) - set(got))
    changed = [name for name in expected if name in got and expected[name] != got[name]]
    parts = (("left behind", left), ("missing", gone), ("other bytes", changed))
    return ", ".join(f"{what}: {', '.join(names[:5])}" for what, names in parts if names)


def _quiet() -> None:
    """No output of the child's among that of the tests; and one thread, since OpenMP's do not live on in a child."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    if not os.environ.get("KILLS_SHOW"):
        os.dup2(nothing, 2)


def _hook(root: Path, log: Path, number: int | None, when: When) -> None:
    """In a child: count the calls that change something below `root`, note them, and die at one of them."""
    notes = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    count, lock, top = itertools.count(), threading.RLock(), f"{root}{os.sep}"

    def around(call: str, name: str, run: Callable[[], Any]) -> Any:
        with lock:
            this = next(count)
            if this == number and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return run()
            finally:
                os.write(notes, (json.dumps([call, name]) + "\n").encode())
                if this == number:
                    os.kill(os.getpid(), signal.SIGKILL)

    def below(name: object, keywords: dict[str, Any]) -> bool:
        if isinstance(name, int):
            return False
        return keywords.get("dir_fd") is not None or os.path.abspath(os.fsdecode(os.fspath(name))).startswith(top)  # type: ignore[call-overload]

    def wrap(call: str, target: int) -> None:
        plain = getattr(os, call)

        def wrapped(*arguments: Any, **keywords: Any) -> Any:
            name = arguments[min(target, len(arguments) - 1)]
            if not below(name, keywords) or (call == "mkdir" and os.path.isdir(name)):  # which changes nothing
                return plain(*arguments, **keywords)
            return around(call, os.path.abspath(os.fsdecode(name)), lambda: plain(*arguments, **keywords))

        setattr(os, call, wrapped)

    for call in SINGLE:
        wrap(call, 0)
    for call in DOUBLE:
        wrap(call, 1)
    plain_open, plain_low = io.open, os.open

    def opened(file: Any, mode: str = "r", *arguments: Any, **keywords: Any) -> Any:
        if not set(mode) & set("wax+") or not below(file, {}):
            return plain_open(file, mode, *arguments, **keywords)
        return around(
            "open", os.path.abspath(os.fsdecode(file)), lambda: plain_open(file, mode, *arguments, **keywords)
        )

    def low(path: Any, flags: int, *arguments: Any, **keywords: Any) -> Any:
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        if not writes or not below(path, {}):
            return plain_low(path, flags, *arguments, **keywords)
        name = os.path.abspath(os.fsdecode(path))
        return around("os.open", name, lambda: plain_low(path, flags, *arguments, **keywords))

    import builtins

    io.open = builtins.open = opened  # type: ignore[assignment]
    os.open = low
