"""What a person sees of a store and its loaders at a prompt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import salient_imagenet_data
from salient_imagenet_data import SalientError, Store
from salient_imagenet_data.loaders import NumpyLoader, SalientImageNet
from salient_imagenet_data.looking import show
from salient_imagenet_data.store.describing import by_class, masks


def test_a_store_says_what_it_holds(store: Store, bare_store: Store) -> None:
    core, spurious = (int(store.has(kind).sum()) for kind in ("core", "spurious"))
    first, second = repr(store).splitlines()
    assert first == f"Store({str(store.path)!r}): 40 images, 10 classes, 4 features a class, maps 7 x 7"
    assert second == f"  core masks for {core} classes, spurious masks for {spurious}; split train, version 1.0.0"
    assert "not annotated yet, so no masks" in repr(bare_store)


def test_a_notebook_gets_a_table_of_the_classes(store: Store, bare_store: Store) -> None:
    found = by_class(store)
    labels = store.rows.labels
    assert [c.images for c in found] == [int((labels == c).sum()) for c in range(10)]
    assert [c.core for c in found] == store.kind_table["core"].sum(axis=1).tolist()
    page = store._repr_html_()
    for c in found:
        assert (
            f"<tr><td>{c.name}</td><td>{c.images}</td><td>{c.core or 'none'}</td><td>{c.spurious or 'none'}</td>"
            in page
        )
    assert "<td>?</td>" in bare_store._repr_html_() and masks(bare_store) in bare_store._repr_html_()


def test_loaders_say_what_they_give(store: Store, images: Path) -> None:
    samples = SalientImageNet(store, images)
    assert repr(samples).startswith("SalientImageNet: 40 images with masks, of\nStore(")
    assert repr(NumpyLoader(store, batch_size=16)).startswith("NumpyLoader: 3 batches of 16, 40 masks, of\nStore(")


def test_a_dataset_shows_an_item(store: Store, images: Path) -> None:
    samples = SalientImageNet(store, images)
    mine, theirs = samples.show(7), show(samples[7], store.class_names)
    assert np.array_equal(np.asarray(mine), np.asarray(theirs)) and np.array_equal(samples.show(-1), samples.show(39))


def test_a_notebook_sees_the_loaders_with_the_classes(store: Store, images: Path) -> None:
    for loader in (SalientImageNet(store, images), NumpyLoader(store, batch_size=16)):
        page = loader._repr_html_()
        assert page.startswith(f"<p>{repr(loader).splitlines()[0]}</p>") and page.endswith(store._repr_html_())


def test_a_store_shows_a_row_over_its_photograph(store: Store, images: Path) -> None:
    """By number or id, the photograph as a picture or a file: all as the loader shows it; without one over gray."""
    wanted = np.asarray(SalientImageNet(store, images).show(7))
    image_id = store.rows[7].image_id
    file = images / f"{image_id}.png"
    for row in (7, -33, image_id):
        assert np.array_equal(np.asarray(store.show(row, file)), wanted)
    assert np.array_equal(np.asarray(store.show(7, Image.open(file))), wanted)
    bare = store.show(7)
    assert bare.size == wanted.shape[1::-1] and not np.array_equal(np.asarray(bare), wanted)
    for row, words in (
        ("cat/1", "no image 'cat/1' in the store; expected an id such as"),
        (40, "no row 40 .* 0 to 39"),
    ):
        with pytest.raises(SalientError, match=words):
            store.show(row)
    with pytest.raises(SalientError, match="nowhere.png"):
        store.show(7, images / "nowhere.png")


def test_the_package_lists_its_public_names() -> None:
    listed = dir(salient_imagenet_data)
    assert {"Store", "load_dataset", "show"} <= set(listed) and all(hasattr(salient_imagenet_data, n) for n in listed)
