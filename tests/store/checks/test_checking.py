"""Damage is told, never read: of every file, however it is damaged, whoever reads."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from salient_imagenet_data.dataset import load_dataset
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.loaders.numpy_loader import NumpyLoader
from salient_imagenet_data.store.arrays import shard_file
from salient_imagenet_data.store.checks import checking
from salient_imagenet_data.store.manifest import Manifest
from salient_imagenet_data.store.reading import Store


@pytest.fixture
def copy(store: Store, tmp_path: Path) -> Path:
    return Path(shutil.copytree(store.path, tmp_path / "store"))


def everything(folder: Path) -> str:
    """All that a store says, as text."""
    s = Store(folder)
    rows = s.rows
    said = [rows.image_ids.to_pylist(), rows.labels.tolist(), rows.predictions.tolist(), rows.widths.tolist()]
    arrays = [np.asarray(s.maps), s.peaks, s.activations]
    fields = dataclasses.asdict(s.manifest)
    return repr([said, list(rows), s.features, [a.tobytes() for a in arrays], fields])


def batches(folder: Path) -> str:
    """What the numpy loader gives."""
    return repr([[np.asarray(v).tobytes() for v in batch.values()] for batch in NumpyLoader(Store(folder))])


def table(folder: Path, cache: Path) -> str:
    """What `load_dataset` gives."""
    rows = load_dataset(folder, cache_dir=str(cache))
    return repr(
        [[row["image_id"], *(row[k] and row[k].tobytes() for k in ("core_mask", "spurious_mask"))] for row in rows]
    )


def told(read: Callable[[], str], want: str) -> bool:
    """Whether reading says in one line that something is wrong. Nothing but SalientError comes, and never other data."""
    try:
        got = read()
    except SalientError as error:
        assert "\n" not in str(error)
        return True
    assert got == want, "other data without a word"
    return False


def test_five_hundred_flipped_bits(copy: Path, tmp_path: Path) -> None:
    files = sorted(p for p in copy.rglob("*") if p.is_file())
    sizes = np.array([p.stat().st_size for p in files])
    rng, found = np.random.default_rng(0), 0
    want = {read: read(copy) for read in (everything, batches)}
    for number, position in enumerate(rng.choice(sizes.sum(), 500, replace=False).tolist()):
        which = int(np.searchsorted(np.cumsum(sizes), position, side="right"))
        good = files[which].read_bytes()
        bad = bytearray(good)
        bad[position - (int(np.cumsum(sizes)[which]) - len(good))] ^= 1 << int(rng.integers(8))
        files[which].write_bytes(bad)
        read = everything if number % 5 else batches
        found += told(lambda read=read: read(copy), want[read])  # type: ignore[misc]
        files[which].write_bytes(good)
    assert found > 400  # the rest are of files that a loader does not read, and blanks of the manifest
    want_table, cache = table(copy, tmp_path / "good"), tmp_path / "cache"
    for path in files:
        good = path.read_bytes()
        path.write_bytes(good[: len(good) // 2] + bytes([good[len(good) // 2] ^ 16]) + good[len(good) // 2 + 1 :])
        told(lambda: table(copy, cache), want_table)
        path.write_bytes(good)
        assert table(copy, cache) == want_table  # and nothing of it stays


def _truncate(path: Path, _: Path) -> None:
    os.truncate(path, path.stat().st_size - 2)  # the last of a manifest is a line end


def _empty(path: Path, _: Path) -> None:
    os.truncate(path, 0)


def _swap(path: Path, other: Path) -> None:
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)


def _delete(path: Path, _: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [_truncate, _empty, _swap, _delete])
def test_every_file_cut_emptied_swapped_and_deleted(
    store: Store, copy: Path, damage: Callable[[Path, Path], None]
) -> None:
    files = sorted(p for p in copy.rglob("*") if p.is_file())
    want = everything(copy)
    for path, other in zip(files, files[1:] + files[:1], strict=True):
        same = path.read_bytes() == other.read_bytes()
        damage(path, other)
        assert told(lambda: everything(copy), want) or (damage is _swap and same)
        shutil.copytree(store.path, copy, dirs_exist_ok=True)


def test_shards_of_one_size_that_changed_places_are_noticed_when_they_are_read(copy: Path) -> None:
    a, b = copy / shard_file("maps", 0), copy / shard_file("maps", 1)
    data = bytearray(a.read_bytes())
    data[5] ^= 1  # another shard of the same size
    a.write_bytes(data)
    opened = Store(copy)
    assert opened.maps[20].any() and b.is_file()
    with pytest.raises(SalientError, match=r"maps/c/0/0/0/0: damaged; expected sha256"):
        opened.maps[3]


@pytest.mark.parametrize("damage", [_truncate, _empty, _delete])
@pytest.mark.parametrize("pickled", [False, True])
def test_a_shard_that_goes_while_the_store_is_open(
    copy: Path, damage: Callable[[Path, Path], None], pickled: bool
) -> None:
    opened = Store(copy)
    opened.maps[0]
    damage(copy / shard_file("maps", 1), copy)
    maps = pickle.loads(pickle.dumps(opened.maps)) if pickled else opened.maps
    with pytest.raises(SalientError, match=r"maps/c/1/0/0/0"):
        maps[20]
    assert maps[0].any()


def test_a_large_table_is_hashed_on_first_use(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "SMALL", 10)
    path = copy / "images.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    opened = Store(copy)
    with pytest.raises(SalientError, match=r"images.parquet: damaged; expected sha256"):
        opened.rows.labels  # noqa: B018


CANNOT_BE: list[tuple[dict[str, Any], str]] = [
    ({"images": -5}, "field images; expected a whole number from 0 to 2147483647; got -5"),
    ({"images": 10**12}, "field images"),
    ({"images": 10**9}, "incomplete store"),
    ({"images": "x"}, "field images"),
    ({"images": True}, "field images"),
    ({"images": 39}, r"zarr.json: not of this manifest; expected shape \[39, 4, 7, 7\].*got shape \[40"),
    ({"shard_rows": 0}, "field shard_rows"),
    ({"shard_rows": 2.5}, "field shard_rows"),
    ({"shard_rows": 10**9}, "not of this manifest"),
    ({"grid": [8, 8]}, "not of this manifest"),
    ({"grid": [7]}, "field grid"),
    ({"features_per_class": 3}, "not of this manifest"),
    ({"class_names": ["a"] * 10}, "field class_names; expected a list of names, each once"),
    ({"class_names": "abcdefghij"}, "field class_names"),
    ({"class_names": ["\ud800"]}, "field class_names.*ud800"),
    ({"architecture": "\udcff"}, "field architecture; expected text"),
    ({"split": "a/b"}, "field split"),
    ({"split": "train\n---"}, "field split"),
    ({"data_version": "x"}, "field data_version"),
    ({"files": None}, "field files"),
    ({"sizes": None}, "field sizes"),
    ({"files": {"/etc/passwd": "0" * 64}}, "names a file outside the store; got '/etc/passwd'"),
    ({"files": {"a/../../b": "0" * 64}}, "names a file outside the store"),
    ({"preprocessing": {"resize": 10**9, "crop": 10**9}}, "field preprocessing, resize"),
    ({"preprocessing": {"resize": "x", "crop": 5}}, "field preprocessing, resize"),
    ({"preprocessing": None}, "field preprocessing"),
    ({"edition": "half"}, "field edition"),
    ({"surprise": 1}, "fields missing or unknown"),
]


@pytest.mark.parametrize(("change", "message"), CANNOT_BE, ids=[json.dumps(c)[:40] for c, _ in CANNOT_BE])
def test_a_manifest_that_cannot_be_names_its_field(copy: Path, change: dict[str, Any], message: str) -> None:
    fields = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**fields, **change}))
    with pytest.raises(SalientError, match=message):
        Store(copy)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format_version": 1, "a": ' + "[" * 5000, "[]", "1", "\xff", ""])
def test_a_manifest_that_is_no_manifest_is_one_line(copy: Path, text: str) -> None:
    (copy / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(SalientError, match="manifest.json: (not a store manifest|damaged)"):
        Store(copy)


def test_origin_is_not_deep(store: Store) -> None:
    deep: Any = {}
    for _ in range(300):
        deep = {"a": deep}
    with pytest.raises(SalientError, match="field origin; expected an object, at most 8 levels deep"):
        dataclasses.replace(store.manifest, origin=deep)


@pytest.mark.parametrize(
    "change",
    [{"accuracy": 1.5}, {"attacked_accuracy": float("nan")}, {"images": 0}, {"images": 2.5}, {"steps": True}, {"a": 1}],
)
def test_robustness_is_nothing_or_five_numbers(store: Store, change: dict[str, Any]) -> None:
    whole = {"images": 64, "accuracy": 0.5, "attacked_accuracy": 0, "l2_radius": 0.25, "steps": 10}
    for good in (whole, {}):
        assert dataclasses.replace(store.manifest, robustness=good).robustness == good
    expected = "nothing, or numbers images, accuracy, attacked_accuracy, l2_radius, steps"
    with pytest.raises(SalientError, match=f"field robustness; expected {expected}"):
        dataclasses.replace(store.manifest, robustness={**whole, **change})
    del whole["steps"]
    with pytest.raises(SalientError, match="field robustness"):
        dataclasses.replace(store.manifest, robustness=whole)


@pytest.mark.parametrize("change", [{"same": 5}, {"pairs": 0}, {"low": -0.1}, {"images": 2.5}, {"a": 1}])
def test_generalisation_is_nothing_or_seven_numbers(store: Store, change: dict[str, Any]) -> None:
    whole = {"pairs": 4, "same": 3, "low": 0.3, "high": 0.95, "images": 5, "first_rank": 6, "last_rank": 65}
    for good in (whole, {}):
        assert dataclasses.replace(store.manifest, generalisation=good).generalisation == good
    expected = "nothing, or numbers pairs, same, low, high, images, first_rank, last_rank"
    with pytest.raises(SalientError, match=f"field generalisation; expected {expected}"):
        dataclasses.replace(store.manifest, generalisation={**whole, **change})


def test_every_field_has_a_rule() -> None:
    from salient_imagenet_data.store.checks.fields import RULES

    assert set(RULES) == {field.name for field in dataclasses.fields(Manifest)}


def test_a_manifest_that_another_program_rewrote_is_read_and_told(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / "manifest.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, "top_images": 7}))
    assert Store(copy).manifest.top_images == 7
    assert "rewritten by another program, so not checked against its own sha256" in capsys.readouterr().err
    path.write_text(json.dumps({**fields, "top_images": 7}, indent=2, sort_keys=True))
    with pytest.raises(SalientError, match="manifest.json: damaged; expected sha256"):
        Store(copy)
