"""A folder is nobody's, a finished store's, or claimed; what is not ours is neither removed nor built upon."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.names import CLAIM, LOCK, MANIFEST, WORK
from salient_imagenet_data.places import Folder
from salient_imagenet_data.store.claiming import OURS, Claim, check_claim, claimed, unclaim
from salient_imagenet_data.store.reading import Store

CLAIMS = {
    "mine": Claim("build", {"images": "a", "weights": "b"}, "images and weights"),
    "other": Claim("build", {"images": "a", "weights": "c"}, "images and weights"),
    "import": Claim("import", {"release": "r"}, "release"),
}


def tree(folder: Path) -> dict[str, bytes | None]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))
    }


def take(folder: Path, claim: str = "mine", **how: bool) -> bool:
    with claimed(Folder.of(folder), CLAIMS[claim], **{"resume": False, "overwrite": False, **how}) as finished:
        assert (folder / LOCK).is_file()
        return finished


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A folder in which a build was stopped."""
    folder = tmp_path / "store"
    take(folder)
    (folder / WORK).mkdir()
    (folder / WORK / "unit.npz").write_bytes(b"1")
    (folder / "images.parquet").write_bytes(b"2")
    return folder


@pytest.fixture
def copy(store: Store, tmp_path: Path) -> Path:
    return Path(shutil.copytree(store.path, tmp_path / "store"))


@pytest.mark.parametrize("how", [{}, {"resume": True}, {"overwrite": True}])
def test_a_new_or_an_empty_folder_is_claimed(tmp_path: Path, how: dict[str, bool]) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty"):
        assert not take(tmp_path / name, **how)
        fields = json.loads((tmp_path / name / CLAIM).read_text())
        assert (fields["format"], fields["key"]) == ("salient-imagenet claim", CLAIMS["mine"].key)
        assert [p.name for p in (tmp_path / name).iterdir()] == [CLAIM]


OTHERS = {
    "photographs": {"mine.jpg": b"x"},
    "a folder called work": {"work/notes.txt": b"x"},
    "files half written by others": {"deep/film.partial": b"x", "a.partial": b"x"},
    "a manifest of another tool": {"manifest.json": b'{"name": "site", "files": {}}'},
    "a manifest with a format version": {
        "manifest.json": b'{"format_version": 1, "maps.zarr": 2}',
        "maps.zarr/a": b"x",
    },
    "a manifest of nothing": {"manifest.json": b"", "images.parquet": b"x"},
    "a claim of another tool": {"claim.json": b'{"kind": "build", "made_of": {}, "of": "x"}', "work/x": b"x"},
    "an empty claim": {"claim.json": b"", "work/x": b"x"},
    "tables": {"images.parquet": b"x", "features.parquet": b"x", "maps.zarr/x": b"x"},
}


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize("how", [{}, {"resume": True}, {"overwrite": True}])
def test_a_folder_of_other_files_stays_as_it_is(tmp_path: Path, what: str, how: dict[str, bool]) -> None:
    folder = tmp_path / "folder"
    for name, data in OTHERS[what].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    before = tree(folder)
    with pytest.raises(SalientError, match=str(folder)) as caught:
        take(folder, **how)
    first = sorted(OTHERS[what])[0].split("/")[0]
    assert not how or first in str(caught.value), "the refusal names what is there"
    assert tree(folder) == before


def test_a_finished_store_with_a_folder_work_of_the_users_keeps_it(copy: Path) -> None:
    (copy / WORK).mkdir()
    (copy / WORK / "notes.txt").write_text("mine")
    before = tree(copy)
    with pytest.raises(SalientError, match="store/work: not made by this package; move it"):
        take(copy, overwrite=True)
    with pytest.raises(SalientError, match="a finished store of other input"):
        take(copy, resume=True)
    unclaim(Folder.of(copy))
    assert tree(copy) == before


def test_overwriting_a_store_removes_what_it_is_made_of_and_nothing_else(copy: Path) -> None:
    (copy / "notes.txt").write_text("mine")
    (copy / "film.partial").write_text("mine")
    assert not take(copy, overwrite=True)
    assert sorted(tree(copy)) == [CLAIM, "film.partial", "notes.txt"]


