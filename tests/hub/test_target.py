"""What stands where an export shall go: ours may be replaced, nothing else is touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.hub.export import export
from salient_imagenet_data.hub.target import KEY, MARKER, read_marker
from salient_imagenet_data.store.reading import Store
from tests.hub.conftest import SMALL


@pytest.mark.parametrize("overwrite", [False, True])
def test_anothers_partial_folder_is_refused_by_name(drawn: Store, tmp_path: Path, overwrite: bool) -> None:
    mine = tmp_path / "out.partial" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("precious")
    (mine.parent / KEY).write_text("of another tool")
    with pytest.raises(SalientError, match=r"out\.partial: not made by this package"):
        export(drawn, tmp_path / "out", config=SMALL, overwrite=overwrite)
    assert mine.read_text() == "precious" and not (tmp_path / "out").exists()


def test_a_users_file_in_an_older_export_is_refused_by_name(drawn: Store, tmp_path: Path) -> None:
    out = export(drawn, tmp_path / "out", config=SMALL)
    (out / "notes.txt").write_text("precious")
    with pytest.raises(SalientError, match=r"out/notes\.txt: not of the export"):
        export(drawn, out, overwrite=True)
    assert (out / "notes.txt").read_text() == "precious" and (out / MARKER).is_file()


def test_an_export_through_a_link_lands_where_it_points(drawn: Store, tmp_path: Path) -> None:
    (tmp_path / "disk" / "hub").mkdir(parents=True)
    os.symlink(tmp_path / "disk" / "hub", tmp_path / "hub")
    export(drawn, tmp_path / "hub", config=SMALL)
    assert (tmp_path / "hub").is_symlink() and (tmp_path / "disk" / "hub" / MARKER).is_file()
    assert sorted(p.name for p in tmp_path.rglob("*.partial")) == []


def test_places_for_no_export_are_refused_before_the_work(
    drawn: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(SalientError, match="the working folder"):
        export(drawn, Path("."), config=SMALL)
    for place in (drawn.path, drawn.path / "hub", drawn.path.parent):
        with pytest.raises(SalientError, match="in one another"):
            export(drawn, place, config=SMALL)
    assert list(tmp_path.rglob("*")) == [tmp_path / "here"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_named(drawn: Store, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(SalientError, match="closed: cannot write there"):
        export(drawn, tmp_path / "closed" / "out", config=SMALL)


def test_what_was_stopped_at_its_last_acts_is_ended_by_the_next(
    drawn: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = export(drawn, tmp_path / "out", config=SMALL)
    before = read_marker(out)
    (out / KEY).write_text("left behind")
    export(drawn, out, config=SMALL)
    assert not (out / KEY).exists() and read_marker(out) == before


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads processes from /proc")
def test_the_workers_of_a_killed_export_end_with_it(drawn: Store, tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from salient_imagenet_data.store.reading import Store\n"
        "from salient_imagenet_data.hub import export as e\n"
        "from tests.hub.conftest import SMALL\n"
        "if __name__ == '__main__':\n"
        "    e.export(Store(Path(sys.argv[1])), Path(sys.argv[2]), config=SMALL, workers=2,\n"
        "             done=lambda done, total: done >= 8 and time.sleep(60))"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, str(script), str(drawn.path), str(tmp_path / "out")], env={**os.environ, "PYTHONPATH": paths}
    )
    workers: list[int] = []
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.rglob("masks/*.parquet")) and time.monotonic() < deadline:
            time.sleep(0.05)
        workers = [int(p) for p in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    finally:
        process.kill()
        process.wait()
    assert len(workers) >= 2
    deadline = time.monotonic() + 20
    while (left := [p for p in workers if _runs(p)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
