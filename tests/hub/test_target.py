"""What stands where an export shall go: ours may be replaced, nothing else is touched."""

from __future__ import annotations

import os
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
