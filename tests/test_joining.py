"""`images_of` and `join`: one way to open the user's images, for every caller."""

from __future__ import annotations

import dataclasses
import io
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from salient_imagenet_data import joining, load_dataset
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.imagenet import classes, wnid_in, wnid_of_words, wnids, wnids_of_labels
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.images.likeness import likeness, likenesses
from salient_imagenet_data.images.table import TableSource
from salient_imagenet_data.joining import images_of, join
from salient_imagenet_data.loaders import NumpyLoader, SalientImageNet
from salient_imagenet_data.places import hub_name
from salient_imagenet_data.store.manifest import write_manifest
from salient_imagenet_data.store.reading import Store
from tests.hub.stores import CLASSES, make_store, write_images

IDS = [f"{name}/{i}" for name in CLASSES for i in range(3)]
LABELS = [label for label in range(len(CLASSES)) for _ in range(3)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`train` and `val` of one root; the store is of val."""
    root = tmp_path_factory.mktemp("photos")
    write_images(root / "val", IDS)
    write_images(root / "train", [f"{name}/t{i}" for name in CLASSES for i in range(2)])
    return root


@pytest.fixture(scope="module")
def val(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("stores") / "s", IDS, LABELS, split="val")


def table_of_photos(photos: Path, ids: list[str] = IDS, names: tuple[str, ...] = CLASSES) -> datasets.Dataset:
    values = [{"bytes": (photos / "val" / f"{i}.png").read_bytes(), "path": f"{i}.png"} for i in ids]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(names))})
    rows = {"image": values, "label": [names.index(i.split("/")[0]) for i in ids]}
    return datasets.Dataset.from_dict(rows, features=features)


def tar_of(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        for image in sorted(folder.rglob("*.png")):
            archive.add(image, image.relative_to(folder).as_posix())
    return path


def test_a_root_of_splits_gives_the_stores_split_to_every_caller(
    val: Store, photos: Path, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    first = val.manifest.preprocessing.apply(FolderSource(photos / "val").pixels(0))
    row = IDS.index(FolderSource(photos / "val").entry(0).image_id)
    assert np.array_equal(load_dataset(val.path, images=photos, cache_dir=str(tmp_path))[row]["image"], first)
    assert np.array_equal(SalientImageNet(val, photos)[row]["image"].permute(1, 2, 0), first)
    assert np.array_equal(next(iter(NumpyLoader(val, photos)))["image"][row], first)
    assert np.array_equal(join(val, str(photos)).crop(row), first)
    code, _, err = run("export", val.path, "--out", tmp_path / "x", "--images", photos, "--redistribute")
    assert code == 0, err
    written = datasets.load_dataset(str(tmp_path / "x"), "with_images", split="val", cache_dir=str(tmp_path / "c"))
    assert written["image_id"][:] == IDS


@pytest.mark.parametrize("kind", ["table", "dictionary", "validation", "tar", "source", "folder"])
def test_images_of_takes_what_holds_images(val: Store, photos: Path, tmp_path: Path, kind: str) -> None:
    given: Any = {
        "table": lambda: table_of_photos(photos),
        "dictionary": lambda: datasets.DatasetDict(
            {"train": table_of_photos(photos)[:0], "val": table_of_photos(photos)}
        ),
        "validation": lambda: datasets.DatasetDict({"validation": table_of_photos(photos)}),
        "tar": lambda: tar_of(photos / "val", tmp_path / "s.tar"),
        "source": lambda: FolderSource(photos / "val"),
        "folder": lambda: photos,
    }[kind]()
    joined = join(val, given)
    pixels = FolderSource(photos / "val")
    assert [val.rows[int(row)].image_id for row in joined.rows] == IDS
    assert np.array_equal(joined.image(4), pixels.pixels(sorted(IDS).index(IDS[4])))
    assert np.array_equal(SalientImageNet(val, given)[4]["image"].permute(1, 2, 0), joined.crop(4))


def test_what_holds_no_images_is_told(val: Store, photos: Path) -> None:
    with pytest.raises(SalientError, match="a stream of images, in which none can be looked up; expected a folder"):
        SalientImageNet(val, table_of_photos(photos).to_iterable_dataset())
    with pytest.raises(SalientError, match="no split 'val'; got train"):
        images_of(val, datasets.DatasetDict({"train": table_of_photos(photos)}))
    with pytest.raises(SalientError, match="cannot take these for images; .* got int"):
        images_of(val, 3)
    with pytest.raises(SalientError, match="s3://bucket/images: images cannot be read from there"):
        images_of(val, "s3://bucket/images")


def test_the_revision_arrives(val: Store, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Any, Any]] = []

    def load(name: str, *, split: str, revision: str | None = None, **_: Any) -> datasets.Dataset:
        asked.append((name, split, revision))
        if split != "validation":
            raise ValueError(f'Unknown split "{split}". Should be one of ["train", "validation"].')
        return table_of_photos(photos)

    monkeypatch.setattr(datasets, "load_dataset", load)
    for name in ("org/name@v1", "hf://datasets/org/name@v1", "https://huggingface.co/datasets/org/name/tree/v1"):
        assert len(load_dataset(val.path, images=name)) == len(IDS)
        assert len(SalientImageNet(val, name)) == len(IDS)
        assert asked == [("org/name", name, "v1") for name in ("val", "valid", "validation")] * 2
        asked.clear()
    assert hub_name("https://huggingface.co/datasets/org/name") == "org/name" and hub_name("/a/b") is None


@pytest.mark.parametrize("words", ["Config name is missing.\nPick one of ['a', 'b']", 'Unknown split "val". One of x'])
def test_a_data_set_of_several_parts_is_told_how_to_give_one(
    words: str, val: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise ValueError(words)

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # nothing is asked
    got = re.escape(" ".join(words.split()))
    line = (
        rf"^org/name@v1: cannot tell .* a split 'val' .*; got {got}; give .*datasets.load_dataset\(\"org/name\", CONF"
    )
    with pytest.raises(SalientError, match=line):
        images_of(val, "org/name@v1")


def test_labels_are_matched_by_name_in_any_order(val: Store, photos: Path) -> None:
    turned = table_of_photos(photos, names=tuple(reversed(CLASSES)))
    assert [row["label"] for row in load_dataset(val.path, images=turned)] == LABELS
    renamed = turned.cast_column("label", datasets.ClassLabel(names=list(CLASSES)))
    with pytest.raises(SalientError, match="class differs; expected"):
        load_dataset(val.path, images=renamed)


def test_words_and_wnids_are_one_class(tmp_path: Path) -> None:
    some = wnids()[:2]
    store = make_store(tmp_path / "s", [f"{some[0]}_1", f"{some[1]}_2"], [0, 1], some)
    values = [{"bytes": None, "path": f"{w}_{i}.JPEG"} for i, w in enumerate(some, start=1)]
    words = datasets.ClassLabel(names=["goldfish, Carassius auratus", "tench"])
    features = datasets.Features({"image": datasets.Image(), "label": words})
    table = datasets.Dataset.from_dict({"image": values, "label": [1, 0]}, features=features)
    assert join(store, table).rows.tolist() == [0, 1]
    with pytest.raises(SalientError, match=f"{some[0]}_1: class differs; expected 'n01440764'; got 'n01443537'"):
        join(store, datasets.Dataset.from_dict({"image": values, "label": [0, 1]}, features=features))


def imagenet_table(names: list[str], labels: list[int], files: list[str]) -> datasets.Dataset:
    png = io.BytesIO()
    Image.new("RGB", (4, 4)).save(png, "PNG")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    values = [{"bytes": png.getvalue(), "path": file} for file in files]
    return datasets.Dataset.from_dict({"image": values, "label": labels}, features=features)


def test_a_thousand_names_in_another_order(tmp_path: Path) -> None:
    words = sorted(classes().values())
    table = imagenet_table(words, [0, 1], ["ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000002.JPEG"])
    source = TableSource(table)
    assert source.class_names == wnids()
    assert [classes()[source.class_names[source.entry(i).label]] for i in (0, 1)] == words[:2]
    shuffled = [f"class {i}" for i in range(1000)]
    with pytest.raises(SalientError, match="cannot tell which of ImageNet's classes a label means; .* label 0, called"):
        TableSource(imagenet_table(shuffled, [0], ["ILSVRC2012_val_00000001.JPEG"]))
    told = TableSource(imagenet_table(shuffled, [7], ["ILSVRC2012_val_00000001_n01443537.JPEG"]))
    assert told.entry(0).label == 1
    with pytest.raises(SalientError, match="label 7 .* stands for two classes"):
        TableSource(imagenet_table(shuffled, [7, 7], ["n01443537_1.JPEG", "n01440764_1.JPEG"]))


def test_names_of_the_hub_that_mean_two_classes_are_in_the_order_of_the_wnids() -> None:
    hub = [f"{words}, Latin" for words in classes().values()]
    hub[wnids().index("n02012849")] = "crane"  # the bird, which the machine is called too
    label = wnids().index("n02012849")
    assert wnids_of_labels(tuple(hub), [label], {}) == {label: "n02012849"}
    assert wnid_of_words("Cardigan") != wnid_of_words("cardigan") and wnid_of_words("no class") == "no class"
    assert wnid_in("val/ILSVRC2012_val_00000001_n01440764.JPEG") == wnid_in("n01440764_9.JPEG") == "n01440764"
    assert wnid_in("ILSVRC2012_val_00000001.JPEG") is None


def test_a_tar_is_referred_to_and_a_replaced_one_is_seen(val: Store, photos: Path, tmp_path: Path) -> None:
    tar, cache = tar_of(photos / "val", tmp_path / "s.tar"), tmp_path / "cache"
    before = load_dataset(val.path, images=tar, cache_dir=str(cache))
    folder = load_dataset(val.path, images=photos, cache_dir=str(cache))
    assert np.array_equal(before[2]["image"], folder[2]["image"])
    raw = before.cast_column("image", datasets.Image(decode=False))[2]["image"]
    assert raw["bytes"] is None and raw["path"].startswith(f"tar:{tar}#")
    arrow = sum(p.stat().st_size for p in cache.rglob("*.arrow"))
    assert arrow < tar.stat().st_size / 2
    other = Path(shutil.copytree(photos / "val", tmp_path / "other"))
    (path,) = other.glob(f"{IDS[2]}.*")
    with Image.open(path) as image:
        size = image.size
    Image.new("RGB", size, (255, 0, 0)).save(path)
    tar_of(other, tar)
    with pytest.raises(SalientError, match=r"s.tar: changed since its images were joined; call load_dataset again"):
        before[2]
    after = load_dataset(val.path, images=tar, cache_dir=str(cache))
    assert np.asarray(after[2]["image"]).reshape(-1, 3).tolist()[0] == [255, 0, 0]


def remembering(photos: Path, folder: Path) -> Store:
    """The store of val as a build leaves it: with likenesses of its images."""
    store = make_store(folder, IDS, LABELS, split="val")
    source = FolderSource(photos / "val")
    index = {source.entry(i).image_id: i for i in range(len(source))}
    kept = likenesses(source, np.array([index[image_id] for image_id in IDS]))
    write_manifest(folder, dataclasses.replace(store.manifest, likenesses=kept))
    return Store(folder)


def test_other_pictures_of_the_same_names_are_refused(photos: Path, tmp_path: Path) -> None:
    store = remembering(photos, tmp_path / "s")
    assert len(join(store, photos)) == len(join(store, table_of_photos(photos))) == len(IDS)
    anew = tmp_path / "anew"
    for image_id in IDS:
        (anew / image_id).parent.mkdir(parents=True, exist_ok=True)
        with Image.open(photos / "val" / f"{image_id}.png") as image:
            image.save(anew / f"{image_id}.jpg", quality=60)
    assert len(join(store, anew)) == len(IDS)
    other = write_images(tmp_path / "other", IDS[::-1])  # as many pictures of the same sizes
    for image_id, donor in zip(IDS, IDS[::-1], strict=True):
        shutil.copy(photos / "val" / f"{donor}.png", other / f"{image_id}.png")
    line = f"{IDS[0]}: same name, other picture than the masks were made of; .* split 'val' .* another split or edition"
    for use in (join, SalientImageNet, NumpyLoader):
        with pytest.raises(SalientError, match=line):
            use(store, other)
    with pytest.raises(SalientError, match=line):
        load_dataset(store.path, images=other, cache_dir=str(tmp_path / "c"))
    stream = datasets.load_dataset("imagefolder", data_dir=str(other), split="train", cache_dir=str(tmp_path / "c"))
    with pytest.raises(SalientError, match="same name, other picture"):
        list(load_dataset(store.path, images=stream.to_iterable_dataset(), missing="skip"))


def test_one_picture_of_another_size_is_told_on_joining(photos: Path, tmp_path: Path) -> None:
    store = remembering(photos, tmp_path / "s")
    copy = Path(shutil.copytree(photos / "val", tmp_path / "copy"))
    with Image.open(copy / f"{IDS[2]}.png") as image:
        image.resize((30, 25)).save(copy / f"{IDS[2]}.png")
    with pytest.raises(
        SalientError, match=rf"{IDS[2]}: not the image that the masks .* expected 60 x 50 .* got 30 x 25"
    ):
        join(store, copy)


def test_pictures_are_compared_once_for_a_source(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, source = remembering(photos, tmp_path / "s"), FolderSource(photos / "val")
    seen: list[Any] = []
    monkeypatch.setattr(joining, "likeness", lambda picture: (seen.append(picture), likeness(picture))[1])
    join(store, source)
    first = len(seen)
    join(store, source, rows=[3])
    assert first == len(seen) >= joining.AT_LEAST


def test_a_build_remembers_its_images(store: Store, images: Path) -> None:
    source, kept = FolderSource(images), store.manifest.likenesses
    assert len(kept) == 32 == len(set(kept))
    for image_id, text in list(kept.items())[:3]:
        index = store.rows.image_ids.to_pylist().index(image_id)
        gray = np.asarray(Image.fromarray(source.pixels(index)).convert("L"), dtype=np.float64)
        cells = gray.reshape(8, 8, 8, 8).mean(axis=(1, 3))  # scenes have 64 x 64 pixels
        assert (
            np.abs(np.frombuffer(bytes.fromhex(text), dtype=np.uint8).reshape(8, 8) - cells).max() <= 1.01
        )  # rounded in each direction
    with pytest.raises(SalientError, match="likenesses; expected 128 hexadecimal digits"):
        dataclasses.replace(store.manifest, likenesses={"ball/1": "odd"})
