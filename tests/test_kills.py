"""The campaign of kills finds what it is there to find."""

from __future__ import annotations

import os
from pathlib import Path

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.whole_file import write_text
from tests.kills import Command, campaign, child


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


def test_whole_files_stand_every_kill(tmp_path: Path) -> None:
    found = campaign(Command("two", nothing, two_files, two_files), tmp_path)
    assert found.kills == 2 * found.writes >= 8 and found.wrong == []


def test_half_files_are_found(tmp_path: Path) -> None:
    found = campaign(Command("half", nothing, half_files, half_files), tmp_path)
    assert len(found.wrong) == 2 and all("other bytes: " in line for line in found.wrong)


def test_what_stays_behind_is_found(tmp_path: Path) -> None:
    found = campaign(Command("work", nothing, leaves_work, leaves_work), tmp_path)
    assert found.wrong and all(line.endswith("left behind: work") for line in found.wrong)


def test_files_emptied_after_the_kill_are_found(tmp_path: Path) -> None:
    found = campaign(Command("two", nothing, two_files, two_files), tmp_path, empty=True)
    assert found.kills == 2 and [line.split("run again, ")[1] for line in found.wrong] == [
        "other bytes: a",
        "other bytes: b",
    ]


def test_a_refusal_counts_where_there_is_another_way(tmp_path: Path) -> None:
    def careful(folder: Path) -> None:
        for name in ("a", "b"):
            if (folder / name).exists() and not (folder / name).read_text():
                raise SalientError(f"{name}: empty")
        two_files(folder)

    def anew(folder: Path) -> None:
        for name in ("a", "b"):
            (folder / name).unlink(missing_ok=True)
        two_files(folder)

    found = campaign(Command("two", nothing, two_files, careful, anew), tmp_path, empty=True)
    assert found.kills == found.refused == 2 and found.wrong == []


def test_a_child_tells_how_it_ended() -> None:
    def refuses() -> None:
        raise SalientError("one", got="two")

    assert child(lambda: None) == (0, "")
    assert child(refuses) == (2, "one; got two")
    assert child(lambda: os.kill(os.getpid(), 9))[0] == -9
    assert child(lambda: {}["x"]) == (1, "KeyError: 'x'")
