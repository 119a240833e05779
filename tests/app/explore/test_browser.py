"""The pages in a real browser: wide and narrow, light and dark, with a keyboard, without scripts, from files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from salient_imagenet_data.app.explore.library import Library
from salient_imagenet_data.app.explore.opening import open_library
from salient_imagenet_data.app.explore.predicted import read_model
from salient_imagenet_data.app.explore.writing import write_site
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.store.reading import Store
from tests.app.conftest import Client
from tests.app.explore.test_predicted import write
from tests.app.label.test_browser import chromium as chromium

Open = Callable[[Library], Client]


@pytest.fixture
def full(store: Store, bare_store: Store, images: Path, tmp_path: Path) -> Library:
    """A library with all that can stand beside a store."""
    record = store.rows[5]
    left, top = record.box.left, record.box.top
    boxes = tmp_path / "boxes.csv"
    boxes.write_text(f"image,left,top,right,bottom\n{record.image_id},{left + 9},{top + 9},{left + 40},{top + 30}\n")
    made = open_library(store, FolderSource(images), other=bare_store, boxes=boxes, name="scenes")
    labels = store.rows.labels.tolist()
    predictions = write(tmp_path / "net.parquet", store, labels, {4: (labels[4] + 1) % 10, 5: (labels[5] + 1) % 10})
    return dataclasses.replace(made, models=[read_model(predictions, store)])


def paths(library: Library) -> list[str]:
    pair = library.features[1][0]
    return [
        "/",
        "/search?q=background",
        "/class/1",
        f"/feature/1/{pair.feature_index}?view=contour",
        "/image/5",
        "/boxes",
        "/flips/0/0",
        "/nothing",
    ]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_nothing_is_in_the_way_of_people_with_other_eyes_or_screens(
    chromium: Browser, full: Library, open_client: Open, width: int, scheme: str
) -> None:
    """axe-core finds nothing serious, and no page scrolls sideways."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    client = open_client(full)
    context = chromium.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if scheme == "dark" else "light",
        bypass_csp=True,
    )
    page = context.new_page()
    for path in paths(full):
        page.goto(f"http://{client.host}{path}")
        page.wait_for_load_state("networkidle")
        found = axe.run(page).response["violations"]
        serious = [(v["id"], [n["html"] for n in v["nodes"]]) for v in found if v["impact"] in ("serious", "critical")]
        assert not serious, (path, serious)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    context.close()


def loaded(page: Page) -> None:
    page.wait_for_function("() => [...document.querySelectorAll('.live img')].every(i => i.complete && i.naturalWidth)")


def test_a_threshold_is_drawn_and_counted_while_it_is_moved(
    chromium: Browser, full: Library, open_client: Open
) -> None:
    client = open_client(full)
    page = chromium.new_page()
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda said: troubles.append(said.text) if said.type == "error" else None)
    page.on("request", lambda request: troubles.append(request.url) if "127.0.0.1" not in request.url else None)
    page.goto(f"http://{client.host}/image/21")
    loaded(page)
    page.focus("input[name=step]")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_selector("#numbers h2:has-text('0.15')")
    assert page.url.endswith("/image/21?step=3") and page.inner_text("output") == "0.15"
    sources = page.eval_on_selector_all(".live img", "all => all.map(i => i.getAttribute('src'))")
    assert all("-3-256.jpg" in s or "/photo-0-256.jpg" in s for s in sources) and len(sources) > 6
    loaded(page)
    page.reload()
    assert page.input_value("input[name=step]") == "3" and page.is_visible("#numbers h2:has-text('0.15')")
    shared = page.url
    page.goto(f"http://{client.host}/search")
    page.fill("#q", full.names[3])
    page.wait_for_function("() => document.getElementById('count').textContent.startsWith('4 ')")
    page.select_option("#kind", "core")
    page.wait_for_function("() => document.getElementById('count').textContent.startsWith('2 ')")
    assert page.url.endswith(f"/search?q={full.names[3]}&kind=core")
    page.reload()
    assert page.input_value("#q") == full.names[3] and page.inner_text("#count") == "2 features"
    page.goto(shared)
    assert not troubles, troubles


def test_without_scripts_everything_can_be_read(chromium: Browser, full: Library, open_client: Open) -> None:
    client = open_client(full)
    page = chromium.new_context(java_script_enabled=False).new_page()
    page.goto(f"http://{client.host}/")
    page.fill("#q", full.names[3])
    page.click("form[role=search] button")
    assert page.inner_text("#count") == "4 features"
    page.click("section.feature h3 a >> nth=0")
    page.click("text=contour")
    assert "/outline-10-256.jpg" in (page.get_attribute(".live img", "src") or "")
    page.click(".live a >> nth=0")
    page.fill("input[name=step]", "6")
    page.click("form.cut button")
    assert page.url.endswith("?step=6") and page.is_visible("#numbers h2:has-text('0.30')")


def test_a_site_works_from_files(chromium: Browser, full: Library, tmp_path: Path) -> None:
    write_site(dataclasses.replace(full, beside=None), tmp_path / "site")
    page = chromium.new_page()
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("requestfailed", lambda request: troubles.append(request.url))
    page.goto((tmp_path / "site" / "index.html").as_uri())
    page.click("text=All features on one page")
    page.fill("#filter", f"{full.names[3]} core")
    assert page.inner_text("#count") == "2 features"
    assert page.locator("section.feature:visible").count() == 2
    page.click("section.feature:visible .pics a >> nth=0")
    assert page.is_visible("h2:has-text('What models say')") and page.is_visible("text=Numbers at threshold 0.00")
    page.click(".views a:has-text('0.50')")
    assert page.is_visible("text=Numbers at threshold 0.50")
    loaded(page)
    assert not troubles, troubles
