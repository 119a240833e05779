"""`salient_imagenet_data.load_dataset`: a store joined to folders, tables and streams of images."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import datasets
import datasets.distributed
import numpy as np
import pytest
from PIL import Image

from salient_imagenet_data import dataset as dataset_module
from salient_imagenet_data import load_dataset
from salient_imagenet_data.annotation.answers import Answer
from salient_imagenet_data.annotation.applying import annotate
from salient_imagenet_data.annotation.files import read_annotations, write_annotations
from salient_imagenet_data.dataset import SalientImageNetBuilder
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.imagenet import wnids
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.images.table import TableSource
from salient_imagenet_data.masks import to_uint8
from salient_imagenet_data.store.reading import Store
from tests.hub.conftest import IDS, LABELS
from tests.hub.stores import CLASSES, make_store, write_images

COLUMNS = ["image_id", "image", "label", "core_mask", "spurious_mask", "has_core", "has_spurious"]


def image_table(photos: Path, ids: list[str], **columns: Any) -> datasets.Dataset:
    """Images as bytes with a path inside, as Parquet files on the Hub have them."""
    values = [{"bytes": (photos / f"{i}.png").read_bytes(), "path": f"{i}.png"} for i in ids]
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))}
    features |= dict.fromkeys(columns, datasets.Value("string"))
    rows = {"image": values, "label": [CLASSES.index(i.split("/")[0]) for i in ids], **columns}
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


def check_rows(rows: list[dict[str, Any]], store: Store, photos: Path) -> None:
    source = FolderSource(photos)
    index = {source.entry(i).image_id: i for i in range(len(source))}
    of_id = {record.image_id: row for row, record in enumerate(store.rows)}
    for example in rows:
        row = of_id[example["image_id"]]
        pixels = store.manifest.preprocessing.apply(source.pixels(index[example["image_id"]]))
        assert np.array_equal(np.asarray(example["image"]), pixels) and example["label"] == store.rows[row].label
        for kind in ("core", "spurious"):
            mask = store.mask(row, kind)
            read = example[f"{kind}_mask"]
            assert (read is None) == (mask is None)
            assert mask is None or (read.mode == "L" and np.array_equal(np.asarray(read), to_uint8(mask)))


def test_a_folder_and_an_export_give_the_same(drawn: Store, exported: Path, photos: Path, cache: str) -> None:
    for store in (drawn.path, str(exported), str(exported / "store")):
        table = load_dataset(store, images=photos, cache_dir=cache)
        assert table.column_names == COLUMNS and table["image_id"][:] == IDS
    check_rows([table[i] for i in (0, 1, 2, 43)], drawn, photos)
    assert table.info.version == "1.0.0"


def test_a_table_of_images_stays_where_it_is(
    drawn: Store, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image_table(photos, IDS).save_to_disk(str(tmp_path / "saved"))
    table = datasets.load_from_disk(str(tmp_path / "saved"))
    size = sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file())
    capfd.readouterr()
    joined = load_dataset(drawn.path, images=table)
    assert "44 of 44 rows joined to images" in capfd.readouterr().err
    assert joined.column_names == COLUMNS and joined["image_id"][:] == IDS
    check_rows([joined[i] for i in range(44)], drawn, photos)
    assert {f["filename"] for f in joined.cache_files} >= {f["filename"] for f in table.cache_files}
    assert sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file()) == size
    assert joined.with_format("numpy")[2]["core_mask"].dtype == np.uint8


def test_shuffled_selected_and_renamed_tables(drawn: Store, photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    table = image_table(photos, IDS).rename_column("image", "picture").shuffle(seed=1).select(range(40))
    with pytest.raises(SalientError, match=r"4 of 44 images .* are missing"):
        load_dataset(drawn.path, images=table)
    joined = load_dataset(drawn.path, images=table, missing="skip")
    err = capfd.readouterr().err
    gone = [i for i in IDS if i not in {str(Path(v["path"]).with_suffix("")) for v in raw(table, "picture")}]
    assert f"40 of 44 rows joined to images; 4 missing: {', '.join(gone)}" in err
    assert joined["image_id"][:] == [i for i in IDS if i not in gone]
    check_rows([joined[i] for i in range(40)], drawn, photos)
    part = load_dataset(drawn.path, images=table, missing="skip", split="train[5:8]")
    assert part["image_id"][:] == joined["image_id"][5:8]
    stream = load_dataset(drawn.path, images=table, missing="skip", streaming=True)
    assert isinstance(stream, datasets.IterableDataset)
    check_rows(list(stream), drawn, photos)


def raw(table: datasets.Dataset, column: str) -> list[dict[str, Any]]:
    return [row[column] for row in table.cast_column(column, datasets.Image(decode=False))]


@pytest.mark.parametrize("column", ["image_id", "file_name"])
def test_ids_from_a_column(drawn: Store, photos: Path, column: str) -> None:
    names = IDS if column == "image_id" else [f"{i}.png" for i in IDS]
    table = image_table(photos, IDS, **{column: names})
    assert load_dataset(drawn.path, images=table)["image_id"][:] == IDS


def test_an_imagefolder(drawn: Store, photos: Path, cache: str) -> None:
    table = datasets.load_dataset("imagefolder", data_dir=str(photos), split="train", cache_dir=cache)
    joined = load_dataset(drawn.path, images=table)
    check_rows([joined[i] for i in (0, 9, 43)], drawn, photos)


def test_imagenet_from_the_hub_by_its_file_names(tmp_path: Path) -> None:
    ids = [f"{wnids()[i]}_{i}" for i in range(12)]
    store = make_store(tmp_path / "s", ids, list(range(12)), wnids())
    photos = write_images(tmp_path / "images", ids)
    values = [{"bytes": (photos / f"{i}.png").read_bytes(), "path": f"{i}_{i[:9]}.JPEG"} for i in reversed(ids)]
    words = datasets.ClassLabel(names=[f"words of {w}" for w in wnids()])
    features = datasets.Features({"image": datasets.Image(), "label": words})
    table = datasets.Dataset.from_dict({"image": values, "label": list(range(11, -1, -1))}, features=features)
    joined = load_dataset(store.path, images=table)
    assert joined["image_id"][:] == ids and joined.features["label"].names[:2] == ["tench", "goldfish"]
    stream = load_dataset(store.path, images=table.to_iterable_dataset(), missing="skip")
    assert [row["image_id"] for row in stream] == ids[::-1]
    with pytest.raises(
        SalientError, match="refers to ImageNet's images, and publishing it would copy them; .* drop them first"
    ):
        joined.features["image"].embed_storage(joined.data.column("image").chunk(0))


def test_writing_a_joined_table_is_refused(drawn: Store, photos: Path, cache: str) -> None:
    table = load_dataset(drawn.path, images=photos, cache_dir=cache)
    with pytest.raises(SalientError, match="grids that only this package can read; publish the store with"):
        table.features["core_mask"].embed_storage(table.data.column("core_mask").chunk(0))


def test_a_stream_of_images(drawn: Store, photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    extra = write_images(Path(shutil.copytree(photos, photos.parent / "more", dirs_exist_ok=True)), ["bar/unknown"])
    stream = image_table(extra, ["bar/unknown", *IDS]).to_iterable_dataset(num_shards=3)
    with pytest.raises(
        SalientError, match='a stream of images cannot be searched before it is read; expected missing="skip"'
    ):
        load_dataset(drawn.path, images=stream)
    joined = load_dataset(drawn.path, images=stream, missing="skip")
    rows = list(joined)
    assert [row["image_id"] for row in rows] == IDS and set(rows[0]) == set(COLUMNS)
    check_rows(rows, drawn, photos)
    told = capfd.readouterr().err
    assert "29 of 44 rows joined to 2 of 3 shards of images\n44 of 44 rows joined to images\n" in told
    list(joined)
    assert "joined" not in capfd.readouterr().err
    few = load_dataset(drawn.path, images=image_table(photos, IDS[2:]).to_iterable_dataset(), missing="skip")
    assert len(list(few)) == 42
    assert f"42 of 44 rows joined to images; 2 missing: {IDS[0]}, {IDS[1]}\n" in capfd.readouterr().err
    again = image_table(photos, [*IDS, IDS[3]]).to_iterable_dataset()
    with pytest.raises(SalientError, match=f"two images of the stream have the id '{IDS[3]}'"):
        list(load_dataset(drawn.path, images=again, missing="skip"))
    wrong = image_table(photos, IDS).cast_column("label", datasets.ClassLabel(names=["bar", "cross", "star", "ring"]))
    with pytest.raises(SalientError, match="class differs; expected 'ring'; got 'star'"):
        list(load_dataset(drawn.path, images=wrong.to_iterable_dataset(), missing="skip"))


def test_streaming_a_folder_lazily(drawn: Store, photos: Path, cache: str) -> None:
    stream = load_dataset(drawn.path, images=photos, streaming=True, cache_dir=cache)
    check_rows(list(stream), drawn, photos)


def test_workers_and_loaders(
    drawn: Store, exported: Path, photos: Path, cache: str, capfd: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch", reason="the base install has no torch")
    from salient_imagenet_data.loaders import SalientImageNet

    table = image_table(photos, IDS)
    for images in (
        photos,
        table,
        table.to_iterable_dataset(num_shards=3),
        table.to_iterable_dataset().with_format("np"),
    ):
        stream = load_dataset(drawn.path, images=images, streaming=True, missing="skip", cache_dir=cache)
        capfd.readouterr()
        loader = torch.utils.data.DataLoader(stream.select_columns(["image_id"]), batch_size=None, num_workers=2)
        assert sorted(row["image_id"] for row in loader) == sorted(IDS)
        told = re.findall(r"(\d+) of 44 rows joined to ([12]) of 3 shards of images", capfd.readouterr().err)
        assert len(told) == (3 if getattr(images, "num_shards", 1) == 3 else 0)
        assert {int(rows) for rows, shards in told if shards == "2"} <= {29, 30}
        nodes = [datasets.distributed.split_dataset_by_node(stream, rank=rank, world_size=2) for rank in range(2)]
        assert sorted(row["image_id"] for node in nodes for row in node) == sorted(IDS)
    samples = SalientImageNet(str(exported), TableSource(image_table(photos, IDS)))
    assert len(samples) == 44 and samples[6]["image"].shape == (3, 32, 32)


def test_images_that_are_nowhere(drawn: Store) -> None:
    with pytest.raises(SalientError, match="no/where: cannot load the images"):
        load_dataset(drawn.path, images="no/where")


def test_the_image_frame(drawn: Store, photos: Path, cache: str) -> None:
    for images in (photos, image_table(photos, IDS)):
        row = load_dataset(drawn.path, images=images, frame="image", cache_dir=cache)[6]
        expected = drawn.image_mask(6, "core")
        assert expected is not None and row["image"].size == row["core_mask"].size == (60, 50)
        assert np.array_equal(np.asarray(row["core_mask"]), to_uint8(expected[0]))


def test_exif_does_not_turn_an_image(tmp_path: Path, cache: str) -> None:
    store = make_store(tmp_path / "s", ["bar/a"], [0], ("bar",))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    (tmp_path / "images" / "bar").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "images" / "bar" / "a.jpg", exif=exif)
    row = load_dataset(store.path, images=tmp_path / "images", frame="image", cache_dir=cache)[0]
    assert row["image"].size == (60, 50)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": [0]}, "cannot tell which column holds the images"),
        ({"image": [None]}, "cannot tell the classes of the images"),
    ],
)
def test_tables_that_lack_a_column(drawn: Store, columns: dict[str, Any], message: str) -> None:
    kinds = {"label": datasets.ClassLabel(names=list(CLASSES)), "image": datasets.Image()}
    table = datasets.Dataset.from_dict(columns, features=datasets.Features({name: kinds[name] for name in columns}))
    with pytest.raises(SalientError, match=message):
        load_dataset(drawn.path, images=table)


def test_images_without_ids(drawn: Store) -> None:
    pixels = [np.zeros((4, 4, 3), np.uint8)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))})
    table = datasets.Dataset.from_dict({"image": pixels, "label": [0]}, features=features)
    with pytest.raises(
        SalientError, match="no row of the table can be used; .* a column image_id or file_name .*; got 1 without an id"
    ):
        load_dataset(drawn.path, images=table)


def test_a_table_is_an_image_source(photos: Path) -> None:
    source, folder = TableSource(image_table(photos, sorted(IDS))), FolderSource(photos)
    assert source.class_names == folder.class_names and len(source) == len(folder)
    for index in (0, 43):
        assert source.entry(index) == folder.entry(index)
        assert np.array_equal(source.pixels(index), folder.pixels(index))


def test_a_changed_store_or_builder_never_gives_old_rows(
    tmp_path: Path, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(tmp_path / "s", IDS, LABELS)

    def builder() -> SalientImageNetBuilder:
        return SalientImageNetBuilder(cache_dir=cache, store=str(store.path))

    first = builder()
    first.download_and_prepare()
    assert str(first.info.version) == "1.0.0" and builder().cache_dir == first.cache_dir
    answers = [
        Answer("p", f.class_name, f.class_index, f.feature_index, f.rank, "background", 4, "") for f in store.features
    ]
    write_annotations(tmp_path / "answers.csv", answers)
    before = load_dataset(store.path, cache_dir=cache)[0]["core_mask"]
    annotate(store.path, read_annotations(tmp_path / "answers.csv"), majority=1)
    assert builder().cache_dir != first.cache_dir
    assert before is not None and load_dataset(store.path, cache_dir=cache)[0]["core_mask"] is None
    second = builder()
    monkeypatch.setattr(dataset_module, "_code_sha256", lambda: "other code")
    assert builder().cache_dir != second.cache_dir
    newer = make_store(tmp_path / "newer", IDS, LABELS, data_version="1.2.0")
    assert str(SalientImageNetBuilder(cache_dir=cache, store=str(newer.path)).info.version) == "1.2.0"


def test_as_a_script_where_datasets_has_them(drawn: Store, cache: str) -> None:
    if int(datasets.__version__.split(".")[0]) >= 4:
        pytest.skip("datasets 4 and later load no scripts; the builder is used directly")
    script = str(Path(dataset_module.__file__))
    table = datasets.load_dataset(script, store=str(drawn.path), split="train", trust_remote_code=True, cache_dir=cache)
    assert table["image_id"][:] == IDS and table[0]["core_mask"].mode == "L"
