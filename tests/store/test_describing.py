"""What a person sees of a store and its loaders at a prompt."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import salient_imagenet_data
from salient_imagenet_data import Store
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


def test_the_package_lists_its_public_names() -> None:
    listed = dir(salient_imagenet_data)
    assert {"Store", "load_dataset", "show"} <= set(listed) and all(hasattr(salient_imagenet_data, n) for n in listed)
