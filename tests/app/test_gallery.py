"""Pictures by value, and every address that is not one of them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from salient_imagenet_data.annotation.sheets import seen, top_rows
from salient_imagenet_data.app import gallery as module
from salient_imagenet_data.app.gallery import Gallery, contour, picture_address
from salient_imagenet_data.app.label.desk import Desk
from salient_imagenet_data.geometry import to_crop_frame
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.joining import join
from salient_imagenet_data.masks import dequantise
from salient_imagenet_data.pictures.overlay import NEUTRAL
from salient_imagenet_data.store.reading import Store
from tests.app.conftest import Client, OpenDesk


@pytest.fixture
def pictures(bare_store: Store, images: Path) -> Gallery:
    return Gallery(join(bare_store, FolderSource(images)))


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(float)


def test_a_photograph_is_what_the_network_saw(pictures: Gallery) -> None:
    shown = opened(pictures.jpeg(7, 0, "photo", 0, 256))
    assert shown.shape == (256, 256, 3)
    assert np.abs(shown - seen(pictures.joined, 7, 256)).mean() < 4  # JPEG


def test_a_heat_map_is_purple_where_the_map_is_and_gray_elsewhere(pictures: Gallery) -> None:
    store = pictures.joined.store
    row = int(top_rows(store, 3, 1)[0])
    soft = to_crop_frame(dequantise(store.maps[row, 1]), 256, 256)
    colourful = lambda shown: shown.max(axis=2) - shown.min(axis=2)  # noqa: E731
    shown = colourful(opened(pictures.jpeg(row, 1, "heat", 0, 256)))
    assert np.corrcoef(shown.ravel(), soft.ravel())[0, 1] > 0.6
    cut = colourful(opened(pictures.jpeg(row, 1, "heat", 15, 256)))
    below = soft < 0.7
    assert cut[below].mean() < 10 < cut[soft > 0.8].mean()
    assert shown[below & (soft > 0.3)].mean() > 3 * cut[below & (soft > 0.3)].mean()
    other = opened(pictures.jpeg(row, 2, "heat", 0, 256))
    assert np.abs(other - opened(pictures.jpeg(row, 1, "heat", 0, 256))).mean() > 3  # another feature, another map


def test_a_contour_leaves_the_colours_and_lies_at_the_level() -> None:
    photo = np.full((64, 64, 3), (10, 200, 30), dtype=np.uint8)
    soft = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (64, 1))
    drawn = contour(photo, soft, 0.5)
    columns = np.flatnonzero((drawn == NEUTRAL).all(axis=2).all(axis=0))
    assert columns.tolist() == [31, 32, 33]
    assert (drawn[:, :29] == photo[:, :29]).all() and (drawn[:, 36:] == photo[:, 36:]).all()
    assert (drawn[:, 30] == 255).all() and (drawn[:, 34] == 255).all()


def test_an_image_that_is_missing_or_broken_is_a_tile_that_says_so(
    bare_store: Store, images: Path, tmp_path: Path
) -> None:
    import shutil

    folder = shutil.copytree(images, tmp_path / "images")
    ids = [bare_store.rows[row].image_id for row in (0, 1)]
    (path,) = folder.glob(f"**/{Path(ids[0]).name}.*")
    path.unlink()
    (path,) = folder.glob(f"**/{Path(ids[1]).name}.*")
    path.write_bytes(path.read_bytes()[:60])
    joined = join(bare_store, FolderSource(folder), missing="skip")
    shown = [opened(Gallery(joined).jpeg(row, 0, "heat", 0, 256)) for row in (0, 1, 2)]
    assert shown[0].mean() > 230 and shown[1].mean() > 230 and shown[2].mean() < 200
    assert np.abs(shown[0] - shown[1]).max() > 100  # other words


def test_what_is_kept_has_a_bound(pictures: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 60_000)
    first = pictures.jpeg(0, 0, "photo", 0, 256)
    assert pictures.jpeg(0, 0, "photo", 0, 256) is first
    for row in range(20):
        pictures.jpeg(row, 0, "photo", 0, 256)
        assert sum(map(len, pictures._kept.values())) == pictures._size <= 60_000
    assert pictures.jpeg(0, 0, "photo", 0, 256) == first


def test_addresses(desk: OpenDesk, client: Callable[[Desk], Client]) -> None:
    one = desk()
    server = client(one)
    good = picture_address(one.gallery, 3, 1, "heat", 5, 256)
    reply = server.get(good)
    assert reply.status == 200 and reply.headers["content-type"] == "image/jpeg"
    assert reply.body == one.gallery.jpeg(3, 1, "heat", 5, 256)
    assert reply.headers["cache-control"] == "private, max-age=86400"
    stamp = one.gallery.stamp
    for path in (
        f"/pictures/{'0' * 12}/3/1/heat-5-256.jpg",
        f"/pictures/{stamp}/40/1/heat-5-256.jpg",
        f"/pictures/{stamp}/-1/1/heat-5-256.jpg",
        f"/pictures/{stamp}/{'9' * 30}/1/heat-5-256.jpg",
        f"/pictures/{stamp}/3/4/heat-5-256.jpg",
        f"/pictures/{stamp}/3/1/heat-21-256.jpg",
        f"/pictures/{stamp}/3/1/heat-5-100000.jpg",
        f"/pictures/{stamp}/3/1/passwd-5-256.jpg",
        f"/pictures/{stamp}/../../../../etc/passwd",
        f"/pictures/{stamp}/..%2f..%2f..%2fetc%2fpasswd/1/heat-5-256.jpg",
        "/pictures/../manifest.json",
        "/static/../app.py",
        "/static/..%2f..%2fpages.py",
        "/static/%2e%2e/pages.py",
        "/static//etc/passwd",
        "/static/templates/pair.html",
        "//etc/passwd",
    ):
        reply = server.get(path)
        assert reply.status == 404 and b"root:" not in reply.body, path
    for name in ("app.js", "app.css", "base.css", "htmx.min.js", "htmx.LICENSE.txt", "icon.svg"):
        assert server.get(f"/static/{name}").status == 200
    assert b"Zero-Clause BSD" in server.get("/static/htmx.LICENSE.txt").body
