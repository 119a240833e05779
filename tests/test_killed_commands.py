"""Commands that are killed at some of their writes and run again leave the bytes of one that was not, and nothing else.

`benchmarks/kill_campaign.py` kills at all of them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.kills import Kills
from tests.warm import Warm

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


CAMPAIGN = """
import dataclasses, json, sys
from pathlib import Path
from tests.kill_commands import commands
from tests.kills import campaign
data, scratch, name, empty, most, shift = sys.argv[1:]
command = commands(Path(data))[name]
found = campaign(command, Path(scratch), empty=empty == "emptied", most=int(most), shift=float(shift))
print(json.dumps(dataclasses.asdict(found)))
"""
"""Runs in a fork of a process that holds little else: a fork of one that has run other tests takes much longer."""
MADE = "import sys; from pathlib import Path; from tests.kill_commands import commands; commands(Path(sys.argv[1]))"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    done = warm.run("-c", MADE, folder)
    assert done.returncode == 0, done.stderr
    return folder


def killed(warm: Warm, *words: object) -> Kills:
    done = warm.run("-c", CAMPAIGN, *words)
    assert done.returncode == 0, done.stderr
    return Kills(**json.loads(done.stdout))


@pytest.mark.parametrize("name", MOST)
def test_killed_before_and_after_a_write(data: Path, tmp_path: Path, name: str, warm: Warm) -> None:
    most, shift = MOST[name]
    found = killed(warm, data, tmp_path, name, "", most, shift)
    assert found.wrong == []
    assert found.kills >= most - 1 and found.writes > 25, "else the hook sees no writes"


@pytest.mark.parametrize("name", EMPTIED)
def test_the_file_written_last_emptied_by_a_power_cut(data: Path, tmp_path: Path, name: str, warm: Warm) -> None:
    most, shift = EMPTIED[name]
    found = killed(warm, data, tmp_path, name, "emptied", most, shift)
    assert found.wrong == []
    assert found.kills >= most - 1 and found.refused <= 2, "of these only what nothing can be made of again is refused"
