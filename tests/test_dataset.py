from __future__ import annotations

import ast
import json
import re
import shutil
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms import v2

import salient_imagenet_data
from salient_imagenet_data import FolderSource, MemorySource, load_dataset
from salient_imagenet_data.annotation.applying import annotate
from salient_imagenet_data.annotation.verdicts import Annotations
from salient_imagenet_data.builder.build import build
from salient_imagenet_data.dataset import rows_code
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.loaders import NumpyLoader, SalientImageNet
from salient_imagenet_data.masks import to_uint8
from salient_imagenet_data.names import MANIFEST
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.store.reading import Store
from tests.conftest import CONFIG, answers_for

MASKS = ("core_mask", "spurious_mask")


def test_columns_rows_and_alignment(store: Store, images: Path, tmp_path: Path) -> None:
    table = load_dataset(store.path, images=images, cache_dir=str(tmp_path))
    assert isinstance(table, datasets.Dataset) and len(table) == 40
    assert table.column_names == [
        "image_id",
        "image",
        "label",
        "core_mask",
        "spurious_mask",
        "has_core",
        "has_spurious",
    ]
    assert table.features["label"].names == list(store.class_names)
    source = FolderSource(images)
    for row in (0, 9, 39):
        example = table[row]
        assert example["image_id"] == store.rows[row].image_id
        assert np.array_equal(np.asarray(example["image"]), store.manifest.preprocessing.apply(source.pixels(row)))
        for column in MASKS:
            mask = store.mask(row, "core" if column == "core_mask" else "spurious")
            if mask is None:
                assert example[column] is None
            else:
                assert example[column].mode == "L" and np.array_equal(np.asarray(example[column]), to_uint8(mask))


def test_classes_without_a_feature_hold_null(store: Store, tmp_path: Path) -> None:
    table = load_dataset(store.path, cache_dir=str(tmp_path))
    assert "image" not in table.column_names
    assert all((row["spurious_mask"] is None) == (row["label"] == 0) for row in table)
    assert all((row["core_mask"] is None) == (row["label"] == 1) for row in table)


def test_shuffled_batches_of_tensors_need_zeros_for_classes_without_a_mask(
    store: Store, images: Path, tmp_path: Path
) -> None:
    table = load_dataset(store.path, images=images, empty="zeros", cache_dir=str(tmp_path))
    few = table.shuffle(seed=0).with_format("torch")
    for row in table:
        for kind in ("core", "spurious"):
            has = bool(store.has(kind)[row["label"]])
            assert row[f"has_{kind}"] is has and row[f"{kind}_mask"].size == row["image"].size
            assert has or not np.asarray(row[f"{kind}_mask"]).any()
    import torch

    batches = list(torch.utils.data.DataLoader(few, batch_size=8))
    assert [tuple(b["core_mask"].shape) for b in batches] == [(8, 1, *table[0]["core_mask"].size)] * 5
    assert all(b["has_core"].dtype == torch.bool for b in batches)
    assert any(not b["has_core"].all() for b in batches)
    with pytest.raises(TypeError):  # without it, as the page says
        none = load_dataset(store.path, cache_dir=str(tmp_path)).with_format("torch")
        list(torch.utils.data.DataLoader(none, batch_size=8))
    whole = load_dataset(store.path, images=images, empty="zeros", frame="image", cache_dir=str(tmp_path))
    row = next(row for row in whole if not row["has_core"])
    assert row["core_mask"].size == row["image"].size and not np.asarray(row["core_mask"]).any()
    with pytest.raises(SalientError, match="empty; expected none or zeros; got 'nil'"):
        load_dataset(store.path, empty="nil")  # type: ignore[arg-type]


def test_images_are_referred_to_not_copied(store: Store, images: Path, tmp_path: Path) -> None:
    table = load_dataset(store.path, images=images, cache_dir=str(tmp_path))
    raw = table.cast_column("image", datasets.Image(decode=False))[0]["image"]
    assert raw["bytes"] is None and raw["path"].startswith(str(images))


def test_streams_are_shared_by_workers(store: Store, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(store.path / MANIFEST / "no"))  # none is needed
    ids = [r.image_id for r in store.rows]
    for given in (images, FolderSource(images), None):
        stream = load_dataset(store.path, images=given, streaming=True, empty="zeros")
        assert isinstance(stream, datasets.IterableDataset) and (stream.split, stream.num_shards) == ("train", 40)
        assert [r["image_id"] for r in stream] == ids
        loader = DataLoader(stream.with_format("torch"), batch_size=5, num_workers=2)
        # Each worker has every second shard, here of one row.
        assert [image_id for batch in loader for image_id in batch["image_id"]][:5] == ids[:10:2]
    row = next(iter(load_dataset(store.path, images=images, streaming=True)))
    assert row["image"].size == (56, 56)


