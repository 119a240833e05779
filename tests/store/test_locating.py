"""Caches that one may only read: a whole, downloaded store opens from them, checked each time."""

from __future__ import annotations

import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest

from salient_imagenet_data import load_dataset
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.store.reading import Store
from tests.hub.stores import make_store

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of org/name in the Hub's cache, and a folder for notes that cannot be made: below a file."""
    repo = tmp_path / "hub" / "datasets--org--name"
    store = make_store(tmp_path / "s", ["bar/a", "ring/b"], [0, 2])
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(COMMIT)
    shutil.copytree(store.path, repo / "snapshots" / COMMIT / "store")
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_ASSETS_CACHE", str(tmp_path / "file" / "assets"))
    monkeypatch.chdir(tmp_path)
    return repo / "snapshots" / COMMIT / "store"


def test_a_store_opens_where_no_note_can_be_kept_and_is_checked_each_time(
    cached: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert len(Store("org/name")) == 2
        assert "org/name: store: every byte is checked on each opening" in capfd.readouterr().err
    shard = cached / "maps.zarr/maps/c/0/0/0/0"
    data = bytearray(shard.read_bytes())
    data[0] ^= 1
    shard.write_bytes(data)
    with pytest.raises(SalientError, match=r"org/name: store/maps.* was damaged on the way, and is removed from"):
        Store("org/name")


def test_a_note_spares_the_second_check(
    cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
    Store("org/name")
    (note,) = (tmp_path / "assets" / "salient-imagenet-data" / "default" / "verified").iterdir()
    assert note.read_bytes() == b"" and capfd.readouterr().err == ""
    monkeypatch.setattr("salient_imagenet_data.store.locating.file_sha256", lambda _: "not asked again")
    assert len(Store("org/name")) == 2


def test_a_url_opens_from_a_cache_that_is_whole(
    cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    url = f"file://{cached}"
    with pytest.raises(
        SalientError, match="cannot keep file://.* there; got Not a directory; make room or give rights"
    ):
        Store(url)
    monkeypatch.setattr(huggingface_hub.constants, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
    opened = Store(url)
    (tmp_path / "assets" / "salient-imagenet-data" / "default" / "verified").rename(tmp_path / "gone")
    (tmp_path / "assets" / "salient-imagenet-data" / "default" / "verified").write_text("a file in the way")
    for lock in opened.path.parent.glob("*.lock"):
        lock.unlink()
    assert len(Store(url)) == 2 and not list(opened.path.parent.glob("*.lock"))
    assert "every byte is checked on each opening" in capfd.readouterr().err


def test_a_cache_of_datasets_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", ["bar/a", "ring/b"], [0, 2])
    (tmp_path / "file").write_text("")
    with pytest.raises(
        SalientError, match="the cache of `datasets` cannot be used; got Not a directory; give cache_dir"
    ):
        load_dataset(store.path, cache_dir=str(tmp_path / "file" / "cache"))
