"""The pages on a telephone: they do not scroll sideways, and the first column of a table tells the models apart."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from salient_imagenet_data.evaluation.report.leaderboard import write_leaderboard

WIDE, TALL = 390, 844


@pytest.fixture
def telephone() -> Iterator[Any]:
    """A page of Chromium as on a telephone."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on PATH (Debian: apt-get install chromium)")
    sync_playwright = pytest.importorskip("playwright.sync_api").sync_playwright
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": WIDE, "height": TALL}, is_mobile=True)
        browser.close()


def width_of(page: Any) -> int:
    """Of the whole page, when all that is folded is open."""
    page.evaluate("document.querySelectorAll('details').forEach(folded => folded.open = true)")
    return int(page.evaluate("document.documentElement.scrollWidth"))


def test_the_report_does_not_scroll_sideways(report: Path, telephone: Any) -> None:
    telephone.goto((report / "index.html").as_uri())
    assert telephone.evaluate("document.querySelectorAll('details').length") >= 5
    folded = telephone.evaluate("document.documentElement.scrollHeight")
    assert width_of(telephone) == WIDE
    assert telephone.evaluate("document.documentElement.scrollHeight") > 1.5 * folded


def test_the_leaderboard_does_not_scroll_sideways_and_shows_figures(
    report: Path, telephone: Any, tmp_path: Path
) -> None:
    """Paths of weights would fill the screen: the shortest name that tells two apart stands there."""
    place = "/data/projects/networks/2026/the_long_run/"
    text = (report / "report.json").read_text()
    text = text.replace('"linear one"', f'"{place}one.safetensors"').replace(
        '"<b>two</b>"', f'"{place}two.safetensors"'
    )
    (tmp_path / "report.json").write_text(text)
    write_leaderboard(tmp_path, tmp_path / "board.html")
    telephone.goto((tmp_path / "board.html").as_uri())
    assert width_of(telephone) == WIDE
    first = telephone.locator("tbody tr").first.locator("td")
    assert first.nth(0).inner_text() in ("one.safetensors", "two.safetensors")
    assert first.nth(0).get_attribute("title").startswith(place)
    box = first.nth(1).bounding_box()
    assert box["x"] + box["width"] <= WIDE
    heads = telephone.locator("th").all_inner_texts()
    lost = {head.splitlines()[0]: head.splitlines()[-1] for head in heads if head.startswith("loss beyond the control")}
    assert len(lost) > 1
    for figure, below in lost.items():
        assert (below == "lower is better") == figure.endswith("the spurious pixels")
