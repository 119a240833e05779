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


def written(canvas: Canvas) -> dict[str | None, tuple[float, float, str | None, str | None, str | None]]:
    """What stands where: x, y, anchor, size and colour by words."""
    return {
        t.text: (float(t.get("x", -1)), float(t.get("y", -1)), t.get("text-anchor"), t.get("font-size"), t.get("fill"))
        for t in drawn(canvas).findall(f"{SVG}text")
    }


def test_every_word_of_a_chart_stands_in_its_place() -> None:
    """A plot of 400 x 200 pixels: 50 left of it, 16 right, 34 above, 44 below."""
    canvas = Canvas((0.0, 2.0), (0.0, 1.0), "title", height=200, width=400, left=50)
    canvas.axes((0.5, 2), (0, 0.25), "across", "up")
    names = {0: "first", 1: "m" * 39, 2: "n" * 40}
    canvas.legend(names)
    assert written(canvas) == {
        "title": (200.0, 20.0, "middle", "14", "#111"),
        "0": (44.0, 160.0, "end", "11", "#333"),
        "0.25": (44.0, 129.5, "end", "11", "#333"),
        "0.5": (133.5, 172.0, "middle", "11", "#333"),
        "2": (384.0, 172.0, "middle", "11", "#333"),
        "across": (217.0, 192.0, "middle", "12", "#333"),
        "up": (-1.0, -1.0, "middle", "12", "#333"),
        "first": (58.0, 120.0, "start", "11", COLOURS[0]),
        "m" * 39: (58.0, 134.0, "start", "11", COLOURS[1]),
        "…" + "n" * 38: (58.0, 148.0, "start", "11", COLOURS[2]),
    }
    (up,) = (t for t in drawn(canvas).findall(f"{SVG}text") if t.text == "up")
    assert up.get("transform") == "translate(14,95.0) rotate(-90)"
    grid = [(line.get("points"), line.get("stroke-width")) for line in drawn(canvas).findall(f"{SVG}polyline")]
    assert grid == [("50.0,156.0 384.0,156.0", "1"), ("50.0,125.5 384.0,125.5", "1")]
    right = Canvas((0.0, 2.0), (0.0, 1.0), "t", height=201, width=400, left=50)
    right.axes((), (), "across", "up")
    right.legend(names, right=True)
    assert [place[:3] for words, place in written(right).items() if words in ("first", "m" * 39)] == [
        (380.0, 48.0, "end"),
        (380.0, 62.0, "end"),
    ]
    assert "translate(14,95.5)" in right.svg()


def test_without_more_words_a_chart_is_480_by_320_with_56_pixels_for_its_ticks() -> None:
    canvas = Canvas((0.0, 1.0), (0.0, 1.0), "t")
    canvas.line([(0.0, 0.0), (1.0, 1.0)], "#111111")
    (line,) = drawn(canvas).findall(f"{SVG}polyline")
    assert line.get("points") == "56.0,276.0 464.0,34.0" and line.get("stroke-width") == "1.8"
