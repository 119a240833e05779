"""The campaign of kills finds what it is there to find. It runs in a process of its own: its many forks are of a small one."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.whole_file import write_text
from tests.kills import Command, Kills, campaign, child
from tests.warm import Warm


def nothing(folder: Path) -> None:
    """A command that needs nothing."""


def two_files(folder: Path) -> None:
    for name in ("a", "b"):
        if not (folder / name).exists():
            write_text(folder / name, f"all of {name}")
    for leftover in folder.glob("*.partial"):
        leftover.unlink()


def half_files(folder: Path) -> None:
    """Written under their own names, so that a half one is taken for done."""
    for name in ("a", "b"):
        if not (folder / name).exists():
            (folder / name).write_text(f"all of {name}")


def leaves_work(folder: Path) -> None:
    if not (folder / "a").exists():
        (folder / "work").write_text("")
        write_text(folder / "a", "all")
        (folder / "work").unlink()


def careful(folder: Path) -> None:
    for name in ("a", "b"):
        if (folder / name).exists() and not (folder / name).read_text():
            raise SalientError(f"{name}: empty")
    two_files(folder)


def anew(folder: Path) -> None:
    for name in ("a", "b"):
        (folder / name).unlink(missing_ok=True)
    two_files(folder)


COMMANDS = {
    "two": Command("two", nothing, two_files, two_files),
    "half": Command("half", nothing, half_files, half_files),
    "work": Command("work", nothing, leaves_work, leaves_work),
    "careful": Command("careful", nothing, two_files, careful, anew),
}


def tell(scratch: str, name: str, empty: bool) -> None:
    print(json.dumps(dataclasses.asdict(campaign(COMMANDS[name], Path(scratch), empty=empty))))


Found = Callable[..., Kills]


@pytest.fixture(scope="module")
def small() -> Iterator[Warm]:
    process = Warm("tests.test_kills")
    yield process
    process.close()


@pytest.fixture
def found(small: Warm, tmp_path: Path) -> Found:
    def run(name: str, empty: bool = False) -> Kills:
        code = f"from tests.test_kills import tell; tell({str(tmp_path)!r}, {name!r}, {empty})"
        done = small.run("-c", code)
        assert (done.returncode, done.stderr) == (0, "")
        return Kills(**json.loads(done.stdout))

    return run


def test_whole_files_stand_every_kill(found: Found) -> None:
    two = found("two")
    assert two.kills == 2 * two.writes >= 8 and two.wrong == []


def test_half_files_are_found(found: Found) -> None:
    half = found("half")
    assert len(half.wrong) == 2 and all("other bytes: " in line for line in half.wrong)


def test_what_stays_behind_is_found(found: Found) -> None:
    work = found("work")
    assert work.wrong and all(line.endswith("left behind: work") for line in work.wrong)


def test_files_emptied_after_the_kill_are_found(found: Found) -> None:
    two = found("two", empty=True)
    assert two.kills == 2 and [line.split("run again, ")[1] for line in two.wrong] == [
        "other bytes: a",
        "other bytes: b",
    ]


def test_a_refusal_counts_where_there_is_another_way(found: Found) -> None:
    two = found("careful", empty=True)
    assert two.kills == two.refused == 2 and two.wrong == []


def test_a_child_tells_how_it_ended() -> None:
    def refuses() -> None:
        raise SalientError("one", got="two")

    assert child(lambda: None) == (0, "")
    assert child(refuses) == (2, "one; got two")
    assert child(lambda: os.kill(os.getpid(), 9))[0] == -9
    assert child(lambda: {}["x"]) == (1, "KeyError: 'x'")
