"""The pages as a client sees them: links that lead somewhere, markup that is text, addresses that are not ours."""

from __future__ import annotations

import html
import io
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from salient_imagenet_data.app.explore.library import Library
from salient_imagenet_data.app.explore.opening import open_library
from salient_imagenet_data.app.gallery import Gallery
from salient_imagenet_data.geometry import to_crop_frame
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.masks import dequantise
from salient_imagenet_data.pictures.overlay import COLOURS
from salient_imagenet_data.store.reading import Store
from tests.app.conftest import Client
from tests.app.explore.conftest import HTML, with_features
from tests.hub.stores import make_store

Open = Callable[[Library], Client]


def links(page: str) -> set[str]:
    """Addresses in a page."""
    return {html.unescape(found) for found in re.findall(r'(?:href|src)="([^"]+)"', page)} - {"#page"}


def test_every_link_from_the_first_page_on_leads_somewhere(library: Library, open_client: Open) -> None:
    client = open_client(library)
    seen: set[str] = set()
    left = ["/"]
    kinds: dict[str, int] = {}
    while left:
        path = left.pop()
        kind = path.split("/")[1].split("?")[0]
        kinds[kind] = kinds.get(kind, 0) + 1
        if path in seen or kinds[kind] > 25:
            continue
        seen.add(path)
        reply = client.get(path)
        assert reply.status == 200, path
        if reply.headers["content-type"].startswith("text/html"):
            assert "style=" not in reply.text and "onclick" not in reply.text  # the policy would stop them
            found = links(reply.text)
            assert all(link.startswith("/") for link in found), found
            left += sorted(found - seen)
    assert {"", "class", "feature", "image", "pictures", "search", "static"} <= set(kinds)


def test_a_page_of_a_class_says_what_people_said(library: Library, open_client: Open) -> None:
    page = open_client(library).get("/class/5").text
    assert "<h1>" + library.names[5] in page and page.count("<q>because, of this</q>") == 4
    assert "votes: 0 object, 5 another object, 0 background" in page
    assert page.count('class="feature"') == 4


def test_features_are_called_in_peoples_words(tmp_path: Path, open_client: Open) -> None:
    made = make_store(tmp_path / "store", ["bar/0", "cross/1"], [0, 1])
    library = open_library(with_features(made, lambda f: replace(f, reasons=("snow and trees",))))
    client, pair = open_client(library), library.features[0][2]
    assert pair.name == "snow, trees"
    for path in ("/class/0", f"/feature/0/{pair.feature_index}", "/image/0", "/search"):
        assert f"feature {pair.feature_index}: snow, trees" in client.get(path).text, path


def test_search_is_an_address(library: Library, open_client: Open) -> None:
    client = open_client(library)
    page = client.get("/search?q=disk&kind=spurious").text
    disk = library.names.index("disk")
    found = set(re.findall(r'href="/feature/(\d+)/(\d+)"', page))
    wanted = {(str(f.class_index), str(f.feature_index)) for f in library.features[disk] if f.kind == "spurious"}
    assert found == wanted and 'value="disk"' in page and '<option value="spurious" selected>' in page
    assert "40 features" in client.get("/search").text
    assert "nothing has all of these words" in client.get("/search?q=unicorn").text
    second = client.get("/search?page=2").text
    assert "page 2 of 2" in second and 'href="/search"' in second
    assert client.get("/search?page=3").status == 400


def test_an_image_is_found_by_its_id(library: Library, open_client: Open) -> None:
    client = open_client(library)
    reply = client.get("/find?id=" + quote(library.id_of(17)))
    assert (reply.status, reply.headers["location"]) == (303, "/image/17")
    assert library.id_of(17) in client.get("/image/17").text
    assert client.get("/find?id=" + quote("../../etc/passwd")).status == 400


def test_a_threshold_is_part_of_the_address(library: Library, open_client: Open) -> None:
    client = open_client(library)
    page = client.get("/image/17?step=7").text
    assert "Numbers at threshold 0.35" in page and "/0/core-7-256.jpg" in page and "/0/photo-0-256.jpg" in page
    for wrong in ("21", "-1", "x", "1e3", "9" * 30, "²"):
        assert client.get(f"/image/17?step={quote(wrong)}").status == 400


def test_markup_in_names_ids_and_reasons_is_text(hostile: Store, open_client: Open) -> None:
    library = open_library(hostile, name="<i>store</i>")
    client = open_client(library)
    pair = library.features[0][0]
    for path in (
        "/",
        "/class/0",
        "/class/1",
        f"/feature/0/{pair.feature_index}",
        "/image/0",
        "/search?q=" + quote(HTML.split()[0]),
        "/search?q=" + quote('"><script>alert(3)</script>'),
        "/find?id=" + quote(HTML),
        "/feature/0/1?view=" + quote(HTML),
    ):
        reply = client.get(path)
        shown = reply.text
        assert reply.status in (200, 400)
        for bad in ("<script>alert", "<img src=x", "<b>cross", "<i>store", "<i>grass"):
            assert bad not in shown, path
        assert "unsafe" not in reply.headers["content-security-policy"]
    assert (
        html.escape(HTML, quote=True).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
        in client.get("/class/0").text
    )