def test_splits_and_slices(store: Store, images: Path, tmp_path: Path) -> None:
    source = FolderSource(images)
    pixels = [source.pixels(i) for i in range(40)]
    ids = [r.image_id for r in store.rows]
    labels = [source.entry(i).label for i in range(40)]
    memory = MemorySource(pixels, labels, source.class_names, [source.entry(i).image_id for i in range(40)])
    table = datasets.load_dataset("imagefolder", data_dir=str(images), split="train", cache_dir=str(tmp_path / "other"))
    ten = datasets.ReadInstruction("train", to=10, unit="abs")
    for given in (None, memory, table):
        for split, expected in (
            ("train[:10%]", ids[:4]),
            ("train[:2]+train[-2:]", ids[:2] + ids[-2:]),
            (datasets.Split.TRAIN, ids),
            (ten, ids[:10]),
        ):
            part = load_dataset(Store(store.path), images=given, split=split, cache_dir=str(tmp_path))
            assert part["image_id"][:] == expected, (type(given), split)
    for bad in ("test", "train[", "", "train+val", datasets.Split.TEST):
        with pytest.raises(
            SalientError, match=f"no split '{re.escape(str(bad))}'; expected 'train' or slices of it; got "
        ):
            load_dataset(store.path, split=bad)
    with pytest.raises(SalientError, match=r"no split 'train\[:2\]'; expected 'train' \(streaming takes no slices\)"):
        load_dataset(store.path, split="train[:2]", streaming=True)


def test_image_frame(store: Store, images: Path, tmp_path: Path) -> None:
    row = load_dataset(store.path, images=images, frame="image", cache_dir=str(tmp_path))[0]
    assert row["image"].size == row["core_mask"].size == (64, 64)
    assert np.asarray(row["core_mask"])[0].max() == 0  # outside the crop


def test_filter_and_shape_of_the_stores_resize_reach_every_reader(images: Path, weights: Path, tmp_path: Path) -> None:
    """A store of a network that squashes, bicubically, on images twice as wide as high."""
    wide, read = tmp_path / "images", FolderSource(images)
    for row in range(len(read)):
        path = wide / f"{read.entry(row).image_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(read.pixels(row)).resize((128, 64)).save(path)
    model, sha256 = load_model(weights)
    model.preprocessing = Preprocessing(60, 56, "bicubic", squash=True)
    build(FolderSource(wide), model, tmp_path / "store", weights_sha256=sha256, config=CONFIG)
    store = annotate(tmp_path / "store", Annotations(tuple(answers_for(Store(tmp_path / "store"))), "0" * 64))
    said = json.loads((tmp_path / "store" / "manifest.json").read_text())["preprocessing"]
    assert said == {"resize": 60, "crop": 56, "interpolation": "bicubic", "squash": True}
    assert store.manifest.preprocessing == model.preprocessing
    assert {(r.box.left, r.box.top, r.box.width, r.box.height) for r in store.rows} == {
        (2 * 128 / 60, 2 * 64 / 60, 56 * 128 / 60, 56 * 64 / 60)
    }
    theirs = v2.Compose([v2.Resize([60, 60], v2.InterpolationMode.BICUBIC), v2.CenterCrop(56)])
    table = load_dataset(store.path, images=wide, cache_dir=str(tmp_path / "cache"))
    loaded = next(iter(NumpyLoader(store, wide, batch_size=40)))
    torched = SalientImageNet(store, wide)
    for row in (0, 21, 39):
        wanted = np.asarray(theirs(Image.open(wide / f"{store.rows[row].image_id}.png").convert("RGB")))
        assert np.array_equal(np.asarray(table[row]["image"]), wanted)
        assert np.array_equal(loaded["image"][row], wanted)
        assert np.array_equal(np.asarray(torched[row]["image"]).transpose(1, 2, 0), wanted)
    whole = load_dataset(store.path, images=wide, frame="image", cache_dir=str(tmp_path / "cache"))[21]
    mask = np.asarray(whole["core_mask"])
    assert mask.shape == (64, 128) and np.flatnonzero(mask.any(axis=0))[[0, -1]].tolist() == [4, 123]


def test_any_source_and_formats(store: Store, images: Path, tmp_path: Path) -> None:
    folder = FolderSource(images)
    memory = MemorySource(
        [folder.pixels(i) for i in range(40)],
        [folder.entry(i).label for i in range(40)],
        folder.class_names,
        [folder.entry(i).image_id for i in range(40)],
    )
    table = load_dataset(store.path, images=memory)
    assert len(table) == 40 and table[0]["image"].size == (56, 56)
    assert len(load_dataset(store.path, images=memory, split="train[:4]")) == 4
    assert len(list(load_dataset(store.path, images=memory, streaming=True))) == 40
    array = load_dataset(store.path, images=images, cache_dir=str(tmp_path)).with_format("numpy")[39]
    assert array["image"].dtype == array["core_mask"].dtype == np.uint8


