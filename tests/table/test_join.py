"""Streams as people have them: unknown images for a long while, nulls, labels in another order."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pytest

from salient_imagenet_data import load_dataset
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.images.folder import FolderSource
from tests.hub.stores import CLASSES, make_store, write_images

IDS = [f"{name}/{i}" for name in CLASSES for i in range(3)]
FEATURES = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))})


def test_a_stream_with_long_stretches_of_unknown_images(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = make_store(tmp_path / "s", IDS, [label for label in range(4) for _ in range(3)])
    photos = write_images(tmp_path / "images", IDS)
    paths = [str(photos / f"{i}.png") for i in IDS]
    unknown = [str(photos / "bar" / f"no{i}.png") for i in range(600)]
    values = [*unknown, *paths[:6], None, *unknown[:300], *paths[6:], paths[0]]
    labels = [*[0] * 600, 0, 0, 0, 1, 1, 1, 0, *[0] * 300, 2, 2, 2, None, 3, 3, None]
    values, labels = values[:-1], labels[:-1]
    rows = datasets.Dataset.from_dict({"image": values, "label": labels}, features=FEATURES)
    joined = load_dataset(store.path, images=rows.to_iterable_dataset(num_shards=2), missing="skip")
    got = list(joined)
    assert [row["image_id"] for row in got] == IDS
    assert [row["label"] for row in got] == store.rows.labels.tolist()
    source = FolderSource(photos)
    for row in got:
        index = sorted(IDS).index(row["image_id"])
        assert np.array_equal(row["image"], store.manifest.preprocessing.apply(source.pixels(index)))
    told = capfd.readouterr().err
    assert "12 of 12 rows joined to images\n" in told
    assert "rows of the stream that are left out: 1 without an image" in told


def test_a_stream_without_columns_is_told(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", IDS, [label for label in range(4) for _ in range(3)])
    stream = datasets.IterableDataset.from_generator(lambda: iter([{"image": None}]))
    with pytest.raises(SalientError, match="the stream does not say what its columns are"):
        load_dataset(store.path, images=stream, missing="skip")
