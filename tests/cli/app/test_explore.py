"""`explore` in this process: what its lines and pages say by its options."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from salient_imagenet_data.store.reading import Store
from tests.app.conftest import Client
from tests.cli.app.conftest import Served
from tests.conftest import Run
from tests.hub.stores import make_store, write_images


def image_6(client: Client) -> str:
    """The page of an image that is not there."""
    return client.get("/image/6").text


@pytest.fixture
def lacking(store: Store, images: Path, tmp_path: Path) -> Path:
    """The images without one."""
    folder = Path(shutil.copytree(images, tmp_path / "images"))
    (path,) = folder.glob(f"{store.rows[6].image_id}.*")
    path.unlink()
    return folder


def test_missing_images_are_counted_before_the_first_page(
    served: Served, opened: list[str], store: Store, lacking: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("salient_imagenet_data.cli.app.explore.MANY", 40)
    page, out, err = served(image_6, "explore", store.path, "--images", lacking, "--no-browser")
    assert (out, err) == ("", "1 of 40 images are not there; their maps are shown alone\n")
    assert "1 of them without their photograph" in page and str(store.path) in page and opened == []


def test_many_images_are_looked_for_behind_the_first_page(
    served: Served, opened: list[str], store: Store, lacking: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("salient_imagenet_data.cli.app.explore.MANY", 39)

    def wait(client: Client) -> str:
        while "being looked for" in (page := image_6(client)) or not opened:
            time.sleep(0.02)
        return page

    page, out, err = served(wait, "explore", store.path, "--images", lacking)
    assert (out, err) == ("", "") and "1 of them without their photograph" in page
    assert len(opened) == 1


def test_a_site_of_many_images_knows_which_are_missing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("salient_imagenet_data.cli.app.explore.MANY", 3)
    ids = ["bar/0", "cross/0", "ring/0", "star/0"]
    make_store(tmp_path / "store", ids, [0, 1, 2, 3])
    images, site = write_images(tmp_path / "images", ids[1:]), tmp_path / "site"
    code, out, err = run("explore", tmp_path / "store", "--images", images, "--static", site)
    assert code == 0 and err.splitlines() == [
        "1 of 4 images are not there; their maps are shown alone",
        "photographs are among the pictures: share them only where you may, or write with --no-photographs",
    ]
    size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    assert out.startswith(f"wrote {site}: ") and out.endswith(f" pictures, {size / 1e6:.1f} MB\n")
