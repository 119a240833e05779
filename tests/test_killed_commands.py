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
    "build": 12,
    "build-pilot": 12,
    "build-pilot-top65": 6,
    "build-known-pairs-top65": 6,
    "overwrite": 16,
    "overwrite-again": 6,
    "import-official": 5,
    "export": 6,
    "export-masks": 3,
    "sis": 6,
}
"""Kills of each campaign."""
EMPTIED = {
    "build": 12,
    "build-pilot": 8,
    "build-known-pairs-top65": 4,
    "overwrite": 8,
    "import-official": 3,
    "export": 4,
    "apply": 3,
    "evaluate": 6,
    "sis": 4,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    assert child(partial(commands, folder)) == (0, "")
    return folder


@pytest.mark.parametrize("name", MOST)
def test_killed_before_and_after_a_write(data: Path, tmp_path: Path, name: str) -> None:
    found = campaign(commands(data)[name], tmp_path, most=MOST[name])
    assert found.wrong == []
    assert found.kills >= MOST[name] - 2 and found.writes > 25, "else the hook sees no writes"


@pytest.mark.parametrize("name", EMPTIED)
def test_the_file_written_last_emptied_by_a_power_cut(data: Path, tmp_path: Path, name: str) -> None:
    found = campaign(commands(data)[name], tmp_path, empty=True, most=EMPTIED[name])
    assert found.wrong == []
    assert found.kills >= EMPTIED[name] - 2 and found.refused <= 2, (
        "of these only what nothing can be made of again is refused"
    )
