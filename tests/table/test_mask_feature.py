"""Columns that are made when they are read, under what people do with tables: `map`, casts, files that are gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from salient_imagenet_data import FolderSource, MemorySource, load_dataset, to_images
from salient_imagenet_data.errors import ImageError, SalientError
from tests.hub.stores import CLASSES, make_store, write_images

IDS = [f"{name}/{i}" for name in CLASSES for i in range(3)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of 60 x 50, of which the crop frame shows 32 x 32 of 48 x 40, and a store of them."""
    place = tmp_path_factory.mktemp("columns")
    make_store(place / "store", IDS, [label for label in range(4) for _ in range(3)])
    write_images(place / "images", IDS)
    return place


@pytest.fixture(scope="module", params=["files", "table", "memory"])
def table(request: pytest.FixtureRequest, place: Path) -> datasets.Dataset:
    source = FolderSource(place / "images")
    labels = [source.entry(i).label for i in range(12)]
    names = [source.entry(i).image_id for i in range(12)]
    unnamed = {"bytes": None, "path": None}
    given: dict[str, Any] = {
        "files": place / "images",
        "memory": MemorySource([source.pixels(i) for i in range(12)], labels, source.class_names, names),
        "table": datasets.Dataset.from_dict(  # of images without a path
            {
                "image": [{**unnamed, "bytes": (place / "images" / f"{n}.png").read_bytes()} for n in names],
                "label": labels,
                "image_id": names,
            },
            features=datasets.Features(
                {
                    "image": datasets.Image(),
                    "label": datasets.ClassLabel(names=list(CLASSES)),
                    "image_id": datasets.Value("string"),
                }
            ),
        ),
    }
    return load_dataset(place / "store", images=given[request.param], cache_dir=str(place / "cache"))


def test_what_map_puts_in_is_not_cropped_once_more(table: datasets.Dataset) -> None:
    """An image of the crop frame that was seen through the crop again would no longer lie under its masks."""
    some, before = table.select([4, 1]), np.asarray(table[4]["image"])
    assert before.shape == (32, 32, 3)

    def darker(row: dict[str, Any]) -> dict[str, Any]:
        return {"image": Image.fromarray(np.asarray(row["image"]) // 2)}

    mapped = some.map(darker)
    both = datasets.concatenate_datasets([some, mapped])
    again = [mapped, mapped.map(lambda row: {"image": row["image"]}), mapped.flatten_indices(), both.select([2, 3])]
    plain = [to_images(mapped), datasets.Dataset.from_list(list(mapped), features=mapped.features)]
    streamed = mapped.to_iterable_dataset()
    for rows in (*again, *plain, streamed, some.to_iterable_dataset().map(darker, features=some.features)):
        assert np.array_equal(np.asarray(next(iter(rows))["image"]), before // 2)
    assert np.array_equal(np.asarray(both[0]["image"]), before)
    assert some.map(lambda row: {"image": np.zeros((5, 6, 3), np.uint8)})[0]["image"].size == (6, 5)
    other = some.map(lambda row: {"core_mask": np.full((32, 32), 7, np.uint8)})
    assert np.asarray(other[0]["core_mask"]).tolist() == [[7] * 32] * 32


def test_casts_to_plain_images_are_refused(table: datasets.Dataset) -> None:
    """They would leave bytes that nobody can read as a mask, and images without the crop that their masks are in."""
    gray = datasets.Image(mode="L")
    for rows in (table, table.to_iterable_dataset()):
        for column in ("image", "core_mask"):
            line = rf"cast_column: the column {column} is made when it is read; .*to_images\(table\).cast_column"
            with pytest.raises(SalientError, match=line):
                rows.cast_column(column, gray)
        with pytest.raises(SalientError, match="cast: the column spurious_mask"):
            rows.cast(datasets.Features({**rows.features, "spurious_mask": gray}))
    assert to_images(table).cast_column("image", gray)[0]["image"].mode == "L"
    assert table.cast_column("label", datasets.Value("int32")).features["label"].dtype == "int32"
    assert set(table.cast_column("image", datasets.Image(decode=False))[0]["image"]) == {"bytes", "path"}


def test_a_file_that_is_gone_is_told(place: Path, tmp_path: Path) -> None:
    photos = write_images(tmp_path / "images", IDS)
    table = load_dataset(place / "store", images=photos, cache_dir=str(tmp_path / "cache"))
    photos.rename(tmp_path / "moved")
    with pytest.raises(ImageError, match=r"images/bar/0.png: gone since its images were joined; call load_dataset ag"):
        table[0]
