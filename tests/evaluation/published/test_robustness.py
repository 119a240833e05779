"""Effective robustness by hand and by scipy, in Python, on the page, in JSON and in the terminal."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.published.printing import lines as in_lines
from salient_imagenet_data.evaluation.published.robustness import fit_lines, published
from salient_imagenet_data.evaluation.published.tables import Key, Shift
from tests.conftest import Run
from tests.evaluation.published.test_tables import row, written
from tests.evaluation.results import condition, estimate, model, near, summary

CLEAN = {"a.x": 0.62, "b.x": 0.7, "c.x": 0.74, "d.x": 0.8, "e.x": 0.85, "f.y": 0.88, "low.y": 0.6, "high.y": 0.9}
SKETCH = {"a.x": 0.18, "b.x": 0.2, "c.x": 0.27, "d.x": 0.26, "e.x": 0.36, "f.y": 0.45, "low.y": 0.0, "high.y": 1.0}
PAIRS = {Key(name, 224): (CLEAN[name], SKETCH[name]) for name in CLEAN}
SHIFT = Shift("ImageNet-Sketch", "ImageNet", False, PAIRS, 0, ())


def logit(values: object) -> np.ndarray:
    p = np.array(values)
    return np.log(p) - np.log1p(-p)


def reference(names: tuple[str, ...]) -> stats._stats_py.LinregressResult:
    return stats.linregress(logit([CLEAN[n] for n in names]), logit([SKETCH[n] for n in names]))


def expected(line: object, clean: float) -> float:
    return float(1 / (1 + np.exp(-(line.slope * logit(clean) + line.intercept))))  # type: ignore[attr-defined]


def test_effective_robustness_is_what_scipys_line_leaves() -> None:
    lines, inner = fit_lines([SHIFT]), tuple(CLEAN)[:6]
    line = reference(inner)
    (said,) = lines.expectations
    assert (said.slope, said.intercept, said.models) == (pytest.approx(line.slope), pytest.approx(line.intercept), 6)
    assert said.explained == pytest.approx(line.rvalue**2)
    assert "line in logits over 6, without 2 models at 0 or 100 %: slope" in said.words
    ours = {name: {"spec": f"timm:{name}", "preprocessing": {"crop": 224}} for name in ("b.x", "low.y", "none")}
    found = published(ours, {}, lines, {})
    for name in ("b.x", "low.y"):  # one at 0 % has no place in the line, but an expectation
        on = found.joined[name].on["ImageNet-Sketch"]
        assert on.expected == pytest.approx(expected(line, CLEAN[name]))
        assert on.effective.value == pytest.approx(SKETCH[name] - expected(line, CLEAN[name]))
        assert (on.clean, on.shifted, on.effective.n) == (CLEAN[name], SKETCH[name], 6)
        assert on.effective.low < on.effective.value < on.effective.high
    assert list(found.left_out) == ["none"]
    whole = replace(SHIFT, pairs={**PAIRS, Key("all.y", 224): (1.0, 0.5)})  # without a place on the scale
    assert published({"all.y": {"spec": "timm:all.y"}}, {}, fit_lines([whole]), {}).joined["all.y"].on == {}


def test_the_line_may_be_in_probits_and_of_some_models_only() -> None:
    (said,) = fit_lines([SHIFT], "probit", ("*.x",)).expectations
    names = tuple(CLEAN)[:5]
    line = stats.linregress(stats.norm.ppf([CLEAN[n] for n in names]), stats.norm.ppf([SKETCH[n] for n in names]))
    assert (said.slope, said.models, said.scale) == (pytest.approx(line.slope), 5, "probit")
    assert "8 models in both tables; line in probits over 5 called *.x: slope" in said.words
    with pytest.raises(SalientError, match=r"no line can be fitted; .*; got 1 called \*\.y"):
        fit_lines([SHIFT], only=("*.y",))
    with pytest.raises(SalientError, match="different accuracy"):
        fit_lines([replace(SHIFT, pairs={Key(n, 1): (0.5, v) for n, v in SKETCH.items()})])


def test_every_set_has_its_own_line_and_a_model_those_that_have_it() -> None:
    """On the second set, where the line goes down with clean accuracy, two models are missing."""
    pairs = {Key(n, 224): (CLEAN[n], 1 - CLEAN[n]) for n in tuple(CLEAN)[:4]}
    lines = fit_lines([SHIFT, Shift("ImageNetV2", "ImageNet", False, pairs, 0, ())])
    figures = {"RCS": {n: place / 10 for place, n in enumerate(tuple(CLEAN)[:6])}}
    found = published({n: {"spec": f"timm:{n}"} for n in tuple(CLEAN)[:6]}, figures, lines, {})
    assert [e.name for e in found.expectations] == ["ImageNet-Sketch", "ImageNetV2"]
    assert list(found.joined["a.x"].on) == ["ImageNet-Sketch", "ImageNetV2"]
    assert list(found.joined["f.y"].on) == ["ImageNet-Sketch"]
    assert found.partly == {"e.x": ("ImageNetV2",), "f.y": ("ImageNetV2",)}
    assert "without a published result on ImageNetV2: f.y\n" in in_lines(found)
    first, second = found.joined["a.x"].on.values()
    assert second.shifted == pytest.approx(0.38) and second.effective.value == pytest.approx(0.0, abs=1e-9)
    assert abs(first.effective.value) > 1e-3
    assert [(c.name, c.models, c.estimate is None) for c in found.correlations] == [
        ("ImageNet-Sketch", 6, False),
        ("ImageNetV2", 4, True),
    ]


def test_a_set_of_200_classes_against_all_of_imagenet_is_told() -> None:
    words = "ImageNet-A has 200 of ImageNet's classes: timm's -clean table is of the same"
    for part in (False, True):
        (said,) = fit_lines([replace(SHIFT, name="ImageNet-A", part=part)]).expectations
        assert (words in said.words) is not part


def test_our_figures_are_correlated_over_five_models_and_not_over_four() -> None:
    names, lines = tuple(CLEAN)[:6], fit_lines([SHIFT])
    ours = {name: {"spec": f"timm:{name}"} for name in names}
    rcs = dict(zip(names, (0.1, 0.3, 0.2, 0.6, 0.5, 0.9), strict=True))
    few = {name: rcs[name] for name in names[:4]}
    figures = {"RCS": rcs, "few": few, "same": dict.fromkeys(names, 1.0), "five": {n: rcs[n] for n in names[1:]}}
    by_name = {c.figure: c for c in published(ours, figures, lines, {}).correlations}
    line = reference(names)
    left = [SKETCH[n] - expected(line, CLEAN[n]) for n in names]
    found = by_name["RCS"].estimate
    assert found is not None and found.value == pytest.approx(stats.spearmanr(list(rcs.values()), left).statistic)
    five = by_name["five"].estimate
    assert five is not None and (five.n, by_name["five"].models) == (5, 5)
    assert [(by_name[n].models, by_name[n].estimate) for n in ("few", "same")] == [(4, None), (6, None)]


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """Six models, five of timm's own, under names of ours; and the two tables."""
    models = []
    for place, name in enumerate((*tuple(CLEAN)[:5], "f.y")):
        record = {"spec": f"timm:{name}", "weights_sha256": "w" * 64 if name == "f.y" else None}
        value = 0.5 + 0.05 * (place if place != 4 else 1.5)
        parts = {"model": record, "conditions": (condition("noise_0.5@spurious", value),)}
        models.append(model(f"our {name}", clean_accuracy=near(0.9 - place / 100), **parts))
    folder = tmp_path / "reports"
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps(summary(*models).to_json()))
    for of, top1 in (("imagenet", CLEAN), ("sketch", SKETCH)):
        written(tmp_path / f"results-{of}.csv", *(row(name, 100 * value) for name, value in top1.items()))
    return tmp_path


