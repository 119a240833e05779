"""Where data lie in a chart, read back from its SVG."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from salient_imagenet_data.pictures.charts import BOTTOM, COLOURS, RIGHT, TOP, Canvas

SVG = "{http://www.w3.org/2000/svg}"


def drawn(canvas: Canvas) -> ElementTree.Element:
    return ElementTree.fromstring(canvas.svg())


def test_the_corners_of_the_data_are_the_corners_of_the_plot() -> None:
    canvas = Canvas((-1.0, 3.0), (0.0, 0.5), "t", height=200, width=400, left=50)
    assert (canvas.px(-1.0), canvas.px(3.0)) == (50, 400 - RIGHT)
    assert (canvas.py(0.0), canvas.py(0.5)) == (200 - BOTTOM, TOP)
    assert canvas.px(1.0) == pytest.approx((50 + 400 - RIGHT) / 2)
    canvas.line([(-1.0, 0.0), (3.0, 0.5)], "#123456", dashed=True)
    canvas.line([(-1.0, 0.0), (3.0, 0.0)], "#654321")
    dashed, plain = drawn(canvas).findall(f"{SVG}polyline")
    assert (
        dashed.get("points") == f"50.0,{200 - BOTTOM}.0 {400 - RIGHT}.0,{TOP}.0" and dashed.get("stroke") == "#123456"
    )
    assert dashed.get("stroke-dasharray") and not plain.get("stroke-dasharray")


def test_a_dot_is_full_or_hollow_and_says_what_it_is() -> None:
    canvas = Canvas((0.0, 1.0), (0.0, 1.0), "t")
    canvas.dot(0.0, 1.0, "#0072b2", "a < b")
    canvas.dot(1.0, 0.0, "#0072b2", "control", hollow=True)
    full, hollow = drawn(canvas).findall(f"{SVG}circle")
    assert (full.get("fill"), hollow.get("fill")) == ("#0072b2", "white") and full[0].text == "a < b"
    assert (float(full.get("cx", 0)), float(full.get("cy", 0))) == (canvas.px(0.0), canvas.py(1.0))


def test_axes_are_labelled_at_their_values_and_the_legend_has_the_models_colours() -> None:
    canvas = Canvas((0.0, 2.0), (0.0, 1.0), "title & more")
    canvas.axes((0, 2), (0, 0.5), "across", "up")
    canvas.legend({0: "first", 9: "n" * 60})
    root = drawn(canvas)
    words = {text.text: text for text in root.findall(f"{SVG}text")}
    assert {"0", "2", "0.5", "across", "up", "title & more", "first"} <= set(words)
    assert float(words["2"].get("x", 0)) == canvas.px(2.0)
    assert float(words["0.5"].get("y", 0)) == canvas.py(0.5) + 4
    assert words["first"].get("fill") == COLOURS[0] and words["…" + "n" * 38].get("fill") == COLOURS[1]
    assert float(words["first"].get("y", 0)) < float(words["…" + "n" * 38].get("y", 0)) < canvas.height - BOTTOM
    right = Canvas((0.0, 2.0), (0.0, 1.0), "t")
    right.legend({0: "first"}, right=True)
    (first,) = (t for t in drawn(right).findall(f"{SVG}text") if t.text == "first")
    assert first.get("text-anchor") == "end" and float(first.get("x", 0)) == right.width - RIGHT - 4
    assert root.get("aria-label") == "title & more" and root.get("viewBox") == "0 0 480 320"