def test_a_stopped_build_goes_on(begun: Path) -> None:
    (begun / WORK / "unit.npz.salient.partial").write_bytes(b"half")
    (begun / "images.parquet.salient.partial").write_bytes(b"half")
    (begun / "film.partial").write_bytes(b"mine")
    before = tree(begun)
    assert not take(begun, resume=True)
    assert set(before) - set(tree(begun)) == {f"{WORK}/unit.npz.salient.partial", "images.parquet.salient.partial"}


def test_a_stopped_build_of_other_input_is_refused_with_what_differs(begun: Path) -> None:
    before = tree(begun)
    with pytest.raises(
        SalientError, match="stopped build of other input; .*same images and weights; got other weights"
    ):
        take(begun, "other", resume=True)
    with pytest.raises(SalientError, match="stopped build of other input; .*got an import; use --overwrite"):
        take(begun, "import", resume=True)
    with pytest.raises(SalientError, match="exists; expected a new folder; use --resume to go on or --overwrite"):
        take(begun)
    assert tree(begun) == before
    assert not take(begun, "other", overwrite=True)
    assert sorted(tree(begun)) == [CLAIM]


def test_a_folder_of_others_is_refused_as_that_whatever_is_asked(tmp_path: Path) -> None:
    """Neither --resume nor --overwrite would take it, so neither is offered."""
    (tmp_path / "thesis.tex").write_text("mine")
    for how in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(SalientError, match=r"neither a store nor .*got thesis.tex; choose another place$"):
            take(tmp_path, **how)
    assert (tmp_path / "thesis.tex").read_text() == "mine"


@pytest.mark.parametrize("after", range(len(OURS) + 1))
def test_overwriting_that_was_stopped_goes_on_for_the_new_input_only(
    copy: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Whatever had been removed when it was stopped, nothing of the old store is left where a build goes on."""
    plain, left = Folder.delete, iter(range(after))

    def stops(folder: Folder, name: str) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        plain(folder, name)

    monkeypatch.setattr(Folder, "delete", stops)
    if after < len(OURS):
        with pytest.raises(KeyboardInterrupt):
            take(copy, overwrite=True)
    else:
        take(copy, overwrite=True)
    monkeypatch.undo()
    with pytest.raises(SalientError, match="stopped build of other input"):
        take(copy, "other", resume=True)
    assert not take(copy, resume=True)
    assert sorted(tree(copy)) == [CLAIM]


def test_a_store_is_finished_only_while_its_files_are_whole(copy: Path) -> None:
    """Killed between the manifest and the end, and then struck by a power cut."""
    claim = dataclasses.replace(CLAIMS["mine"])
    fields = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps({**fields, "made_of": claim.key}))
    (copy / CLAIM).write_text(claim.to_json())
    assert take(copy, resume=True)
    os.truncate(copy / "maps.zarr/maps/c/1/0/0/0", 0)
    assert not take(copy, resume=True)
    assert MANIFEST not in tree(copy)


def test_the_end_removes_the_work_then_the_claim(begun: Path) -> None:
    unclaim(Folder.of(begun))
    assert sorted(tree(begun)) == ["images.parquet"]
    unclaim(Folder.of(begun))


def test_a_claim_that_another_replaced_is_noticed(begun: Path) -> None:
    check_claim(Folder.of(begun), CLAIMS["mine"])
    with pytest.raises(SalientError, match="another build has been started there"):
        check_claim(Folder.of(begun), CLAIMS["other"])


def test_a_claim_that_a_twin_took_away_when_it_was_finished_is_fine_and_one_that_is_gone_is_told(copy: Path) -> None:
    fields = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps({**fields, "made_of": CLAIMS["mine"].key}))
    check_claim(Folder.of(copy), CLAIMS["mine"])
    with pytest.raises(SalientError, match=r"the claim of this build has gone; expected claim.json; got features"):
        check_claim(Folder.of(copy), CLAIMS["other"])
    (copy / MANIFEST).unlink()
    with pytest.raises(SalientError, match="the claim of this build has gone"):
        check_claim(Folder.of(copy), CLAIMS["mine"])


def test_a_build_that_was_stopped_before_its_first_unit_is_told_as_one(tmp_path: Path) -> None:
    take(tmp_path / "store")
    with pytest.raises(SalientError, match="not a finished store; got a build that was stopped"):
        Store(tmp_path / "store")
