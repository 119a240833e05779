"""People's boxes on the pages: places, numbers and the order, by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from salient_imagenet_data.app.explore import views
from salient_imagenet_data.app.explore.library import Library
from salient_imagenet_data.app.explore.opening import open_library
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.localisation.localise import doubtful_first, localise
from salient_imagenet_data.evaluation.localisation.truth import read_truth
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.store.reading import Store
from tests.app.conftest import Client


@pytest.fixture
def boxes(store: Store, tmp_path: Path) -> Path:
    """Of the first three of four rows of a class, the upper left quarter of the crop."""
    lines = ["image,left,top,right,bottom,class"]
    for row in range(len(store)):
        record = store.rows[row]
        if row % 4 < 3:
            box, name = record.box, store.class_names[record.label]
            corner = (box.left, box.top, box.left + box.width / 2, box.top + box.height / 2)
            lines.append(",".join((record.image_id, *map(str, corner), name)))
            lines.append(f"{record.image_id},30,30,50,50,another class")
    path = tmp_path / "boxes.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def boxed(store: Store, images: Path, boxes: Path) -> Library:
    return open_library(store, FolderSource(images), boxes=boxes, name="scenes")


def test_a_box_is_drawn_where_the_crop_shows_it(boxed: Library) -> None:
    assert boxed.boxes is not None
    (one,) = boxed.boxes.drawn(5)
    assert (one.left, one.top, one.width, one.height) == pytest.approx((0, 0, 500, 500))
    assert boxed.boxes.drawn(7) == [] and boxed.boxes.region(7) is None


def test_numbers_of_an_image_are_the_share_inside(boxed: Library) -> None:
    store = boxed.store
    values = views.image(boxed, 5, 0)
    half = store.manifest.preprocessing.crop // 2
    for kind in ("core", "spurious"):
        mask, told = store.mask(5, kind), values["masks"][kind]
        if mask is not None:
            mass = mask[:half, :half].sum() / mask.sum()
            assert told.inside.mass == pytest.approx(mass, rel=1e-5)
            assert told.inside.lift == pytest.approx(mass / 0.25, rel=1e-5)
    assert views.image(boxed, 7, 0)["maps"][0]["numbers"].inside is None


def test_pages(boxed: Library, boxes: Path, open_client: Callable[[Library], Client]) -> None:
    found = localise(boxed.store, read_truth(boxes))
    client = open_client(boxed)
    page = client.get("/boxes").text
    order = list(doubtful_first(found))[:20]
    places = [page.index(f'href="/feature/{c}/{f}"') for c, f in order]
    assert places == sorted(places) and "30 images with boxes" in page
    assert next(iter(doubtful_first(found).values())).removeprefix("lift ") in page
    assert client.get("/boxes?page=2").status == 200 and client.get("/boxes?page=3").status == 400
    image = client.get("/image/5").text
    assert '<rect x="0.0" y="0.0" width="500.0" height="500.0"/>' in image and "inside the boxes" in image
    assert "<rect" not in client.get("/image/7").text
    feature = next(f for f in found.features if f.figures.own)
    assert feature.figures.own is not None
    assert f"lift in people's boxes {feature.figures.own.lift.words}" in client.get(
        f"/class/{feature.class_index}"
    ).text.replace("&#39;", "'")


def test_without_boxes_there_is_no_such_page(library: Library, open_client: Callable[[Library], Client]) -> None:
    client = open_client(library)
    assert client.get("/boxes").status == 400 and "/boxes" not in client.get("/").text


def test_boxes_of_other_images_are_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("image,left,top,right,bottom\nnobody/1,0,0,1,1\n")
    with pytest.raises(SalientError, match="has boxes"):
        open_library(store, boxes=tmp_path / "b.csv")


def test_outlines_give_numbers_and_no_box(store: Store, images: Path, tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "masks"
    for row in range(8):
        record = store.rows[row]
        outline = np.zeros((record.height, record.width), dtype=np.uint8)
        outline[:, : record.width // 2] = 255
        path = folder / f"{record.image_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(outline).save(path)
    library = open_library(store, FolderSource(images), boxes=folder)
    assert library.boxes is not None and library.boxes.drawn(2) == []
    assert views.image(library, 2, 0)["maps"][0]["numbers"].inside is not None
