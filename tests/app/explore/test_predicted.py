"""Predictions by row, and which answers flip."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from salient_imagenet_data.app.explore import views
from salient_imagenet_data.app.explore.library import Library
from salient_imagenet_data.app.explore.opening import open_library
from salient_imagenet_data.app.explore.predicted import condition_words, kind_of, read_model
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.run.predictions import from_probabilities, to_table, write_tables
from salient_imagenet_data.store.reading import Store
from tests.app.conftest import Client

NOISED = "noise_0.25@spurious"


def write(path: Path, store: Store, clean: list[int], noised: dict[int, int], *, outputs: int = 0) -> Path:
    """Predictions of all rows: clean answers, and answers of some rows with their spurious pixels noised. The first
    rows are answered most surely."""
    classes, ids = outputs or len(store.class_names), store.rows.image_ids.to_pylist()

    def sure(answers: dict[int, int]) -> np.ndarray:
        made = np.full((len(answers), classes), 0.1 / classes, dtype=np.float32)
        for place, (row, answer) in enumerate(answers.items()):
            made[place, answer] = 0.9 - 0.01 * row
        return made

    said = {"clean": dict(enumerate(clean)), NOISED: noised, "fill_gray@core_random": {1: 5}}
    tables = []
    for condition, answers in said.items():
        order = dict(sorted(answers.items(), reverse=True))  # a file need not be in the store's order
        rows = list(order)
        labels = store.rows.labels[rows]
        told = from_probabilities([ids[row] for row in rows], sure(order), labels, 2)
        tables.append(to_table(condition, told, {}))
    meta = {"model": {"name": "net <b>", "classes": {"of": classes}}} if outputs else {"model": {"name": "net <b>"}}
    write_tables(path, tables, meta)
    return path


@pytest.fixture
def predicted(library: Library, tmp_path: Path) -> Library:
    """A model that is right but on row 7; noise flips rows 4, 9 and 30, and mends row 7."""
    labels = library.store.rows.labels.tolist()
    clean = [label if row != 7 else (label + 1) % 10 for row, label in enumerate(labels)]
    noised = {4: (labels[4] + 1) % 10, 7: labels[7], 9: (labels[9] + 2) % 10, 12: labels[12], 30: (labels[30] + 1) % 10}
    path = write(tmp_path / "net.parquet", library.store, clean, noised)
    return dataclasses.replace(library, models=[read_model(path, library.store)])


def test_flips_are_those_that_were_right(predicted: Library) -> None:
    (model,) = predicted.models
    assert model.name == "net <b>" and model.corrupted == (NOISED, "fill_gray@core_random")
    found = model.flips(NOISED, predicted.store.rows.labels)
    assert (found.n, found.right, found.lost, found.gained) == (5, 4, (4, 9, 30), 1)
    assert model.said["clean"].at(9) == (int(predicted.store.rows.labels[9]), pytest.approx(0.81))
    assert model.said[NOISED].at(10) is None and model.said[NOISED].at(39) is None


def test_pages_tell_answers_and_flips(predicted: Library, open_client: Callable[[Library], Client]) -> None:
    labels, names = predicted.store.rows.labels, predicted.names
    answers = views.image(predicted, 9, 0)["answers"]
    assert [(a["condition"], a["right"], a["flips"]) for a in answers] == [
        ("clean", True, False),
        ("noise 0.25 on the spurious pixels", False, True),
    ]
    assert answers[1]["answer"] == names[(labels[9] + 2) % 10]
    client = open_client(predicted)
    page = client.get("/flips/0/0").text
    assert "What flips net &lt;b&gt;" in page and "net <b>" not in page
    assert "Of 5 images" in page and "4 were right clean; of these 3 are wrong then. 1 became right" in page
    assert [page.index(f'href="/image/{row}"') for row in (4, 9, 30)] == sorted(
        page.index(f'href="/image/{row}"') for row in (4, 9, 30)
    )
    assert f"then: {names[(labels[4] + 1) % 10]} (0.86)" in page
    assert f"/pictures/{predicted.gallery.stamp}/9/0/spurious-0-256.jpg" in page
    assert "core-0-256" in client.get("/flips/0/1").text and "what flips net &lt;b&gt;" in client.get("/").text
    assert "flips" in client.get("/image/9").text and "flips</b>" not in client.get("/image/12").text
    for path in ("/flips/1/0", "/flips/0/9", "/flips/0/0?page=2", "/flips/-1/0"):
        assert client.get(path).status in (400, 404)


def test_answers_outside_the_store_are_called_so(library: Library, tmp_path: Path) -> None:
    labels = library.store.rows.labels.tolist()
    path = write(tmp_path / "wide.parquet", library.store, labels, {3: 812}, outputs=1000)
    models = [read_model(path, library.store)]
    answers = views.image(dataclasses.replace(library, models=models), 3, 0)["answers"]
    assert answers[1]["answer"] == "output 812, no class of the store" and answers[1]["flips"]


def test_files_that_do_not_fit(library: Library, tmp_path: Path) -> None:
    store, ids = library.store, ["nobody/1"]
    told = from_probabilities(ids, np.full((1, 10), 0.1, dtype=np.float32), np.zeros(1, dtype=int), None)
    write_tables(tmp_path / "a.parquet", [to_table("clean", told, {})], {})
    with pytest.raises(SalientError, match="1 images are not in the store.*got nobody/1"):
        read_model(tmp_path / "a.parquet", store)
    write_tables(tmp_path / "b.parquet", [to_table(NOISED, told, {})], {})
    with pytest.raises(SalientError, match="no clean answers"):
        read_model(tmp_path / "b.parquet", store)
    (tmp_path / "c.parquet").write_text("no")
    with pytest.raises(SalientError, match="not a predictions file"):
        read_model(tmp_path / "c.parquet", store)


def test_whose_mask_a_condition_noises() -> None:
    for region, kind in (("spurious_other", "spurious"), ("not_core_dilated15", "core"), ("background", "core")):
        assert kind_of(f"noise_0.25@{region}") == kind
    assert kind_of("noise_0.25@rank_3") is None


def test_conditions_in_words() -> None:
    assert (
        condition_words("noise_0.25#2@core_other") == "noise 0.25 on another image's mask as the core pixels, trial 2"
    )
    assert condition_words("something else") == "something else"


def test_models_are_called_as_short_as_tells_them_apart(store: Store, tmp_path: Path) -> None:
    paths = []
    for number, name in enumerate(("/home/me/robust.safetensors", "/home/me/standard.safetensors")):
        path = write(tmp_path / f"{number}.parquet", store, store.rows.labels.tolist(), {})
        paths.append(renamed(path, name))
    library = open_library(store, predictions=paths)
    assert [model.name for model in library.models] == ["robust.safetensors", "standard.safetensors"]


def renamed(path: Path, name: str) -> Path:
    """The same predictions, of a model with another name."""
    table = pq.read_table(path)
    metadata = {key: value.replace(b"net <b>", name.encode()) for key, value in table.schema.metadata.items()}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path
