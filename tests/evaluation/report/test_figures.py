"""What a figure draws, where and in which colour, read back from its SVG."""

from __future__ import annotations

import hashlib
from xml.etree import ElementTree

import pytest

from salient_imagenet_data.evaluation.report.figures import (
    all_figures,
    class_spread,
    controls_figure,
    file_stem,
    interval,
    noise_curves,
)
from salient_imagenet_data.evaluation.score.results import Against
from salient_imagenet_data.pictures.charts import COLOURS
from tests.evaluation.results import claim, condition, curve, estimate, model, near, of_class

SVG = "{http://www.w3.org/2000/svg}"
Line = tuple[str, str | None, bool, str | None]


class Drawn:
    """The parts of a figure. lines: points, colour, dashed, width. dots: place, colour, hollow, tooltip. words: place."""

    def __init__(self, svg: str | None) -> None:
        assert svg is not None
        root = ElementTree.fromstring(svg)
        self.size = (float(root.get("width", 0)), float(root.get("height", 0)))
        self.lines: list[Line] = [
            (e.get("points", ""), e.get("stroke"), bool(e.get("stroke-dasharray")), e.get("stroke-width"))
            for e in root.findall(f"{SVG}polyline")
        ]
        self.dots = [
            ((e.get("cx", ""), e.get("cy", "")), e.get("stroke"), e.get("fill") == "white", e[0].text)
            for e in root.findall(f"{SVG}circle")
        ]
        self.words = {e.text: (e.get("x"), e.get("y"), e.get("text-anchor")) for e in root.findall(f"{SVG}text")}
        self.colour_of = {e.text: e.get("fill") for e in root.findall(f"{SVG}text")}

    def line(self, points: str) -> Line:
        (found,) = (line for line in self.lines if line[0] == points)
        return found


def test_noise_curves_of_masks_are_full_with_intervals_and_of_the_random_region_dashed_without() -> None:
    """Of 480 x 320 pixels: sigma 0 at 56, 0.5 at 260, 1 at 464; accuracy 1 at 34, 0.5 at 155, 0 at 276."""
    points = ((0.0, estimate(1.0, 0.5, 1.0)), (0.5, estimate(0.5, 0.0, 1.0, 7)))
    longer = (*points, (1.0, near(0.5)))
    own = curve("core", "", *points)
    ninth = model("ninth", curves=(own, curve("core", "random", *longer)))
    others = (curve("spurious", "", *points), curve("core", "other", *points))
    seven = [model(f"m{i}") for i in range(7)]
    found = Drawn(noise_curves([model("first", curves=(own, *others)), *seven, ninth], "core"))
    full, dashed = "56.0,34.0 260.0,155.0", "56.0,34.0 260.0,155.0 464.0,155.0"
    curves = [line for line in found.lines if line[0] in (full, dashed)]
    # The ninth model begins the colours anew.
    assert curves == [
        (full, COLOURS[0], False, "1.8"),
        (full, COLOURS[0], False, "1.8"),
        (dashed, COLOURS[0], True, "1.8"),
    ]
    intervals = [line for line in found.lines if line[3] == "1.2"]
    assert [line[0] for line in intervals] == ["56.0,155.0 56.0,34.0", "260.0,276.0 260.0,34.0"] * 2
    assert found.dots[1] == (("260.0", "155.0"), COLOURS[0], False, "first: 0.500 [0.000, 1.000], n = 7")
    assert found.dots[5][2:] == (True, "ninth, random region: 0.500 [0.000, 1.000], n = 7") and len(found.dots) == 7
    assert {"noise on the core pixels", "0", "0.5", "1", "first", "ninth"} <= set(found.words)
    assert {"0.2", "0.4", "0.6", "0.8"} <= set(found.words) and "m0" not in found.words
    assert found.words["1"][:2] in (("464.0", "292.0"), ("50.0", "38.0"))
    assert noise_curves([model("first", curves=others)], "core") is None
    assert noise_curves([model("first", curves=(own,))], "spurious") is None


def test_the_second_model_has_the_second_colour() -> None:
    own = curve("core", "", (0.0, near(0.9)), (1.0, near(0.5)))
    found = Drawn(noise_curves([model("a"), model("b", curves=(own,))], "core"))
    assert {line[1] for line in found.lines if line[3] != "1"} == {COLOURS[1]} == {dot[1] for dot in found.dots}
    assert found.colour_of["b"] == COLOURS[1]