def test_missing_and_changed_images(store: Store, images: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(images, tmp_path / "images"))
    gone = sorted((copy / "ring").iterdir())[:2]
    for path in gone:
        path.unlink()
    cache = str(tmp_path / "cache")
    with pytest.raises(
        SalientError, match=rf"2 of 40 images .* are missing; .*ring/{gone[0].stem}, ring/{gone[1].stem}"
    ):
        load_dataset(store.path, images=copy, cache_dir=cache)
    assert len(load_dataset(store.path, images=copy, missing="skip", cache_dir=cache)) == 38
    with pytest.raises(SalientError, match="40 of 40 images"):
        load_dataset(store.path, images=MemorySource([np.zeros((8, 8, 3), np.uint8)], [0], ["x"]), missing="skip")


def test_a_changed_store_never_gives_cached_rows(store: Store, tmp_path: Path) -> None:
    copy, cache = Path(shutil.copytree(store.path, tmp_path / "store")), str(tmp_path / "cache")
    before = load_dataset(copy, cache_dir=cache)
    from salient_imagenet_data.annotation.applying import annotate
    from salient_imagenet_data.annotation.files import read_annotations, write_annotations
    from tests.conftest import answers_for

    flipped = [type(a)(**{**vars(a), "answer": "background"}) for a in answers_for(store)]
    write_annotations(tmp_path / "a.csv", flipped)
    annotate(copy, read_annotations(tmp_path / "a.csv"))
    after = load_dataset(copy, cache_dir=cache)
    assert before[0]["core_mask"] is not None and after[0]["core_mask"] is None


def test_unannotated_store_is_refused(bare_store: Store) -> None:
    with pytest.raises(SalientError, match="not annotated"):
        load_dataset(bare_store.path)


def test_changed_and_added_files_never_give_old_rows(store: Store, images: Path, tmp_path: Path) -> None:
    copy, cache = Path(shutil.copytree(images, tmp_path / "images")), str(tmp_path / "cache")
    gone = copy / f"{store.rows[1].image_id}.png"
    kept = gone.rename(tmp_path / "kept.png")
    count = [len(load_dataset(store.path, images=copy, missing="skip", cache_dir=cache))]
    kept.rename(gone)
    count.append(len(load_dataset(store.path, images=copy, missing="skip", cache_dir=cache)))
    assert count == [39, 40]

    def red(table: datasets.Dataset) -> list[int]:
        return [int(value) for value in table.map(lambda row: {"red": np.asarray(row["image"])[0, 0, 0]})["red"]]

    before = red(load_dataset(store.path, images=copy, cache_dir=cache))
    changed = np.array(Image.open(gone))
    changed[..., 0] ^= 8  # so little that it is the same picture
    Image.fromarray(changed).save(gone)
    after = red(load_dataset(store.path, images=copy, cache_dir=cache))
    assert 4 <= abs(before[1] - after[1]) <= 8 and before[2:] == after[2:]


def test_rows_of_a_damaged_store_never_reach_the_cache(store: Store, tmp_path: Path) -> None:
    copy, cache = Path(shutil.copytree(store.path, tmp_path / "store")), str(tmp_path / "cache")
    first, second = (copy / f"maps.zarr/maps/c/{shard}/0/0/0" for shard in (0, 1))
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)
    with pytest.raises(SalientError, match=r"maps/c/0/0/0/0: damaged"):
        load_dataset(copy, cache_dir=cache)
    first.write_bytes(one)
    second.write_bytes(two)
    mask = store.mask(0, "core")
    assert mask is not None
    assert np.array_equal(load_dataset(copy, cache_dir=cache)[0]["core_mask"], to_uint8(mask))


def test_the_code_of_rows_is_all_that_it_imports() -> None:
    """Following imports from the builder, in functions too; a room that is missed would leave old rows in caches."""
    package = Path(salient_imagenet_data.__file__).parent
    hashed, left, met = set(rows_code()), [package / "dataset.py"], set[Path]()
    while left:
        path = left.pop()
        if path in met:
            continue
        met.add(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("salient_imagenet_data."):
                base = package.joinpath(*(node.module or "").split(".")[1:])
                below = [base / f"{alias.name}.py" for alias in node.names]
                left += [found for found in (base.with_suffix(".py"), *below) if found.is_file()]
    assert len(met) > 20
    assert sorted(str(path) for path in met - hashed) == []
    assert package / "imagenet_classes.txt" in hashed
