"""Which classes a report shows as those that lose most, and which pixels are purple there."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from salient_imagenet_data.evaluation.report.examples import data_uri, largest_drops, with_images
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.images.memory import MemorySource
from salient_imagenet_data.joining import join
from salient_imagenet_data.masks import union_in_crop
from salient_imagenet_data.pictures.overlay import NEUTRAL, tint
from salient_imagenet_data.store.reading import Store
from tests.evaluation.results import condition, model, of_class


def test_a_class_is_listed_once_a_region_where_it_loses_most_and_never_where_it_gains() -> None:
    first = condition("noise_0.25@core", 0.4, of_class(7, 0.9, 0.5), of_class(1, 0.9, 0.9), of_class(2, 0.5, 0.9))
    second = condition("noise_0.5@core", 0.4, of_class(7, 0.9, 0.2), of_class(1, 0.9, 0.8), of_class(3, 0.9, 0.9))
    third = condition("noise_1@core", 0.4, of_class(7, 0.9, 0.2))  # no more than under the second
    fourth = condition("fill_gray@core", 0.4, of_class(7, 0.9, 0.7))
    other = condition("fill_gray@spurious", 0.4, of_class(7, 0.9, 0.6), of_class(0, 0.9, 0.7))
    found = largest_drops(model("a", conditions=(first, second, third, fourth, other)))
    assert [(e.condition, e.region, e.of.class_index) for e in found] == [
        ("noise_0.5@core", "core", 7),
        ("fill_gray@spurious", "spurious", 7),
        ("fill_gray@spurious", "spurious", 0),
        ("noise_0.5@core", "core", 1),
    ]
    assert [e.what for e in found][:2] == ["noise 0.5 on the core pixels", "fill gray on the spurious pixels"]
    assert all(e.images == () for e in found)


def test_of_equal_losses_the_class_with_more_images_goes_first_then_the_lower_number_then_the_region() -> None:
    rows = [of_class(k, 1.0, 0.5, n) for k, n in ((5, 10), (4, 10), (3, 20), (2, 5), (1, 5), (0, 4), (9, 3), (8, 2))]
    names = ("noise_0.5@spurious", "noise_0.5@core")
    one = model("a", conditions=tuple(condition(name, 0.4, *rows) for name in names))
    found = [(e.of.class_index, e.region) for e in largest_drops(one)]
    assert found == [(k, region) for k in (3, 4, 5) for region in ("core", "spurious")]
    assert [e.of.class_index for e in largest_drops(one, 7)] == [3, 3, 4, 4, 5, 5, 1]


def test_pictures_are_of_the_class_and_purple_where_its_pixels_were_corrupted(store: Store, images: Path) -> None:
    drops = largest_drops(model("a", conditions=(condition("noise_0.5@spurious", 0.4, of_class(3, 1.0, 0.5)),)))
    joined = join(store, FolderSource(images))
    (found,) = with_images(drops, store, FolderSource(images))
    rows = [
        r for r in np.flatnonzero(store.rows.labels == 3) if store.rows.in_top[r][store.kind_table["spurious"][3]].any()
    ]
    assert 0 < len(found.images) == min(3, len(rows))
    for row, (photo, over) in zip(rows, found.images, strict=False):
        (item,) = np.flatnonzero(joined.rows == row)
        crop = joined.crop(int(item))
        chosen = store.kind_table["spurious"][3] & store.rows.in_top[row]
        mask = union_in_crop(store.maps[row], chosen, *crop.shape[:2])
        assert photo == data_uri(crop) and over == data_uri(tint(crop, mask, NEUTRAL))
    assert len(with_images(drops, store, FolderSource(images), count=1)[0].images) == 1
    # Without the first image of them, the next ones are shown.
    left = [r for r in range(len(store)) if r != rows[0]]
    at_hand = MemorySource(
        np.stack([joined.image(int(r)) for r in left]),
        [int(store.rows.labels[r]) for r in left],
        list(store.class_names),
        image_ids=[store.rows[r].image_id for r in left],
    )
    (fewer,) = with_images(drops, store, at_hand)
    assert [photo for photo, _ in fewer.images] == [photo for photo, _ in found.images[1:]]


def test_three_pictures_of_a_class_are_shown(store: Store, images: Path) -> None:
    drops = largest_drops(model("a", conditions=(condition("noise_0.5@foreground", 0.4, of_class(3, 1.0, 0.5)),)))
    assert (store.rows.labels == 3).sum() == 4
    assert len(with_images(drops, store, FolderSource(images))[0].images) == 3


def test_a_region_that_the_store_lacks_has_no_pictures(store: Store, images: Path) -> None:
    drops = largest_drops(model("a", conditions=(condition("noise_0.5@elsewhere", 0.4, of_class(3, 1.0, 0.5)),)))
    assert with_images(drops, store, FolderSource(images)) == drops


def read(uri: str) -> np.ndarray:
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_small_crops_are_shown_in_sharp_pixels_and_large_ones_are_smoothed() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (113, 113, 3), dtype=np.uint8)
    for side, filter_ in (
        (56, Image.Resampling.NEAREST),
        (111, Image.Resampling.NEAREST),
        (112, None),
        (113, Image.Resampling.BILINEAR),
    ):
        own = pixels[:side, :side]
        want = own if filter_ is None else np.asarray(Image.fromarray(own).resize((112, 112), filter_))
        assert np.array_equal(read(data_uri(own)), want)