def test_classes_stand_from_the_largest_drop_down() -> None:
    """Three classes: the first at 124, the second at 260, the third at 396; drops from -0.1 at 276 to 1 at 34."""
    rows = (of_class(3, 0.9, 0.8), of_class(4, 1.0, 0.0), of_class(5, 0.9, 0.45))
    name = "noise_0.5@spurious"
    models = [model("a"), model("b", conditions=(condition(name, 0.4, *rows),))]
    found = Drawn(class_spread(models, name))
    assert found.lines[-1] == ("124.0,34.0 260.0,155.0 396.0,232.0", COLOURS[1], False, "1.8")
    assert [dot[3] for dot in found.dots] == ["b, class 4: 1.000", "b, class 5: 0.450", "b, class 3: 0.100"]
    assert [dot[0] for dot in found.dots] == [("124.0", "34.0"), ("260.0", "155.0"), ("396.0", "232.0")]
    assert all(dot[1:3] == (COLOURS[1], False) for dot in found.dots)
    assert "loss by class, core accuracy, noise 0.5" in found.words
    assert found.words["b"] == ("460.0", "48.0", "end")  # where curves that fall leave place
    assert {"1", "2", "3", "0.25", "0.5", "0.75"} <= set(found.words) and found.words["3"][0] == "396.0"
    assert class_spread(models[:1], name) is None


def test_classes_that_gain_are_inside_the_plot_and_of_many_every_few_is_numbered() -> None:
    name = "noise_0.5@spurious"
    rows = tuple(of_class(i, 0.5, 0.5 + i / 50) for i in range(25))
    found = Drawn(class_spread([model("a", conditions=(condition(name, 0.4, *rows),))], name))
    assert max(float(dot[0][1]) for dot in found.dots) == 276.0  # a gain of 0.48 is the bottom
    numbered = {words for words, place in found.words.items() if place[1] == "292.0"}
    assert numbered == {str(i) for i in range(1, 26, 2)}
    other = tuple(of_class(i, 0.5, 0.4) for i in range(4))
    both = [model(n, conditions=(condition(name, 0.4, *r),)) for n, r in (("a", rows), ("b", other))]
    (short,) = (line for line in Drawn(class_spread(both, name)).lines if line[1] == COLOURS[1])
    assert short[0].count(",") == 4 and Drawn(class_spread(both, name)).dots[24][0][0] == "455.8"


def test_a_claim_stands_beside_its_controls() -> None:
    """Two rows of 40 pixels; a drop of -0.1 lies at 330, of 0.4 at 844."""
    random = Against(estimate(0.1, 0.0, 0.3), near(0.2))
    other = Against(estimate(0.0, -0.1, 0.1), near(0.2))
    both = claim("noise_0.5@core", estimate(0.3, 0.2, 0.4, 7), random, other)
    one = claim("noise_0.5@spurious", estimate(0.1, 0.0, 0.2), random)
    alone = claim("fill_gray@core", near(0.9))
    long = "m" * 23
    models = [model("a", controls=(alone, both)), model(long, controls=(one,))]
    found = Drawn(controls_figure(models))
    assert found.size == (860.0, 34 + 44 + 80)
    assert [(dot[2], dot[1]) for dot in found.dots] == [
        (False, COLOURS[0]),
        (True, COLOURS[0]),
        (True, COLOURS[0]),
        (False, COLOURS[1]),
        (True, COLOURS[1]),
    ]
    text = "a, noise 0.5 on the core pixels"
    assert [dot[3] for dot in found.dots][:3] == [
        f"{text}, region: 0.300 [0.200, 0.400], n = 7",
        f"{text}, random: 0.100 [0.000, 0.300], n = 100",
        f"{text}, other: 0.000 [-0.100, 0.100], n = 100",
    ]
    # -0.1 to 0.4 is 514 pixels; the middle of the first row is at 54, its three lines 9.6 pixels apart.
    assert [dot[0] for dot in found.dots] == [
        ("741.2", "44.4"),
        ("535.6", "54.0"),
        ("432.8", "63.6"),
        ("535.6", "84.4"),
        ("535.6", "94.0"),
    ]
    assert found.line("638.4,44.4 844.0,44.4") == ("638.4,44.4 844.0,44.4", COLOURS[0], False, "1.4")
    assert found.line("330.0,63.6 535.6,63.6")[2:] == (True, "1.4")
    assert found.line("432.8,114.0 432.8,34.0")[3] == "1"  # no drop
    assert found.words[text] == ("320.0", "58.0", "end")
    name = f"{long}, noise 0.5 on the spurious pixels"
    assert len(name) > 50 and found.words[name[:48] + "…"] == ("320.0", "98.0", "end")
    assert {"-0.1", "0", "0.1", "0.2", "0.3", "0.4"} <= set(found.words) and found.words["0.3"][0] == "741.2"
    assert controls_figure([model("a", controls=(alone,))]) is None
    wide = claim("noise_0.5@core", estimate(0.3, 0.2, 0.333), Against(near(0.1), near(0.2)))
    ticks = {"-0.05", "0.03", "0.1", "0.18", "0.26", "0.33"}
    assert ticks <= set(Drawn(controls_figure([model("a", controls=(wide,))])).words)


