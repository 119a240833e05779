"""Commands that are killed at some of their writes and run again leave the bytes of one that was not, and nothing else.

`benchmarks/kill_campaign.py` kills at all of them.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.kill_commands import commands
from tests.kills import campaign, child

MOST = {
    "build": (6, 0.0),
    "build-pilot": (6, 0.5),
    "build-pilot-top65": (3, 0.5),
    "build-known-pairs-top65": (3, 0.15),
    "overwrite": (8, 0.0),
    "overwrite-again": (4, 0.6),
    "import-official": (3, 0.5),
    "export": (4, 0.0),
    "export-masks": (2, 0.5),
    "sis": (4, 0.5),
}
"""Kills of each campaign, and where in its share of the writes each falls: builds write much the same, and each is killed
where the others are not."""
EMPTIED = {
    "build": (12, 0.0),
    "build-pilot": (4, 0.5),
    "build-known-pairs-top65": (3, 0.9),
    "overwrite": (8, 0.0),
    "import-official": (3, 0.0),
    "export": (3, 0.0),
    "apply": (3, 0.0),
    "evaluate": (5, 0.0),
    "sis": (3, 0.0),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    assert child(partial(commands, folder)) == (0, "")
    return folder


@pytest.mark.parametrize("name", MOST)
def test_killed_before_and_after_a_write(data: Path, tmp_path: Path, name: str) -> None:
    most, shift = MOST[name]
    found = campaign(commands(data)[name], tmp_path, most=most, shift=shift)
    assert found.wrong == []
    assert found.kills >= most - 1 and found.writes > 25, "else the hook sees no writes"


@pytest.mark.parametrize("name", EMPTIED)
def test_the_file_written_last_emptied_by_a_power_cut(data: Path, tmp_path: Path, name: str) -> None:
    most, shift = EMPTIED[name]
    found = campaign(commands(data)[name], tmp_path, empty=True, most=most, shift=shift)
    assert found.wrong == []
    assert found.kills >= most - 1 and found.refused <= 2, "of these only what nothing can be made of again is refused"
