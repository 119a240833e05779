"""Tables as people have them: rows without an image, an id or a label, ids of other types."""

from __future__ import annotations

import io
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.images.table import TableSource

CLASSES = ("cat", "dog")


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), (value, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def table(values: list[Any], labels: list[int | None], **more: Any) -> datasets.Dataset:
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))}
    kinds = {name: datasets.Value("int64" if isinstance(v[0], int) else "string") for name, v in more.items()}
    return datasets.Dataset.from_dict(
        {"image": values, "label": labels, **more}, features=datasets.Features(features | kinds)
    )


def named(name: str | None, value: int = 0) -> dict[str, Any]:
    return {"path": name, "bytes": png(value)}


def test_rows_that_lack_something_are_left_out_and_told(capfd: pytest.CaptureFixture[str]) -> None:
    values = [named("a.png", 10), None, named(None, 30), named("d.png", 40), named("e.png", 50), named("f.png", 60)]
    source = TableSource(table(values, [1, 0, 0, -1, None, 0]))
    assert [source.entry(i).image_id for i in range(len(source))] == ["a", "f"]
    assert source.labels().tolist() == [1, 0]
    assert [int(source.pixels(i)[0, 0, 0]) for i in (0, 1)] == [10, 60]
    assert capfd.readouterr().err == (
        "rows of the table that are left out: 1 without an image, 1 without an id, 2 without a label\n"
    )


def test_a_folder_called_as_a_class_tells_it_where_there_is_no_label(capfd: pytest.CaptureFixture[str]) -> None:
    source = TableSource(table([named("dog/1.png"), named("cat/1.png"), named("cow/1.png")], [-1, 1, None]))
    assert [(source.entry(i).image_id, source.entry(i).label) for i in range(2)] == [("dog/1", 1), ("cat/1", 1)]
    err = capfd.readouterr().err
    assert "1 rows have no label: their class is that of their file's name" in err and "1 without a label" in err


def test_ids_that_are_numbers() -> None:
    source = TableSource(table([named(None), named(None)], [0, 1], image_id=[7, 12]))
    assert [source.entry(i).image_id for i in (0, 1)] == ["7", "12"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [([-1, -1], "no row of the table can be used; .* got 2 without a label"), ([0, None], None)],
)
def test_a_split_without_labels_is_refused(labels: list[int | None], message: str | None) -> None:
    given = table([named("a.png"), named("b.png")], labels)
    if message is None:
        assert len(TableSource(given)) == 1
    else:
        with pytest.raises(SalientError, match=message):
            TableSource(given)


def test_selections_keep_rows_and_images_together() -> None:
    values = [named(f"{i}.png", i) if i % 3 else None for i in range(12)]
    shuffled = table(values, [i % 2 for i in range(12)]).shuffle(seed=3).select(range(9))
    source = TableSource(shuffled)
    for i in range(len(source)):
        number = int(source.entry(i).image_id)
        assert source.entry(i).label == number % 2 and int(np.asarray(source.pixels(i))[0, 0, 0]) == number
