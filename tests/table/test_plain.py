"""`to_images`, and what is refused without it: files that `datasets` alone reads, or one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

import salient_imagenet_data
from salient_imagenet_data import load_dataset, to_images
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.table.mask_feature import WRITERS
from tests.hub.stores import CLASSES, make_store, write_images

IDS = [f"{name}/{i}" for name in CLASSES for i in range(3)]
WITHOUT_US = """
import sys, datasets, numpy as np
source, out = sys.argv[1:]
table = datasets.load_from_disk(source) if not source.endswith(".parquet") else datasets.Dataset.from_parquet(source)
assert not [name for name in sys.modules if name.startswith("salient")]
for column in ("image", "core_mask", "spurious_mask"):
    assert type(table.features[column]) is datasets.Image, table.features
    np.savez(f"{out}/{column}", *[np.zeros(0) if row[column] is None else np.asarray(row[column]) for row in table])
"""


@pytest.fixture(params=["crop", "image"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> datasets.Dataset:
    store = make_store(tmp_path / "s", IDS, [label for label in range(4) for _ in range(3)])
    photos = write_images(tmp_path / "images", IDS)
    return load_dataset(store.path, images=photos, frame=request.param, cache_dir=str(tmp_path / "cache"))


@pytest.mark.parametrize("way", ["to_parquet", "save_to_disk"])
def test_what_is_written_is_read_by_datasets_alone(table: datasets.Dataset, tmp_path: Path, way: str) -> None:
    place = tmp_path / ("t.parquet" if way == "to_parquet" else "t")
    getattr(to_images(table), way)(str(place))
    command = [sys.executable, "-c", WITHOUT_US, str(place), str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path, env={"HF_HOME": str(tmp_path / "home")})
    for column in ("image", "core_mask", "spurious_mask"):
        with np.load(tmp_path / f"{column}.npz") as read:
            for row, name in zip(table, read.files, strict=True):
                expected = np.zeros(0) if row[column] is None else np.asarray(row[column])
                assert np.array_equal(read[name], expected)


def test_images_in_their_own_frame_keep_their_bytes(table: datasets.Dataset, tmp_path: Path) -> None:
    plain = to_images(table.select([4, 1])).cast_column("image", datasets.Image(decode=False))
    kept = [
        (tmp_path / "images" / f"{IDS[i]}.png").read_bytes() == plain[n]["image"]["bytes"] for n, i in ((0, 4), (1, 1))
    ]
    assert kept == [table.features["image"].crop == 0] * 2
    assert plain["image_id"][:] == [IDS[4], IDS[1]] and plain["label"][:] == [1, 0]


def test_streams_and_masks_alone(table: datasets.Dataset, tmp_path: Path) -> None:
    with pytest.raises(SalientError, match="a stream is not written: load it with streaming=False"):
        to_images(table.to_iterable_dataset())
    masks = table.remove_columns("image")
    assert to_images(masks).column_names == masks.column_names
    assert to_images(to_images(masks)).features == to_images(masks).features
    with pytest.raises(SalientError, match=r"the column core_mask is made when it is read"):
        masks.to_parquet(str(tmp_path / "x"))


@pytest.mark.parametrize("way", [way for way in WRITERS if hasattr(datasets.Dataset, way)])
def test_every_way_of_writing_is_refused_alike(table: datasets.Dataset, tmp_path: Path, way: str) -> None:
    place: Any = "org/name" if way == "push_to_hub" else str(tmp_path / "out")
    arguments = ("t", place) if way == "to_sql" else (place,)
    line = rf"{way}: the column image is made when it is read, and only this .* salient_imagenet_data.to_images\(table\).{way}"
    with pytest.raises(SalientError, match=line):
        getattr(table, way)(*arguments)
    assert not (tmp_path / "out").exists()
    if way in ("save_to_disk", "push_to_hub"):
        with pytest.raises(SalientError, match=line):
            getattr(datasets.DatasetDict({"train": table}), way)(place)


def test_tables_of_others_are_written_as_ever(tmp_path: Path) -> None:
    other = datasets.Dataset.from_dict({"a": [1, 2]})
    other.to_csv(str(tmp_path / "t.csv"))
    assert (tmp_path / "t.csv").read_text() == "a\n1\n2\n"


def test_columns_say_what_they_are(table: datasets.Dataset) -> None:
    text = str(table.features)
    assert "GridMask(7 x 7 grids, read as 8-bit gray of 32 x 32" in text and "to_images(table)" in text
    assert ("cropped to 32 x 32" in text) == (table.features["image"].crop == 32)
    assert salient_imagenet_data.to_images is to_images


def test_images_of_imagenet_are_told_not_to_be_passed_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = [f"n01440764_{i}" for i in range(2)]
    store = make_store(tmp_path / "s", ids, [0, 0])
    photos = write_images(tmp_path / "images", [f"bar/{i}" for i in ids])
    table = load_dataset(store.path, images=photos, cache_dir=str(tmp_path / "cache"))
    assert len(to_images(table)) == 2
    assert "ImageNet's images, which may not be passed on" in capsys.readouterr().err
    to_images(table.remove_columns("image"))
    assert "passed on" not in capsys.readouterr().err
    with pytest.raises(SalientError, match=r"ImageNet's may not be passed on: remove_columns\(\"image\"\) first"):
        table.push_to_hub("org/name")


def test_own_images_are_plain_in_silence(table: datasets.Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    to_images(table)
    assert "passed on" not in capsys.readouterr().err
