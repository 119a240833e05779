from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr

from salient_imagenet_data.annotation.applying import annotate
from salient_imagenet_data.annotation.files import read_annotations
from salient_imagenet_data.annotation.verdicts import Annotations
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import to_crop_frame
from salient_imagenet_data.masks import dequantise
from salient_imagenet_data.store.arrays import shard_file
from salient_imagenet_data.store.manifest import Manifest
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.store.writing import StoreWriter
from tests.conftest import answers_for
from tests.threads import threads_begun


@pytest.fixture
def copy(store: Store, tmp_path: Path) -> Path:
    return Path(shutil.copytree(store.path, tmp_path / "store"))


def test_shapes_types_and_layout(store: Store) -> None:
    m = store.manifest
    assert (len(store), m.features_per_class, m.grid) == (40, 4, (7, 7))
    assert store.maps.shape == (40, 4, 7, 7) and store.maps.dtype == np.uint8
    assert store.peaks.dtype == store.activations.dtype == np.float32
    group = zarr.open_array(store.path / "maps.zarr" / "maps", mode="r")
    assert group.metadata.zarr_format == 3 and group.shards == (16, 4, 7, 7)
    assert {p.name for p in store.path.iterdir()} == {
        "manifest.json",
        "images.parquet",
        "features.parquet",
        "quarantine.parquet",
        "maps.zarr",
    }
    assert store.rows[0].image_id.startswith("bar/scene-5-090-") and sum(r.in_top[0] for r in store.rows) == 20


def test_trap_a_table_in_memory_is_read_without_threads(store: Store) -> None:
    """A thread of Arrow's that still holds Python's bytes when the interpreter ends aborts the process."""
    assert threads_begun("Store(sys.argv[1]).features", store.path) == 0


def test_masks_are_the_union_of_the_classes_features(store: Store) -> None:
    row = next(i for i, r in enumerate(store.rows) if r.label == 2)
    grids = to_crop_frame(dequantise(store.maps[row]), 56, 56)
    core, spurious = store.mask(row, "core"), store.mask(row, "spurious")
    assert core is not None and np.array_equal(core, np.maximum(grids[0], grids[2]))
    assert spurious is not None and np.array_equal(spurious, np.maximum(grids[1], grids[3]))


def test_no_feature_is_no_mask_not_an_empty_one(store: Store) -> None:
    first = {label: next(i for i, r in enumerate(store.rows) if r.label == label) for label in (0, 1)}
    assert store.mask(first[0], "spurious") is None and store.mask(first[0], "core") is not None
    assert store.mask(first[1], "core") is None and store.image_mask(first[1], "core") is None
    assert store.has("spurious").tolist() == [False] + [True] * 9
    assert store.has("core").tolist() == [True, False] + [True] * 8


def test_image_frame_knows_nothing_outside_the_crop(store: Store) -> None:
    found = store.image_mask(30, "core")
    assert found is not None
    mask, valid = found
    assert mask.shape == (64, 64) and not valid.all() and valid[32, 32] and mask[~valid].max() == 0


def test_unannotated_store_says_what_to_do(bare_store: Store) -> None:
    with pytest.raises(SalientError, match="not annotated.*salient-imagenet apply"):
        bare_store.mask(0, "core")


def test_annotating_changes_two_files_and_is_repeatable(bare_store: Store, answers_file: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bare_store.path, tmp_path / "s"))
    annotate(folder, read_annotations(answers_file))
    first = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    changed = {p.name for p in first if (bare_store.path / p.relative_to(folder)).read_bytes() != first[p]}
    assert changed == {"manifest.json", "features.parquet"}
    shutil.copy(bare_store.path / "manifest.json", folder / "manifest.json")
    with pytest.raises(SalientError, match=r"features.parquet: damaged"):
        Store(folder)
    (folder / "manifest.json").write_bytes(first[folder / "manifest.json"])
    annotate(folder, read_annotations(answers_file)).verify()
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == first