def test_the_command_says_what_is_joined_and_what_is_not_on_the_page_and_in_json(board: Path, run: Run) -> None:
    tables = [part for of in ("sketch", "imagenet") for part in ("--results", board / f"results-{of}.csv")]
    code, out, _ = run("leaderboard", board / "reports", *tables)
    line, names = reference(tuple(CLEAN)[:6]), tuple(CLEAN)[:5]
    left = {name: SKETCH[name] - expected(line, CLEAN[name]) for name in names}
    assert code == 0 and "our f.y: timm:f.y with weights of its own, which need not be timm's" in out
    lines = {text.split("  ")[0]: text for text in out.splitlines()}
    for name in names:
        assert f"{SKETCH[name]:.3f}" in lines[f"our {name}"] and f"{left[name]:.3f} [" in lines[f"our {name}"]
    core = [0.5, 0.55, 0.6, 0.65, 0.575]
    value = stats.spearmanr(core, list(left.values())).statistic
    assert f"{value:.3f} [" in lines["core accuracy, noise 0.5"] and "  5  " in lines["core accuracy, noise 0.5"]
    page = (board / "reports" / "leaderboard.html").read_text()
    assert "effective robustness, ImageNet-Sketch" in page and f'data-value="{left["b.x"]:.6f}'[:22] in page
    assert f"0.200, {expected(line, 0.7):.3f} expected of 0.700" in page and "without 2 models at 0 or 100 %" in page
    assert "Without a published result: our f.y: timm:f.y with weights" in page and f"<td>{value:.2f} <span" in page

    code, out, err = run("leaderboard", board / "reports", *tables, "--json", "--as", "our f.y=f.y")
    (found,) = json.loads(out)
    said = found["published"]
    assert (
        code == 0 and "6 models" in err and said["left_out"] == {} and said["joined"]["our f.y"]["published"] == "f.y"
    )
    b = said["joined"]["our b.x"]["on"]["ImageNet-Sketch"]
    assert b["effective"]["value"] == pytest.approx(left["b.x"]) and b["shifted"] == 0.2
    cell = next(r for r in found["rows"] if r["name"] == "our b.x")["cells"]["effective robustness, ImageNet-Sketch"]
    assert cell["estimate"] == b["effective"] and found["columns"][-1] == "effective robustness, ImageNet-Sketch"
    assert {c["models"] for c in said["correlations"]} == {6}

    code, out, _ = run("leaderboard", board / "reports", *tables, "--scale", "probit", "--line-of", "*.x")
    assert code == 0 and "line in probits over 5 called *.x" in out
    few = run("leaderboard", board / "reports", *tables, "--as", "our a.x=high.y")[1]
    assert "no rank correlation" not in few
    (board / "reports" / "report.json").write_text(
        json.dumps(summary(model("our a.x", model={"spec": "timm:a.x"})).to_json())
    )
    code, out, _ = run("leaderboard", board / "reports", *tables)
    assert code == 0 and "no rank correlation over 1 models: at least 5 are needed" in out
    page = (board / "reports" / "leaderboard.html").read_text()
    assert "There is no rank correlation over 1 models: at least 5 are needed.</p>" in page and "our figure" not in page


