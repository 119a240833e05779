"""Another store beside the one that is looked into: rows by id, classes by name, agreement by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from salient_imagenet_data.app.explore import views
from salient_imagenet_data.app.explore.library import Library
from salient_imagenet_data.app.explore.opening import open_library
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import to_crop_frame
from salient_imagenet_data.masks import dequantise
from salient_imagenet_data.names import OFFICIAL_RELEASE
from salient_imagenet_data.store.manifest import write_manifest
from salient_imagenet_data.store.reading import Store
from tests.app.conftest import Client
from tests.app.explore.conftest import with_features
from tests.hub.stores import CLASSES, make_store


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Store, Store]:
    """Two stores of eight images each, six of them in both; the second counts its classes and ranks the other way
    round."""
    ids = [f"{CLASSES[n % 4]}/{n}" for n in range(10)]
    own = make_store(tmp_path / "own", ids[:8], [n % 4 for n in range(8)])
    order = [9, 8, 7, 6, 5, 4, 3, 2]
    other = make_store(tmp_path / "other", [ids[n] for n in order], [3 - n % 4 for n in order], CLASSES[::-1], seed=7)
    return own, with_features(other, lambda f: replace(f, feature_index=10 * CLASSES.index(f.class_name) + 6 - f.rank))


@pytest.fixture
def both(stores: tuple[Store, Store]) -> Library:
    return open_library(stores[0], other=stores[1], name="own")


def soft(store: Store, row: int, slot: int) -> np.ndarray:
    size = store.manifest.preprocessing.crop
    return to_crop_frame(dequantise(store.maps[row, slot]), size, size)


def test_rows_go_by_id_and_classes_by_name(both: Library) -> None:
    assert both.beside is not None
    assert [both.beside.row_of(row) for row in range(8)] == [None, None, 7, 6, 5, 4, 3, 2]
    theirs = both.beside.features_of(0)
    assert {f.class_name for f in theirs} == {CLASSES[0]} and [f.rank for f in theirs] == [1, 2, 3, 4, 5]


def test_agreement_is_that_of_the_two_maps(both: Library, stores: tuple[Store, Store]) -> None:
    own, other = stores
    values = views.image(both, 2, 0)
    assert values["other"] == 7
    there = {f.feature_index: f.slot for f in other.features if f.class_name == CLASSES[2]}
    for one in values["maps"]:
        feature = one["feature"]
        a, b = soft(own, 2, feature.slot), soft(other, 7, there[feature.feature_index])
        agreed = one["numbers"].agreed
        assert agreed.iou == pytest.approx(((a >= 0.5) & (b >= 0.5)).sum() / ((a >= 0.5) | (b >= 0.5)).sum())
        assert agreed.correlation == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1], abs=1e-5)
    for kind in ("core", "spurious"):
        a, b = own.mask(2, kind), other.mask(7, kind)
        told = values["masks"][kind].agreed if values["masks"][kind] else None
        if a is None or b is None:
            assert told is None
        else:
            assert told.iou == pytest.approx(((a >= 0.5) & (b >= 0.5)).sum() / ((a >= 0.5) | (b >= 0.5)).sum())
    assert views.image(both, 0, 0)["other"] is None


def test_features_of_other_networks_are_not_held_against_each_other(stores: tuple[Store, Store]) -> None:
    own, other = stores
    write_manifest(other.path, replace(other.manifest, weights_sha256="f" * 64))
    library = open_library(own, other=Store(other.path))
    assert library.beside is not None and not library.beside.same_network
    values = views.image(library, 2, 0)
    assert all(one["numbers"].agreed is None for one in values["maps"])
    assert values["masks"]["spurious"].agreed is not None


def test_a_release_knows_its_top_images_only(stores: tuple[Store, Store]) -> None:
    own, other = stores
    origin = {"kind": OFFICIAL_RELEASE}
    write_manifest(other.path, replace(other.manifest, weights_sha256="unknown", origin=origin))
    released = Store(other.path)
    released.rows.in_top[7] = [True, False, False, False, False]
    library = open_library(own, other=released)
    assert library.beside is not None and library.beside.same_network
    known = [one["numbers"].agreed is not None for one in views.image(library, 2, 0)["maps"]]
    assert known == [False] * 4 + [True]  # its rank 1 is our rank 5


def test_pages_show_both(both: Library, open_client: Callable[[Library], Client]) -> None:
    assert both.beside is not None
    client = open_client(both)
    page = client.get("/image/2").text
    assert f"In {both.beside.place}" in page and "IoU with the other" in page
    for gallery, row in ((both.gallery, 2), (both.beside.gallery, 7)):
        address = f"/pictures/{gallery.stamp}/{row}/0/feature-0-256.jpg"
        assert address in page and client.get(address).status == 200
    assert "This image is not there" in client.get("/image/0").text
    assert "kind there" in client.get("/class/1").text


def test_stores_that_have_nothing_in_common(stores: tuple[Store, Store], tmp_path: Path) -> None:
    strange = make_store(tmp_path / "strange", ["x/1"], [0], ("x", "y", "z", "w"))
    with pytest.raises(SalientError, match="no class in common"):
        open_library(stores[0], other=strange)
    smaller = replace(stores[1].manifest.preprocessing, resize=32)
    write_manifest(stores[1].path, replace(stores[1].manifest, preprocessing=smaller))
    with pytest.raises(SalientError, match="cover another part of an image"):
        open_library(stores[0], other=Store(stores[1].path))