@pytest.mark.parametrize(
    "path",
    [
        "/class/99",
        "/class/-1",
        f"/class/{'9' * 40}",
        "/class/..%2f..%2fetc%2fpasswd",
        "/feature/0/999999",
        "/image/40",
        f"/image/{'9' * 40}",
        "/image/../../etc/passwd",
        "/image/..%2f..%2fetc%2fpasswd",
        "/search?kind=god",
        "/search?q=" + "x" * 201,
        "/search?page=0",
        "/explore/frame.html",
        "/templates/explore/frame.html",
        "/static/explore%2fframe.html",
    ],
)
def test_what_is_no_page(path: str, library: Library, open_client: Open) -> None:
    reply = open_client(library).get(path)
    assert reply.status in (400, 404) and b"root:" not in reply.body and b"Traceback" not in reply.body


def test_nothing_is_written(library: Library, open_client: Open) -> None:
    client = open_client(library)
    for path in ("/", "/search", "/image/3", "/class/0"):
        assert client.post(path, {"a": "b"}).status == 405


def picture(gallery: Gallery, row: int, slot: int, drawing: str, step: int = 0) -> np.ndarray:
    data = gallery.jpeg(row, slot, drawing, step, 256)  # type: ignore[arg-type]
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(float)


def test_masks_have_the_colours_of_look_and_maps_those_of_their_kind(library: Library) -> None:
    """Away from gray, pixels lie in the direction of the colour, as strongly as the mask."""
    store, gallery = library.store, library.gallery
    row = int(library.rows_of(5)[0])
    for drawing, slot, kind in (
        ("core", 0, "core"),
        ("spurious", 0, "spurious"),
        ("feature", 0, "core"),
        ("feature", 1, "spurious"),
    ):
        shown = picture(gallery, row, slot, drawing)
        mask = store.mask(row, kind) if drawing == kind else to_crop_frame(dequantise(store.maps[row, slot]), 56, 56)  # type: ignore[arg-type]
        assert mask is not None
        soft = np.asarray(Image.fromarray(mask).resize((256, 256), Image.Resampling.BILINEAR))
        r, g, b = COLOURS[kind]  # type: ignore[index]
        axis = np.array([r, g, b], dtype=float) - np.mean([r, g, b])
        along = (shown - shown.mean(axis=2, keepdims=True)) @ axis / np.linalg.norm(axis)
        assert np.corrcoef(along.ravel(), soft.ravel())[0, 1] > 0.85, (drawing, slot)
    assert np.abs(picture(gallery, row, 0, "core", 15) - picture(gallery, row, 0, "core")).max() > 40


def test_without_photographs_maps_lie_on_white(store: Store, open_client: Open) -> None:
    library = open_library(store)
    row = int(library.rows_of(5)[0])
    soft = to_crop_frame(dequantise(store.maps[row, 0]), 256, 256)
    shown = picture(library.gallery, row, 0, "feature")
    assert (shown[soft < 0.02] > 240).all()
    darkness = 255 - shown[..., 0]  # blue has no red
    assert np.corrcoef(darkness.ravel(), soft.ravel())[0, 1] > 0.95
    assert picture(library.gallery, row, 0, "photo").mean() > 230
    line = picture(library.gallery, row, 0, "outline", 10)
    assert (line[soft < 0.3] > 240).all() and line.min() < 60
    client = open_client(library)
    page = client.get("/image/3").text
    assert "photo-0-256" not in page and "maps without photographs" in page
    assert "No photographs were given" in client.get("/").text


def until(client: Client, words: str, there: bool) -> str:
    """The page of an image, once words are on it, or no longer."""
    for _ in range(500):
        page = client.get("/image/3").text
        if (words in page) == there:
            return page
        time.sleep(0.01)
    raise AssertionError(words)


def test_the_first_page_does_not_wait_for_the_images(
    store: Store, bare_store: Store, images: Path, open_client: Open
) -> None:
    go = threading.Event()

    def slow() -> FolderSource:
        assert go.wait(20)
        return FolderSource(images)

    library = open_library(store, slow, other=bare_store)
    client = open_client(library)
    first = client.get("/image/3").text
    assert "photographs are being looked for" in first and "photo-0-256" not in first
    alone = next(link for link in links(first) if "/feature-0-256" in link)
    go.set()
    page = until(client, "being looked for", False)
    assert f"/pictures/{library.gallery.stamp}/3/0/photo-0-256.jpg" in page and library.gallery.stamp not in first
    assert library.beside is not None and len(library.beside.gallery.joined) == 40
    shown = next(link for link in links(page) if "/photo-0-256" in link)
    assert client.get(shown).status == 200 and client.get(alone).status == 200  # of a page that is open still


def test_images_that_cannot_be_found_later_are_told_on_the_pages(
    store: Store, tmp_path: Path, open_client: Open
) -> None:
    client = open_client(open_library(store, lambda: FolderSource(tmp_path / "<b>nowhere")))
    page = until(client, "The photographs cannot be shown", True)
    assert "no such folder" in page and "<b>nowhere" not in page and "&lt;b&gt;nowhere" in page


def test_pictures_of_kinds_that_are_not_known(bare_store: Store, open_client: Open) -> None:
    library = open_library(bare_store)
    client = open_client(library)
    stamp = library.gallery.stamp
    assert client.get(f"/pictures/{stamp}/3/0/core-0-256.jpg").status == 404
    assert client.get(f"/pictures/{stamp}/3/0/feature-0-256.jpg").status == 200
    assert "core-0-256" not in client.get("/image/3").text
    assert "without answers" in client.get("/class/0").text


def test_pictures_of_other_kinds_have_other_addresses(store: Store, bare_store: Store, images: Path) -> None:
    """A browser keeps a picture for a day; applied answers change its colour."""
    assert Gallery(open_library(store).gallery.joined).stamp != Gallery(open_library(bare_store).gallery.joined).stamp
