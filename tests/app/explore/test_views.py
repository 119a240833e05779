"""What pages show, held against arrays of the store by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from salient_imagenet_data.app.explore import views
from salient_imagenet_data.app.explore.library import Library
from salient_imagenet_data.app.explore.one_image import MapNumbers
from salient_imagenet_data.app.explore.opening import open_library
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.store.reading import Store
from tests.hub.stores import make_store


def test_home_counts(library: Library) -> None:
    values = views.home(library)
    assert values["kinds"] == {"core": 20 - 0, "spurious": 20, "open": 0}
    first, second = values["classes"][:2]
    assert (first["name"], first["images"], first["core"], first["spurious"]) == (library.names[0], 4, 4, 0)
    assert (second["core"], second["spurious"]) == (0, 4)


def test_a_class_has_its_features_and_their_highest_images(library: Library) -> None:
    store = library.store
    values = views.of_class(library, 5)
    assert [one["feature"].rank for one in values["features"]] == [1, 2, 3, 4]
    assert [one["kind"] for one in values["features"]] == ["core", "spurious", "core", "spurious"]
    assert [one["cue"] for one in values["features"]] == ["", "background", "", "separate object"]
    for one in values["features"]:
        mine = [row for row in range(len(store)) if store.rows.labels[row] == 5]
        mine.sort(key=lambda row: (-store.activations[row, one["feature"].slot], row))
        assert [tile["row"] for tile in one["tiles"]] == mine[: views.SHOWN]
        assert one["votes"] == (
            (5, 0, 0) if one["kind"] == "core" else (0, 0, 5) if one["cue"] == "background" else (0, 5, 0)
        )


def test_the_ends_are_the_mean_z_scores_of_spurious_features(library: Library) -> None:
    store = library.store
    ends = views.of_class(library, 5)["ends"]
    rows = np.flatnonzero(store.rows.labels == 5)
    slots = [f.slot for f in store.features if f.class_index == 5 and f.kind == "spurious"]
    values = store.activations[rows][:, slots].astype(float)
    spread = values.std(axis=0)
    scores = ((values - values.mean(axis=0)) / np.where(spread > 0, spread, 1)).mean(axis=1)
    order = rows[np.argsort(scores, kind="stable")]
    assert [row for row, _ in ends.least] == order[:2].tolist()  # of four images, two at either end
    assert [row for row, _ in ends.most] == order[:-3:-1].tolist()
    assert ends.most[0][1] == pytest.approx(scores.max()) and ends.least[0][1] == pytest.approx(scores.min())
    assert views.of_class(library, 0)["ends"] is None  # no spurious feature


def test_an_image_has_numbers_of_every_map_at_the_threshold(library: Library) -> None:
    store, row = library.store, 23
    label = int(store.rows.labels[row])
    for step in (0, 8):
        values = views.image(library, row, step)
        for kind in ("core", "spurious"):
            mask, told = store.mask(row, kind), values["masks"][kind]
            assert (mask is None) == (told is None)
            if mask is not None:
                expected = (mask >= 0.4).mean() if step else (mask > 0).mean()
                assert told.area == pytest.approx(expected) and told.mean == pytest.approx(mask.mean(), abs=1e-6)
        for one in values["maps"]:
            numbers, slot = one["numbers"], one["feature"].slot
            assert isinstance(numbers, MapNumbers)
            assert numbers.activation == pytest.approx(float(store.activations[row, slot]))
            assert numbers.peak == pytest.approx(float(store.peaks[row, slot]))
            rivals = store.activations[np.flatnonzero(store.rows.labels == label), slot]
            assert numbers.rank == 1 + int((rivals > store.activations[row, slot]).sum())
            assert numbers.inside is None and numbers.agreed is None
    core, spurious = store.mask(row, "core"), store.mask(row, "spurious")
    assert core is not None and spurious is not None
    both = ((core >= 0.4) & (spurious >= 0.4)).sum() / ((core >= 0.4) | (spurious >= 0.4)).sum()
    assert values["both"] == pytest.approx(both)
    assert (values["before"], values["after"]) == _neighbours(store, row)


def _neighbours(store: Store, row: int) -> tuple[int | None, int | None]:
    mine = np.flatnonzero(store.rows.labels == store.rows.labels[row]).tolist()
    at = mine.index(row)
    return (mine[at - 1] if at else None, mine[at + 1] if at + 1 < len(mine) else None)


def test_the_place_by_spuriosity_counts_from_the_most(library: Library) -> None:
    rows, _ = library.spuriosity_of(5) or ([], [])
    told = [views.image(library, int(row), 0)["spuriosity"][1] for row in rows]
    assert told == [4, 3, 2, 1]
    assert views.image(library, int(library.rows_of(0)[0]), 0)["spuriosity"] is None


def test_a_gallery_has_pages(tmp_path: Path) -> None:
    made = make_store(tmp_path / "store", [f"bar/{i}" for i in range(50)], [0] * 50)
    library = open_library(made)
    number = library.features[0][1].feature_index
    seen = []
    for page in (1, 2, 3):
        values = views.feature(library, 0, number, page, "", None)
        assert values["pages"].last == 3 and values["tiles"][0]["rank"] == 20 * (page - 1) + 1
        seen += [tile["row"] for tile in values["tiles"]]
    assert seen == np.argsort(-made.activations[:, 1], kind="stable").tolist()
    assert values["views"] == {"": "heat map over it", "contour": "contour"}  # no photographs here
    for page in (0, 4):
        with pytest.raises(SalientError, match="no such page"):
            views.feature(library, 0, number, page, "", None)
    with pytest.raises(SalientError, match="no such view"):
        views.feature(library, 0, number, 1, "<b>", None)


def test_what_a_release_does_not_know_is_told(tmp_path: Path) -> None:
    made = make_store(tmp_path / "store", ["bar/0", "bar/1"], [0, 0])
    made.activations[:] = np.nan
    made.peaks[:] = np.nan
    library = open_library(made)
    (first, *_) = views.image(library, 0, 0)["maps"]
    assert (first["numbers"].activation, first["numbers"].rank, first["numbers"].peak) == (None, None, None)
    assert views.of_class(library, 0)["features"][0]["tiles"][0] == {"row": 0, "activation": "not known"}
    assert views.of_class(library, 0)["ends"] is None


def test_a_store_without_answers(bare_store: Store, images: Path) -> None:
    library = open_library(bare_store, FolderSource(images))
    values = views.image(library, 3, 0)
    assert values["masks"] == {} and values["both"] is None and values["maps"][0]["kind"] == "open"
    assert views.home(library)["kinds"] == {"core": 0, "spurious": 0, "open": 40}
    assert views.of_class(library, 3)["ends"] is None
