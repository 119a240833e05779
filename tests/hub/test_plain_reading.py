"""What a stranger does, with `datasets` alone, on an exported folder."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pytest
from datasets.distributed import split_dataset_by_node

import salient_imagenet_data
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.masks import to_uint8
from salient_imagenet_data.store.reading import Store
from tests.hub.conftest import IDS, LABELS
from tests.hub.stores import CLASSES, make_store


def test_masks_are_the_default(exported: Path, drawn: Store, cache: str) -> None:
    table = datasets.load_dataset(str(exported), cache_dir=cache)["train"]
    assert table.column_names == ["image_id", "label", "core_mask", "spurious_mask"]
    assert table["image_id"][:] == IDS and table["label"][:] == LABELS
    assert table.features["label"].names == list(CLASSES)
    for row in (0, 1, 2, 43):
        for kind in ("core", "spurious"):
            mask, read = drawn.mask(row, kind), table[row][f"{kind}_mask"]
            if mask is None:
                assert read is None
            else:
                assert read.mode == "L" and np.array_equal(np.asarray(read), to_uint8(mask))


def test_grids_are_the_store(exported: Path, drawn: Store, cache: str) -> None:
    table = datasets.load_dataset(str(exported), "grids", split="train", cache_dir=cache)
    assert table["image_id"][:] == IDS
    batch = table.with_format("numpy")[:]
    assert np.array_equal(batch["maps"].reshape(44, 5, 7, 7), drawn.maps)
    assert np.array_equal(batch["peaks"], drawn.peaks) and batch["peaks"].dtype == np.float32
    assert np.array_equal(batch["activations"], drawn.activations)
    assert batch["feature_indices"][6].tolist() == [21, 22, 23, 24, 25]


def test_features_and_configs(exported: Path, drawn: Store, cache: str) -> None:
    assert datasets.get_dataset_config_names(str(exported)) == ["features", "grids", "masks"]
    table = datasets.load_dataset(str(exported), "features", split="train", cache_dir=cache)
    assert len(table) == 20 and table[5]["kind"] == "spurious" and table[5]["label"] == 1
    assert [r["feature_index"] for r in table] == [f.feature_index for f in drawn.features]
    assert table[0]["reasons"] == ["on the bar", "all of it"] and table[5]["reasons"] == []
    assert [tuple(r["reasons"]) for r in table] == [f.reasons for f in drawn.features]
    assert table[0]["name"] == "bar" and table[5]["name"] is None
    assert table["name"][:] == [f.name for f in drawn.features]


@pytest.mark.parametrize("config", ["masks", "grids", "features"])
def test_the_card_says_what_is_there(exported: Path, config: str, cache: str) -> None:
    builder = datasets.load_dataset_builder(str(exported), config, cache_dir=cache)
    said = builder.info
    assert str(said.version) == "1.0.0" and said.splits["train"].num_examples == (20 if config == "features" else 44)
    assert said.download_size == sum(p.stat().st_size for p in (exported / config).iterdir())
    builder.download_and_prepare()
    assert builder.as_dataset(split="train").features == said.features


@pytest.mark.parametrize("config", ["masks", "grids"])
def test_streaming_slices_and_processes(exported: Path, config: str, cache: str) -> None:
    stream = datasets.load_dataset(str(exported), config, split="train", streaming=True)
    assert [r["image_id"] for r in stream] == IDS
    part = datasets.load_dataset(str(exported), config, split="train[:10%]", cache_dir=cache)
    assert part["image_id"][:] == IDS[:4]
    table = datasets.load_dataset(str(exported), config, split="train", num_proc=2, cache_dir=cache + "2")
    assert table["image_id"][:] == IDS


@pytest.mark.parametrize("config", ["masks", "grids"])
def test_every_node_gets_its_own_rows(exported: Path, config: str) -> None:
    for world in (2, 5):
        seen: list[str] = []
        for rank in range(world):
            stream = datasets.load_dataset(str(exported), config, split="train", streaming=True)
            seen += [r["image_id"] for r in split_dataset_by_node(stream, rank=rank, world_size=world)]
        assert sorted(seen) == sorted(IDS)


@pytest.mark.parametrize("config", ["masks", "grids"])
def test_every_worker_gets_its_own_rows(exported: Path, config: str) -> None:
    torch = pytest.importorskip("torch", reason="the base install has no torch")
    for rank, world in ((0, 1), (0, 2), (1, 2)):
        stream = datasets.load_dataset(str(exported), config, split="train", streaming=True).select_columns(
            ["image_id"]
        )
        stream = split_dataset_by_node(stream, rank=rank, world_size=world)
        loader = torch.utils.data.DataLoader(stream, batch_size=None, num_workers=2)
        seen = [row["image_id"] for row in loader]
        assert len(seen) == len(set(seen))
        alone = split_dataset_by_node(
            datasets.load_dataset(str(exported), config, split="train", streaming=True), rank=rank, world_size=world
        )
        assert sorted(seen) == sorted(row["image_id"] for row in alone)


def test_uint8_stays_uint8(exported: Path, drawn: Store, cache: str) -> None:
    table = datasets.load_dataset(str(exported), split="train", cache_dir=cache)
    assert table.with_format("numpy")[2]["core_mask"].dtype == np.uint8
    # `datasets` makes int64 of lists of integers unless told; on disk and in Arrow they are uint8.
    grids = datasets.load_dataset(str(exported), "grids", split="train", cache_dir=cache)
    assert grids.features["maps"].feature.feature.dtype == "uint8"
    maps = grids.with_format("numpy", columns=["maps"], dtype=np.uint8)[:]["maps"]
    assert maps.dtype == np.uint8 and np.array_equal(maps.reshape(44, 5, 7, 7), drawn.maps)


def test_uint8_stays_uint8_in_torch(exported: Path, drawn: Store, cache: str) -> None:
    torch = pytest.importorskip("torch", reason="the base install has no torch")
    table = datasets.load_dataset(str(exported), split="train", cache_dir=cache)
    mask = table.with_format("torch")[2]["core_mask"]
    assert mask.dtype == torch.uint8 and mask.shape == (1, 32, 32)
    grids = datasets.load_dataset(str(exported), "grids", split="train", cache_dir=cache)
    maps = grids.with_format("torch", columns=["maps"], dtype=torch.uint8)[6]["maps"]
    assert maps.dtype == torch.uint8 and np.array_equal(maps.numpy().reshape(5, 7, 7), drawn.maps[6])


@pytest.mark.parametrize("name", ["grids", "features"])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_store_gives_the_tables_of_its_export(
    exported: Path, drawn: Store, cache: str, name: str, streaming: bool
) -> None:
    """The same columns and values, from the store and from the export of it, by the package and by `datasets` alone."""
    public = datasets.load_dataset(str(exported), name, split="train", cache_dir=cache)
    for place in (drawn.path, exported):
        own = salient_imagenet_data.load_dataset(place, name, streaming=streaming, cache_dir=cache)
        assert own.features == public.features
        assert list(own) == list(public)
    part = salient_imagenet_data.load_dataset(drawn.path, name, split="train[3:5]", cache_dir=cache)
    assert list(part) == list(public)[3:5]


def test_tables_of_a_store_are_not_mixed_up(drawn: Store, cache: str) -> None:
    """One cache folder for all."""
    sizes = [
        len(salient_imagenet_data.load_dataset(drawn.path, name, cache_dir=cache)) for name in ("features", "grids")
    ]
    assert sizes == [20, 44]
    assert "core_mask" in salient_imagenet_data.load_dataset(drawn.path, cache_dir=cache).column_names


def test_what_a_table_of_a_store_does_not_take(drawn: Store, photos: Path, cache: str) -> None:
    load = salient_imagenet_data.load_dataset
    with pytest.raises(SalientError, match="no such table of a store; expected masks or grids or features; got 'maps'"):
        load(drawn.path, "maps", cache_dir=cache)
    for given in ({"images": photos}, {"frame": "image"}, {"missing": "skip"}, {"empty": "zeros"}):
        with pytest.raises(SalientError, match="grids: images, frame, missing and empty are about masks"):
            load(drawn.path, "grids", cache_dir=cache, **given)


def test_tables_of_a_store_without_answers(tmp_path: Path, cache: str) -> None:
    bare = make_store(tmp_path / "bare", IDS[:8], LABELS[:8], annotated=False)
    rows = list(salient_imagenet_data.load_dataset(bare.path, "features", cache_dir=cache))
    assert [row["feature_index"] for row in rows] == [f.feature_index for f in bare.features]
    assert {row["kind"] for row in rows} == {None}
    assert len(salient_imagenet_data.load_dataset(bare.path, "grids", cache_dir=cache)) == 8