def test_what_others_published_is_not_written_for_the_hub_as_measured_on_the_masks(board: Path, run: Run) -> None:
    tables = [part for of in ("sketch", "imagenet") for part in ("--results", board / f"results-{of}.csv")]
    code, _, err = run("leaderboard", board / "reports", *tables, "--hub", board / "hub", "--dataset", "org/masks")
    texts = [path.read_text() for path in (board / "hub").rglob("*.yaml")]
    assert code == 0 and len(texts) == 7, err
    assert all("core_accuracy_noise_0_5" in text and "robustness" not in text for text in texts)


def test_mistakes_are_one_line(board: Path, run: Run) -> None:
    both = ("--results", board / "results-sketch.csv", "--results", board / "results-imagenet.csv")
    for extra, words in (
        (("--as", "x=y"), "give --results"),
        (("--line-of", "*"), "give --results"),
        ((*both, "--as", "x"), "expected OURS=NAME, got 'x'"),
        ((*both, "--as", "x=a.x"), "no such evaluation"),
        ((*both, "--as", "our a.x=a.x", "--as", "our a.x=b.x"), "--as our a.x: said twice; expected one"),
        (both[:2], "nothing without the shift"),
    ):
        code, _, err = run("leaderboard", board / "reports", *extra)
        assert code == 2 and words in err and err.count("\n") == 1, err


def test_a_board_without_tables_says_nothing_of_them(tmp_path: Path, run: Run) -> None:
    (tmp_path / "report.json").write_text(json.dumps(summary(model("m", spurious_gap=estimate(0.1, 0, 0.2))).to_json()))
    code, out, _ = run("leaderboard", tmp_path, "--json")
    assert code == 0 and json.loads(out)[0]["published"] is None
    assert "Published results" not in (tmp_path / "leaderboard.html").read_text()
