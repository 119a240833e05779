"""One set of images in every layout that ImageNet comes in: the same ids, classes and pixels."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.imagenet import wnids
from salient_imagenet_data.images.opening import open_source
from salient_imagenet_data.images.source import ImageSource, ids_of, labels_of
from salient_imagenet_data.images.table import TableSource
from salient_imagenet_data.places import is_repo_id
from salient_imagenet_data.store.reading import Store

CLASSES = (0, 134, 999)
"""Classes that the small validation set has images of."""


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, size=(20, 30, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=95)
    return buffer.getvalue()


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


TRAIN = {f"{wnids()[c]}_{100 * c + i}": (c, jpeg(10 * c + i)) for c in range(3) for i in range(2)}
VAL = {f"ILSVRC2012_val_{i + 1:08d}": (c, jpeg(100 + i)) for i, c in enumerate([999, 0, 134, 0])}


def same(source: ImageSource, expected: dict[str, tuple[int, bytes]]) -> None:
    """Ids, wnids and pixels are those expected, in whatever order."""
    assert len(source) == len(expected)
    assert sorted(ids_of(source).to_pylist()) == sorted(expected)
    for index in range(len(source)):
        entry = source.entry(index)
        label, data = expected[entry.image_id]
        assert source.class_names[entry.label] == wnids()[label]
        assert labels_of(source)[index] == entry.label
        assert np.array_equal(source.pixels(index), np.asarray(Image.open(io.BytesIO(data))))


def train_folder(root: Path) -> None:
    for name, (label, data) in TRAIN.items():
        write(root / wnids()[label] / f"{name}.JPEG", data)


def test_the_archives_unpacked(tmp_path: Path) -> None:
    train_folder(tmp_path / "train")
    for name, (label, data) in VAL.items():
        write(tmp_path / "val" / wnids()[label] / f"{name}.JPEG", data)
    same(open_source(tmp_path / "train"), TRAIN)
    same(open_source(tmp_path), TRAIN)
    same(open_source(tmp_path, "val"), VAL)
    with pytest.raises(SalientError, match="no split 'test'; expected one of train, val"):
        open_source(tmp_path, "test")


def flat_validation(folder: Path) -> None:
    for name, (_, data) in VAL.items():
        write(folder / f"{name}.JPEG", data)


def test_kaggles_tree(tmp_path: Path) -> None:
    base = tmp_path / "ILSVRC/Data/CLS-LOC"
    train_folder(base / "train")
    flat_validation(base / "val")
    lines = [f"{name},{wnids()[label]} 1 2 3 4 {wnids()[label]} 5 6 7 8 " for name, (label, _) in VAL.items()]
    (tmp_path / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *lines]) + "\n")
    same(open_source(tmp_path), TRAIN)
    same(open_source(tmp_path, "val"), VAL)
    assert open_source(tmp_path, "val").class_names == wnids()
    (tmp_path / "LOC_val_solution.csv").write_text("ImageId,PredictionString\nILSVRC2012_val_00000001,n01440764 1\n")
    with pytest.raises(SalientError, match="ILSVRC2012_val_00000002.JPEG: no class known"):
        open_source(tmp_path, "val")


def devkit(folder: Path, answers: list[int]) -> None:
    """meta.mat as the devkit has it: the thousand classes in an order of their own, then inner nodes."""
    savemat = pytest.importorskip("scipy.io", reason="scipy reads and writes meta.mat").savemat
    order = list(reversed(wnids()))
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    rows = [(i, wnid, "words, of it", 0) for i, wnid in enumerate(order, start=1)] + [(1001, "n00001740", "entity", 3)]
    folder.mkdir(parents=True)
    savemat(folder / "meta.mat", {"synsets": np.array(rows, dtype=kinds)[:, None]})
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{a}\n" for a in answers))


def test_the_flat_validation_folder_with_the_devkit(tmp_path: Path) -> None:
    flat_validation(tmp_path / "val")
    with pytest.raises(
        SalientError, match="validation images without their classes; expected class folders, or LOC_val"
    ):
        open_source(tmp_path / "val")
    answers = [1000 - label for label, _ in VAL.values()] + [1] * (50_000 - len(VAL))
    devkit(tmp_path / "ILSVRC2012_devkit_t12" / "data", answers)
    same(open_source(tmp_path / "val"), VAL)
    same(open_source(tmp_path, "val"), VAL)


def test_a_devkit_that_is_cut_short(tmp_path: Path) -> None:
    flat_validation(tmp_path)
    devkit(tmp_path / "data", [1, 2, 3])
    with pytest.raises(SalientError, match="not the devkit's; expected 50000 numbers .*; got 3 lines"):
        open_source(tmp_path)
    (tmp_path / "data" / "meta.mat").unlink()
    with pytest.raises(SalientError, match="numbers without names; expected the devkit's meta.mat"):
        open_source(tmp_path)


def pack(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def test_webdataset_shards_with_class_numbers(tmp_path: Path) -> None:
    items = [*TRAIN.items(), ("n15075141_1", (999, jpeg(7)))]
    for number, part in enumerate((items[:3], items[3:])):
        members: dict[str, bytes] = {}
        for name, (label, data) in part:
            members |= {f"{name}.cls": str(label).encode(), f"{name}.jpg": data, f"{name}.json": b"{}"}
        pack(tmp_path / f"train-{number:04d}.tar", members)
    for given in (tmp_path, tmp_path / "train-{0000..0001}.tar"):
        same(open_source(given), dict(items))
    with pytest.raises(SalientError, match=r"train-0002.tar: no such file; got 1 of 3 shards missing"):
        open_source(tmp_path / "train-{0000..0002}.tar")
    encoded = open_source(tmp_path).encoded(0)
    assert encoded["bytes"] == items[0][1][1]


def test_tars_that_name_classes_by_folder_or_file(tmp_path: Path) -> None:
    pack(
        tmp_path / "a.tar",
        {f"cats/{i}.png": jpeg(i) for i in range(2)} | {"dogs/0.png": jpeg(5), "dogs/notes.txt": b"x"},
    )
    source = open_source(tmp_path / "a.tar")
    assert source.class_names == ("cats", "dogs") and ids_of(source).to_pylist() == ["cats/0", "cats/1", "dogs/0"]
    pack(tmp_path / "b.tar", {"x.jpg": jpeg(1)})
    with pytest.raises(SalientError, match="images without a class; expected a .cls member"):
        open_source(tmp_path / "b.tar")
    pack(tmp_path / "c.tar", {"x.jpg": jpeg(1), "x.cls": b"0", "y.jpg": jpeg(2)})
    with pytest.raises(SalientError, match="classes of some images only"):
        open_source(tmp_path / "c.tar")
    (tmp_path / "d.tar").write_bytes(b"no tar file" * 100)
    with pytest.raises(SalientError, match="not an uncompressed tar file"):
        open_source(tmp_path / "d.tar")
    (tmp_path / "named").mkdir()
    (tmp_path / "named" / "classnames.txt").write_text("cat\ndog\n")
    pack(tmp_path / "named" / "0.tar", {"x.jpg": jpeg(1), "x.cls": b"1"})
    named = open_source(tmp_path / "named")
    assert named.class_names == ("cat", "dog") and named.entry(0).label == 1


def test_the_hubs_table(tmp_path: Path) -> None:
    """Parquet of ILSVRC/imagenet-1k: bytes and a path that carries the class again, labels 0 to 999."""
    rows = {
        "image": [{"bytes": data, "path": f"{name}_{wnids()[label]}.JPEG"} for name, (label, data) in TRAIN.items()],
        "label": [label for label, _ in TRAIN.values()],
    }
    names = [f"name {i}" for i in range(1000)]
    columns = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    same(TableSource(datasets.Dataset.from_dict(rows, features=columns)), TRAIN)


def test_imagenets_oddities(tmp_path: Path) -> None:
    """A CMYK JPEG, a PNG that is called .JPEG, and an EXIF rotation that the reference loader ignores."""
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 256, size=(8, 12, 3), dtype=np.uint8))
    folder = tmp_path / "n01440764"
    folder.mkdir()
    rgb.convert("CMYK").save(folder / "n01440764_1.JPEG")
    rgb.save(folder / "n01440764_2.JPEG", format="PNG")
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb.save(folder / "n01440764_3.JPEG", exif=exif)
    source = open_source(tmp_path)
    for index in range(3):
        pixels = source.pixels(index)
        assert pixels.shape == (8, 12, 3)
        with Image.open(folder / f"n01440764_{index + 1}.JPEG") as image:
            assert np.array_equal(pixels, np.asarray(image.convert("RGB")))
    assert np.array_equal(source.pixels(1), np.asarray(rgb))


def test_a_mistyped_path_below_a_folder_is_not_looked_up_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train_folder(tmp_path / "photos" / "train")
    same(open_source("photos/train"), TRAIN)
    with pytest.raises(
        SalientError, match="photos/trian: no such folder; expected a folder with one sub-folder a class"
    ):
        open_source("photos/trian")
    with pytest.raises(SalientError, match="given as images, or hf://datasets/photos/imagenet-1k for the Hub's$"):
        open_source("photos/imagenet-1k")
    with pytest.raises(SalientError, match="check the path, or hf://datasets/photos/masks for the Hub's, or make a"):
        Store("photos/masks")
    assert is_repo_id("ILSVRC/imagenet-1k") and not is_repo_id("photos/trian") and not is_repo_id("ILSVRC")