def test_reasons_are_kept_and_go_with_the_answers_that_gave_them(bare_store: Store, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bare_store.path, tmp_path / "s"))
    assert {f.reasons for f in bare_store.features} == {()}
    answers = [
        replace(a, reason=f"{a.annotator} saw it" if a.class_index == 2 else "") for a in answers_for(bare_store)
    ]
    store = annotate(folder, Annotations(tuple(answers), "ab" * 32))
    said = tuple(f"p{i} saw it" for i in range(5))
    assert {(f.class_index == 2, f.reasons) for f in Store(folder).features} == {(True, said), (False, ())}
    assert store.features_table["reasons"].to_pylist()[8] == list(said)
    assert {(f.class_index == 2, f.name) for f in store.features} == {(True, "saw"), (False, None)}
    assert store.features_table["name"].to_pylist() == [f.name for f in store.features]
    assert pq.read_table(folder / "features.parquet").column_names[-1] == "reasons"  # made, not stored
    fewer = tuple(a for a in answers if a.class_index != 2)
    assert {f.reasons for f in annotate(folder, Annotations(fewer, "cd" * 32)).features} == {()}


def test_annotations_for_another_model(bare_store: Store, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bare_store.path, tmp_path / "s"))
    answers = answers_for(bare_store)
    used = {f.feature_index for f in bare_store.features if f.class_index == 0}
    other = next(f for f in range(12) if f not in used)
    wrong = [
        type(a)(**{**vars(a), "feature_index": other}) if a.feature_rank == 1 and a.class_index == 0 else a
        for a in answers
    ]
    with pytest.raises(SalientError, match=rf"feature {other} for class 0 \(bar\).*another model"):
        annotate(folder, Annotations(tuple(wrong), ""))
    renamed = [type(a)(**{**vars(a), "class_name": "cat"}) for a in answers]
    with pytest.raises(SalientError, match="call class 0 'cat'; expected 'bar'"):
        annotate(folder, Annotations(tuple(renamed), ""))


@pytest.mark.parametrize(
    "name", ["images.parquet", "quarantine.parquet", shard_file("maps", 2), shard_file("peaks", 0)]
)
def test_a_store_that_was_cut_short_does_not_open(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(SalientError, match=f"incomplete store; expected {name} beside the manifest"):
        Store(copy)


def test_trap_a_shard_missing_from_disk_and_manifest_is_noticed(copy: Path) -> None:
    fields = json.loads((copy / "manifest.json").read_text())
    del fields["files"][shard_file("maps", 1)], fields["sizes"][shard_file("maps", 1)]
    (copy / shard_file("maps", 1)).unlink()
    (copy / "manifest.json").write_text(json.dumps(fields))
    with pytest.raises(SalientError, match="incomplete store"):
        Store(copy)


def test_verify_finds_one_changed_byte(copy: Path) -> None:
    Store(copy).verify()
    path = copy / shard_file("activations", 1)
    data = bytearray(path.read_bytes())
    data[10] ^= 1
    path.write_bytes(data)
    with pytest.raises(SalientError, match=r"activations/c/1/0: damaged"):
        Store(copy).verify()


def test_no_manifest_another_format_or_nonsense(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(SalientError, match="not a store"):
        Store(tmp_path / "nowhere")
    text = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(text.replace('"format_version": 1', '"format_version": 99'))
    with pytest.raises(SalientError, match="format version 1; got 99"):
        Store(copy)
    (copy / "manifest.json").write_text(text[:50])
    with pytest.raises(SalientError, match="not a store manifest"):
        Store(copy)
    assert Manifest.from_json(text, "x").to_json() == text


def test_trap_all_zero_shards_are_written(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path, images=3, features=2, grid=(2, 2), shard_rows=2)
    assert writer.missing() == [0, 1]
    zeros = np.zeros((2, 2), dtype=np.float32)
    writer.write_shard(0, np.zeros((2, 2, 2, 2), dtype=np.uint8), zeros, zeros)
    assert writer.missing() == [1] and (tmp_path / shard_file("maps", 0)).is_file()
    with pytest.raises(ValueError, match="2 rows, expected 1"):
        writer.write_shard(1, np.zeros((2, 2, 2, 2), dtype=np.uint8), zeros, zeros)
