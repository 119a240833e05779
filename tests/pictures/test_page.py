from __future__ import annotations

import jinja2
import pytest

from salient_imagenet_data.evaluation.plan.vocabulary import better
from salient_imagenet_data.pictures.page import render

ROOM = "salient_imagenet_data.evaluation.report"


def test_every_value_is_escaped_and_pages_share_one_style() -> None:
    store = {"name": "<script>", "images": 3, "classes": 2, "fold": "1/1", "weights_sha256": "w" * 64}
    board = {"store": {**store, "annotations_sha256": None}, "columns": ["a&b"], "rows": []}
    page = render(ROOM, "leaderboard.html", boards=[board], better=better)
    assert "&lt;script&gt;: 3 images" in page and "a&amp;b" in page and "annotations none" in page
    assert "border-collapse: collapse" in page and "{%" not in page


def test_a_name_that_is_not_given_raises() -> None:
    with pytest.raises(jinja2.UndefinedError, match="boards"):
        render(ROOM, "leaderboard.html")
