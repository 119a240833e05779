from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.plan.vocabulary import better
from salient_imagenet_data.pictures.page import GENERATOR, check_page, render

ROOM = "salient_imagenet_data.evaluation.report"


def test_every_value_is_escaped_and_pages_share_one_style() -> None:
    store = {"name": "<script>", "images": 3, "classes": 2, "fold": "1/1", "reading": "all", "weights_sha256": "w" * 64}
    store = {**store, "annotations_sha256": None, "left_out": None}
    board = {"store": store, "columns": ["a&b"], "rows": [], "published": None}
    page = render(ROOM, "leaderboard.html", boards=[board], better=better)
    assert "&lt;script&gt;: 3 images" in page and "a&amp;b" in page and "annotations none" in page
    assert "border-collapse: collapse" in page and "{%" not in page


def test_a_name_that_is_not_given_raises() -> None:
    with pytest.raises(jinja2.UndefinedError, match="boards"):
        render(ROOM, "leaderboard.html")


def test_a_page_that_we_did_not_make_is_never_replaced(tmp_path: Path) -> None:
    check_page(tmp_path / "none.html")
    (tmp_path / "ours.html").write_text(f"<head>{GENERATOR}</head>")
    (tmp_path / "empty.html").write_text("")
    check_page(tmp_path / "ours.html")
    check_page(tmp_path / "empty.html")  # a power cut leaves such a one
    (tmp_path / "theirs.html").write_text("<head></head>")
    (tmp_path / "folder.html").mkdir()
    for name in ("theirs.html", "folder.html"):
        with pytest.raises(SalientError, match=rf"{name}: not a page of ours; .*; give another --out"):
            check_page(tmp_path / name)