def test_names_of_rows_are_cut_from_fifty_letters_on_and_colours_begin_anew() -> None:
    own = claim("noise_0.5@core", estimate(0.1, 0.0, 0.15), Against(estimate(0.1, 0.0, 0.15), near(0.2)))
    words = ", noise 0.5 on the core pixels"
    names = ["k" * (49 - len(words)), "l" * (50 - len(words))]
    more = [model(f"m{i}") for i in range(6)]
    models = [*(model(n, controls=(own,)) for n in names), *more, model("i", controls=(own,))]
    found = Drawn(controls_figure(models))
    assert names[0] + words in found.words and (names[1] + words)[:48] + "…" in found.words
    assert [dot[1] for dot in found.dots] == [COLOURS[0]] * 2 + [COLOURS[1]] * 2 + [COLOURS[0]] * 2
    # Small drops are drawn from -0.05 to 0.2 all the same.
    assert found.dots[0][0][0] == "638.4" and {"-0.05", "0", "0.05", "0.1", "0.15", "0.2"} <= set(found.words)


def test_a_figures_file_is_called_as_its_condition_where_that_is_plain() -> None:
    assert file_stem("curve_core") == "curve_core"
    assert file_stem("classes_noise_0.5@core") == "classes_noise_0.5_on_core"
    assert file_stem("a" * 80) == "a" * 80
    assert file_stem("a" * 81) == "a" * 80 + "_" + hashlib.sha256(b"a" * 81).hexdigest()[:8]
    changed = file_stem("noise_1#2@core")
    assert changed.startswith("noise_1_trial_2_on_core_") and len(changed) == len("noise_1_trial_2_on_core_") + 8
    assert file_stem("a/b") != file_stem("a?b") and file_stem("a/b")[:4] == "a_b_"


def test_only_claims_and_curves_of_regions_are_drawn() -> None:
    rows = (of_class(3, 0.9, 0.8),)
    names = ("noise_0.5@core", "noise_0.5@core_random", "noise_0.5@rank_1")
    points = ((0.0, near(0.9)), (1.0, near(0.5)))
    curves = tuple(curve(region, "", *points) for region in ("core", "rank_1"))
    one = model("a", conditions=tuple(condition(name, 0.4, *rows) for name in names), curves=curves)
    assert set(all_figures([one])) == {"curve_core", "classes_noise_0.5_on_core"}
    against = Against(near(0.1), near(0.2))
    with_controls = model("a", controls=(claim("noise_0.5@core", near(0.3), against),))
    assert set(all_figures([with_controls])) == {"controls"} and interval(near(0.5, 3)) == "0.500 [0.450, 0.550], n = 3"


@pytest.mark.parametrize("count", [10, 11, 19, 20, 30])
def test_at_most_twenty_classes_are_numbered(count: int) -> None:
    name = "noise_0.5@spurious"
    rows = tuple(of_class(i, 0.9, 0.5) for i in range(count))
    found = Drawn(class_spread([model("a", conditions=(condition(name, 0.4, *rows),))], name))
    numbered = sorted(int(words or 0) for words, place in found.words.items() if place[1] == "292.0")
    assert numbered == list(range(1, count + 1, {10: 1, 11: 1, 19: 1, 20: 2, 30: 3}[count]))
