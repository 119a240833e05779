from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest

from salient_imagenet_data.annotation.applying import annotate
from salient_imagenet_data.annotation.files import read_annotations
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.names import MANIFEST
from salient_imagenet_data.places import Folder, is_url, on_disk, upload
from salient_imagenet_data.store.claiming import Claim, claimed
from salient_imagenet_data.store.reading import Store


@pytest.fixture(params=["disk", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    return Folder.of(tmp_path / "a" if request.param == "disk" else f"memory://{uuid4()}/a/")


def test_what_is_a_url() -> None:
    assert is_url("s3://bucket/store") and is_url("memory://x") and is_url("gs+x://b")
    assert not any(map(is_url, ("a/b", "C:\\a", "./s3", "c:/a", Path("s3://bucket"))))


def test_files_are_written_read_listed_and_removed(folder: Folder) -> None:
    assert folder.names() == set()
    folder.write("x.bin", lambda file: file.write(b"0123456789"))
    folder.child("deep").write("y/z.txt", lambda file: file.write(b"z"))
    again = pickle.loads(pickle.dumps(folder))
    assert again == folder and again.names() == {"x.bin", "deep"}
    with again.open("x.bin") as file:
        file.seek(4)
        assert file.read(3) == b"456"
    again.delete("deep")
    again.delete("deep")
    assert folder.names() == {"x.bin"}
    again.delete("x.bin")
    assert folder.names() == set()


def test_a_file_that_fails_half_way_is_not_there(folder: Folder) -> None:
    def fail(file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        folder.write("x.bin", fail)
    assert "x.bin" not in folder.names()


def test_errors_behind_a_url_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(SalientError, match="nosuch://a: cannot list; got ValueError: Protocol not known: nosuch"):
        Folder.of("nosuch://a").names()
    with pytest.raises(SalientError, match="cannot read x; got FileNotFoundError"), Folder.of("memory://no").open("x"):
        pass


@pytest.fixture
def remote(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A copy of the store behind a URL, and an empty cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "assets"))
    monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(tmp_path / "assets"))
    url = f"memory://{uuid4()}/store"
    upload(store.path, Folder.of(url), last=MANIFEST)
    return url


def test_a_store_is_opened_at_its_url_and_downloaded_once(remote: str, store: Store, tmp_path: Path) -> None:
    opened = Store(remote)
    opened.verify()
    assert opened.manifest == store.manifest and list(opened.rows) == list(store.rows)
    assert opened.path.is_relative_to(tmp_path / "assets")
    system, root = fsspec.core.url_to_fs(remote)
    system.rm(f"{root}/images.parquet")
    assert Store(remote).path == opened.path
    shutil.rmtree(opened.path)
    with pytest.raises(SalientError, match=r"store: cannot read images.parquet; got FileNotFoundError"):
        Store(remote)
    assert not (opened.path / MANIFEST).exists()


def test_a_file_that_left_the_cache_is_fetched_again(remote: str) -> None:
    opened = Store(remote)
    (opened.path / "images.parquet").unlink()
    Store(remote).verify()


def test_a_store_is_annotated_where_it_is(remote: str, store: Store, answers_file: Path) -> None:
    before = Store(remote)
    after = annotate(remote, read_annotations(answers_file), majority=5, data_version="1.1.0")
    assert (after.manifest.data_version, after.manifest.majority) == ("1.1.0", 5)
    assert after.path != before.path and Store(remote).manifest == after.manifest
    after.verify()


def overwritten(place: Folder) -> None:
    with claimed(place, Claim("build", {}, "images"), resume=False, overwrite=True) as finished:
        assert not finished


@pytest.mark.parametrize("killed", [False, True])
def test_overwriting_removes_what_a_build_makes_the_manifest_first(
    remote: str, killed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Folder.of(remote)
    place.write("notes.txt", lambda file: file.write(b"mine"))
    if killed:
        plain, left = Folder.delete, iter(range(2))
        monkeypatch.setattr(
            Folder, "delete", lambda self, name: plain(self, name) if next(left, None) is not None else 1 / 0
        )
        with pytest.raises(ZeroDivisionError):
            overwritten(place)
        assert MANIFEST not in place.names() and "maps.zarr" in place.names()
        with pytest.raises(SalientError, match="not a finished store; got a build that was stopped"):
            Store(remote)
        monkeypatch.undo()
    overwritten(place)
    assert place.names() == {"notes.txt", "claim.json"}


def test_a_damaged_download_is_refused_and_mended(remote: str, tmp_path: Path) -> None:
    system, root = fsspec.core.url_to_fs(remote)
    whole = system.cat_file(f"{root}/features.parquet")
    system.pipe_file(f"{root}/features.parquet", whole[:-1] + b"x")
    with pytest.raises(SalientError, match=r"features.parquet was damaged on the way.*expected sha256"):
        Store(remote)
    system.pipe_file(f"{root}/features.parquet", whole)
    Store(remote).verify()


def test_an_export_behind_a_url_is_read_and_not_annotated(remote: str, store: Store, answers_file: Path) -> None:
    place = Folder.of(f"memory://{uuid4()}/export")
    place.write("README.md", lambda file: file.write(b"card"))
    upload(store.path, place.child("store"), last=MANIFEST)
    assert Store(place.place).manifest == store.manifest
    with pytest.raises(SalientError, match=r"a folder with a store in it; .*give memory://.*/export/store"):
        annotate(place.place, read_annotations(answers_file))
    assert place.names() == {"README.md", "store"}


def test_a_path_begins_at_home_or_somewhere(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(store.path.parent))
    assert Store(f"~/{store.path.name}").manifest == Store(Path("~") / store.path.name).manifest == store.manifest
    assert Folder.of("~/x").path == store.path.parent / "x" and on_disk("a/~").parts == ("a", "~")
    with pytest.raises(SalientError, match="no path is given; expected a folder or file; got nothing"):
        Store("")


def test_a_url_without_a_manifest_is_no_store() -> None:
    with pytest.raises(SalientError, match="not a store; expected a folder with manifest.json; got none there"):
        Store(f"memory://{uuid4()}/store")
