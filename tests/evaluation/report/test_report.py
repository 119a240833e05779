from __future__ import annotations

import copy
import dataclasses
import html
import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.evaluate import run_models
from salient_imagenet_data.evaluation.numbers.estimates import Estimate
from salient_imagenet_data.evaluation.numbers.paired import mcnemar_exact
from salient_imagenet_data.evaluation.plan.condition import Condition
from salient_imagenet_data.evaluation.plan.plan import Conditions
from salient_imagenet_data.evaluation.plan.vocabulary import accuracy_words, corruption_words
from salient_imagenet_data.evaluation.report.examples import data_uri, largest_drops, with_images
from salient_imagenet_data.evaluation.report.figures import controls_figure, noise_curves
from salient_imagenet_data.evaluation.report.leaderboard import boards, read_summaries, write_leaderboard
from salient_imagenet_data.evaluation.report.page import write_report
from salient_imagenet_data.evaluation.run.predictions import read_predictions
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.evaluation.score.outcomes import line_up
from salient_imagenet_data.evaluation.score.results import Against, Curve, Point, Summary
from salient_imagenet_data.evaluation.score.scoring import score, verdict
from salient_imagenet_data.evaluation.score.together import robustness, summarise
from salient_imagenet_data.folds import Fold
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.joining import join
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.pictures.charts import BOTTOM, HEIGHT, TOP
from salient_imagenet_data.store.reading import Store
from tests.reports import Browser, linear


def summary_of(report: Path) -> Summary:
    return Summary.from_json(json.loads((report / "report.json").read_text()), "report.json")


def test_the_json_holds_every_figure_with_n_and_interval(report: Path) -> None:
    summary = summary_of(report)
    assert [m.name for m in summary.models] == ["linear one", "<b>two</b>"]
    one = summary.models[0]
    # Two regions of each protocol, with two controls, and four ranks without; three corruptions.
    assert len(one.conditions) == (6 * 3 + 4) * 3 and len(one.controls) == 6 * 3 and len(one.curves) == 22
    assert one.spurious_gap is not None
    assert len(one.ratios["rcs"]) == len(one.ratios["rfs"]) == 9 and one.spurious_gap.classes == 9
    for condition in one.conditions:
        for e in (condition.accuracy, condition.pooled, condition.clean_accuracy, condition.drop):
            assert e.low <= e.value + 1e-12 and e.value <= e.high + 1e-12 and e.n > 0
        assert condition.calibration.nll is not None
        assert condition.calibration.nll > 0 and 0 <= condition.calibration.ece <= 1
        assert condition.drop.value == pytest.approx(condition.clean_accuracy.value - condition.accuracy.value)


def test_controls_compare_the_same_images(report: Path) -> None:
    one = summary_of(report).models[0]
    for claim in one.controls:
        for control, against in (("random", claim.random), ("other", claim.other)):
            there = one.condition(f"{claim.name}_{control}")
            assert there is not None and against is not None
            assert against.drop.value == pytest.approx(there.drop.value)
            assert against.excess.value == pytest.approx(claim.drop.value - there.drop.value)


def test_comparisons_count_discordant_images(report: Path, store: Store) -> None:
    files = [read_predictions(p, 10) for p in sorted((report / "predictions").glob("*.parquet"))]
    lined = {f.model: line_up(f, store) for f in files}
    for row in summary_of(report).comparisons:
        a, b = (
            dict(zip(o.rows.tolist(), o.hits, strict=True))
            for o in (lined[row.first][row.condition], lined[row.second][row.condition])
        )
        first = sum(bool(a[r] and not b[r]) for r in a)
        assert row.first_only == first and row.second_only == sum(bool(b[r] and not a[r]) for r in a)
        assert row.p_value == mcnemar_exact(first, row.second_only)


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value, 100, low, high, 10)


@pytest.mark.parametrize(
    ("drop", "excess", "shown", "words"),
    [
        (
            (0.3, 0.2, 0.4),
            (0.2, 0.1, 0.3),
            True,
            "It loses more on the spurious pixels than on the area-matched random region.",
        ),
        ((0.3, 0.2, 0.4), (0.0, -0.1, 0.1), False, "reliance on the spurious pixels has not been shown"),
        ((0.3, 0.2, 0.4), (-0.2, -0.3, -0.1), False, "reliance on the spurious pixels has not been shown"),
        ((0.01, -0.05, 0.07), (0.0, -0.1, 0.1), False, "No loss is shown"),
    ],
)
def test_trap_a_loss_that_a_random_region_costs_too_is_not_called_reliance(
    drop: tuple[float, ...], excess: tuple[float, ...], shown: bool, words: str
) -> None:
    control, lost = Against(estimate(0.1, 0.0, 0.2), estimate(*excess)), estimate(*drop)
    found, sentence = verdict("spurious", lost, control, None)
    assert found is shown and words in sentence
    assert verdict("spurious", lost, None, None)[0] is None
    if shown:
        other = Against(estimate(0.3, 0.2, 0.4), estimate(0.0, -0.1, 0.1))
        assert "another image's mask" in verdict("spurious", lost, control, other)[1]


def test_foreign_predictions_without_images_and_with_gaps(report: Path, store: Store, tmp_path: Path) -> None:
    file = read_predictions(report / "predictions" / "linear-one.parquet", 10)
    few = {"clean": file.conditions["clean"], "noise_1@spurious": file.conditions["noise_1@spurious"]}
    theirs = type(file)(Path("theirs.parquet"), "theirs", {}, few)
    result = score(theirs, store)
    assert result.ratios == {} and result.controls[0].shown is None and result.seed is None
    assert result.left("core_accuracy", 1.0) == score(file, store).left("core_accuracy", 1.0) is not None
    page = write_report(summarise([theirs], store), tmp_path, store).read_text()
    assert "No control was run for the spurious pixels" in page and "data:image/png" not in page
    with pytest.raises(SalientError, match="no clean answers"):
        score(type(file)(Path("x"), "x", {}, {"noise_1@spurious": few["noise_1@spurious"]}), store)
    renamed = copy.deepcopy(few["clean"])
    object.__setattr__(renamed, "image_ids", ("stranger", *renamed.image_ids[1:]))
    with pytest.raises(SalientError, match="1 images are not in .*got stranger"):
        score(type(file)(Path("x"), "x", {}, {"clean": renamed}), store)
    with pytest.raises(SalientError, match="two predictions files are of one model, theirs"):
        summarise([theirs, theirs], store)


@pytest.mark.parametrize(
    "name",
    [
        "noise_0.25/../../x@core",
        "noise_1e400@core",
        "noise_0@core",
        "noise_0.5@rank_x",
        "a" * 300 + "@core",
        "<i>@core",
    ],
)
def test_a_strangers_condition_is_scored_and_drawn_inside_the_folder(
    report: Path, store: Store, tmp_path: Path, name: str
) -> None:
    file = read_predictions(report / "predictions" / "linear-one.parquet", 10)
    few = {"clean": file.conditions["clean"], name: file.conditions["noise_1@spurious"]}
    summary = summarise([dataclasses.replace(file, conditions=few)], store)
    page = write_report(summary, tmp_path / "deep" / "er" / "report", store).read_text()
    written = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert all(p.is_relative_to(tmp_path / "deep" / "er" / "report") and len(p.name) < 120 for p in written)
    (figure,) = (tmp_path / "deep/er/report/figures").glob("classes_*")
    corruption, _, region = name.partition("@")
    shown = html.escape(accuracy_words(Condition.parse(name)))
    assert corruption_words(corruption) in accuracy_words(Condition.parse(name)) and region
    assert shown in page and shown in figure.read_text()


def test_a_rank_that_the_store_lacks_is_one_line(report: Path, store: Store) -> None:
    file = read_predictions(report / "predictions" / "linear-one.parquet", 10)
    few = {"clean": file.conditions["clean"], "noise_1@rank_99": file.conditions["noise_1@spurious"]}
    with pytest.raises(SalientError, match="rank_99: .* has no feature of this rank; expected ranks 1 to"):
        score(dataclasses.replace(file, conditions=few), store)


def test_effective_robustness_needs_three_models(report: Path) -> None:
    one, two = summary_of(report).models
    assert robustness([one, two]) == ()
    changed = [replace(c, clean_accuracy=replace(c.clean_accuracy, value=0.6)) for c in one.conditions]
    rows = robustness([one, two, replace(one, name="third", conditions=tuple(changed))])
    assert rows and all(set(row.residuals) == {"linear one", "<b>two</b>", "third"} for row in rows)


def test_largest_drops_are_the_largest(report: Path, store: Store) -> None:
    one = summary_of(report).models[0]
    found = largest_drops(one, 5)
    drops = [r.clean - r.accuracy.value for c in one.conditions for r in c.per_class]
    assert [f.of.loss for f in found] == sorted((f.of.loss for f in found), reverse=True)
    assert found[0].of.loss == max(drops)
    assert len({(f.of.class_index, f.region) for f in found}) == 5


def test_figures_are_well_formed_and_in_place(report: Path) -> None:
    found = sorted((report / "figures").glob("*.svg"))
    assert {"controls", "curve_core", "curve_spurious", "classes_fill_gray_on_core"} <= {p.stem for p in found}
    for path in found:
        root = ElementTree.parse(path).getroot()
        width, height = float(root.get("width", 0)), float(root.get("height", 0))
        for circle in root.iter("{http://www.w3.org/2000/svg}circle"):
            assert 0 <= float(circle.get("cx", -1)) <= width and 0 <= float(circle.get("cy", -1)) <= height
    assert noise_curves([], "core") is None and controls_figure([]) is None


def test_page_is_self_contained_escaped_and_opens_without_a_word_on_the_console(
    report: Path, browser: Browser, tmp_path: Path
) -> None:
    page = report / "index.html"
    text = page.read_text()
    # The policy forbids every request; Chromium would say so on the console.
    assert "default-src 'none'" in text
    assert set(re.findall(r"https?://[^\"' <]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "<b>two</b>" not in text and "broken was not evaluated: RuntimeError: boom" in text
    dom = browser(page)
    assert dom.count("<svg") == len(list((report / "figures").glob("*.svg"))) and dom.count("data:image/png") > 12
    browser(page, tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as shot:
        assert shot.size == (1400, 2400) and len(shot.convert("RGB").resize((350, 600)).getcolors(1 << 20) or []) > 200


def test_leaderboard_merges_and_sorts_in_the_browser(report: Path, browser: Browser, tmp_path: Path) -> None:
    summary = summary_of(report)
    one = summary.models[0]
    third = replace(one, name="third", clean_accuracy=replace(one.clean_accuracy, value=0.99))
    other = replace(summary, models=(third,))
    elsewhere = replace(other, store=replace(other.store, weights_sha256="0" * 64))
    contents = {"a": summary.to_json(), "b": other.to_json(), "c": elsewhere.to_json(), "unrelated": {"x": 1}}
    for name, content in contents.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(json.dumps(content))
    assert sum(len(board.rows) for board in write_leaderboard(tmp_path, tmp_path / "lb.html")) == 4
    first, second = boards(read_summaries(tmp_path))
    assert first.rows[0].name == "third" and len(second.rows) == 1
    assert {"clean accuracy", "spurious accuracy, noise 1", "RCS, noise 1", "spurious gap"} <= set(first.columns)
    page = (tmp_path / "lb.html").read_text()
    click = '<script>const b = document.querySelectorAll("th button")[1]; b.click(); b.click();</script></body>'
    (tmp_path / "clicked.html").write_text(page.replace("</body>", click))
    dom = browser(tmp_path / "clicked.html")
    body = dom.split("<tbody>")[1].split("</tbody>")[0]
    values = [
        float(v)
        for v in re.findall(
            r"<td data-value=\"([^\"]+)\"", "".join(r.split("</td>")[1] + "</td>" for r in body.split("<tr>")[1:])
        )
    ]
    assert len(values) == 3 and values == sorted(values) and 'aria-sort="ascending"' in dom
    wrong = replace(third.conditions[0], accuracy=replace(third.conditions[0].accuracy, value=0.123))
    changed = replace(other, models=(replace(third, conditions=(wrong,)),))
    (tmp_path / "b" / "again.json").write_text(json.dumps(changed.to_json()))
    files = rf"{tmp_path}/b/again.json and {tmp_path}/b/report.json"
    with pytest.raises(SalientError, match=f"two different results of third on .*; got {files}; keep one"):
        boards(read_summaries(tmp_path))
    with pytest.raises(SalientError, match="no evaluation in it"):
        read_summaries(tmp_path / "unrelated")


def test_the_leaderboard_shows_the_ratio_of_the_masks_and_the_two_accuracies_beside_it(
    report: Path, tmp_path: Path
) -> None:
    """Not the control's: every figure of a control differs from that of the masks here."""
    summary = summary_of(report)
    one = summary.models[0]
    rows = [
        replace(
            row,
            ratio=estimate({"": 0.987, "random": 0.983, "other": 0.979}[row.control], 0.1, 0.4),
            accuracy_outside=estimate(0.9, 0.8, 1.0),
            accuracy_inside=estimate(0.8, 0.7, 0.9),
            saturated=row.corruption == "noise_1",
        )
        for row in one.ratios["rcs"]
    ]
    changed = replace(summary, models=(replace(one, ratios={"rcs": tuple(rows)}),))
    (tmp_path / "report.json").write_text(json.dumps(changed.to_json()))
    write_leaderboard(tmp_path, tmp_path / "board.html")
    page = (tmp_path / "board.html").read_text()
    assert page.count("0.987 <span") == 3 and "0.983 <span" not in page and "0.979 <span" not in page
    assert page.count("<br>0.900 outside, 0.800 inside</span>") == 2
    assert page.count("<br>0.900 outside, 0.800 inside, saturated</span>") == 1


def test_the_report_puts_each_control_in_its_own_column(report: Path, store: Store, tmp_path: Path) -> None:
    summary = summary_of(report)
    one = summary.models[0]
    random, other = (
        Against(estimate(drop, 0.0, 0.3), estimate(excess, 0.2, 0.5))
        for drop, excess in ((0.102, 0.403), (0.203, 0.304))
    )
    claims = [replace(claim, drop=estimate(0.501, 0.4, 0.6), random=random, other=other) for claim in one.controls]
    changed = replace(summary, models=(replace(one, controls=tuple(claims)),))
    page = write_report(changed, tmp_path, store).read_text()
    table = page.split("Does the loss belong to the region?")[1].split("</table>")[0]
    for row in table.split("<tr>")[2:]:
        cells = re.findall(r"<td>(0\.\d{3})<br>", row)
        assert cells == ["0.501", "0.102", "0.203", "0.403"]


def test_noise_curves_draw_the_interval_from_its_low_end_to_its_high_one(report: Path) -> None:
    points = [Point(0.0, estimate(0.9, 0.8, 0.95)), Point(1.0, estimate(0.5, 0.2, 0.6))]
    curve = Curve("core", "", tuple(points), estimate(0.7, 0.5, 0.8))
    svg = noise_curves([replace(summary_of(report).models[0], curves=(curve,))], "core")
    assert svg is not None
    ends = re.findall(
        r'<polyline points="([\d.]+),([\d.]+) ([\d.]+),([\d.]+)" fill="none" stroke="#0072b2" stroke-width="1.2"', svg
    )
    height = HEIGHT - TOP - BOTTOM
    expected = [[TOP + (1 - low) * height, TOP + (1 - high) * height] for low, high in ((0.8, 0.95), (0.2, 0.6))]
    assert [[float(e[1]), float(e[3])] for e in ends] == [pytest.approx(e, abs=0.06) for e in expected]


def test_drops_are_losses_and_comparisons_are_of_claims(report: Path) -> None:
    """Clean minus corrupted, and no paired test of a control."""
    summary = summary_of(report)
    for condition in (c for m in summary.models for c in m.conditions):
        assert condition.drop.value == pytest.approx(condition.clean_accuracy.value - condition.accuracy.value)
    names = {row.condition for row in summary.comparisons}
    assert names and not any(name.endswith(("_random", "_other")) for name in names)


def test_examples_are_of_the_class_that_loses(report: Path, store: Store, images: Path) -> None:
    """The pictures are the class's own first images of the region, as the images folder holds them."""
    drops = largest_drops(summary_of(report).models[0], 4)
    joined = join(store, FolderSource(images))
    for drop in with_images(drops, store, FolderSource(images), count=2):
        own = {
            data_uri(joined.crop(k))
            for k in range(len(joined))
            if store.rows.labels[joined.rows[k]] == drop.of.class_index
        }
        assert drop.images and {image for image, _ in drop.images} <= own


def test_folds_are_told_apart(store: Store, images: Path, tmp_path: Path) -> None:
    source, files = FolderSource(images), {}
    for text in ("1/2", "2/2"):
        plan = Conditions(controls=False).plan(store, Fold.parse(text))
        folder = tmp_path / text.replace("/", "-of-")
        opener = {"linear": lambda: Classifier("linear", linear(1))}
        files[text], _ = run_models(opener, store, source, plan, folder / "predictions", Settings())
        page = write_report(summarise(files[text], store), folder, store, source)
        assert f"of which only fold {text} was evaluated" in page.read_text()
    assert sum(len(board.rows) for board in write_leaderboard(tmp_path, tmp_path / "board.html")) == 2
    board = (tmp_path / "board.html").read_text()
    assert ", fold 1/2</h2>" in board and ", fold 2/2</h2>" in board
    other = dataclasses.replace(files["2/2"][0], model="other")
    with pytest.raises(
        SalientError, match="predictions of different folds; expected one part of the images; got 1/2, 2/2"
    ):
        summarise([*files["1/2"], other], store)


def test_evaluations_of_one_model_under_several_protocols_are_one_row(report: Path) -> None:
    summary = summary_of(report)
    one = summary.models[0]
    noise, fill = (tuple(c for c in one.conditions if c.corruption.startswith(k)) for k in ("noise", "fill"))
    first = replace(one, conditions=noise, ratios={}, spurious_gap=None)
    second = replace(one, conditions=fill, images=one.images - 1, clean_accuracy=estimate(0.1, 0.0, 0.2))
    parts = {"a": replace(summary, models=(first,)), "b": replace(summary, models=(second,))}
    (board,) = boards(parts)
    (row,) = board.rows
    (whole,) = boards({"whole": replace(summary, models=(one,))})
    assert row.cells == whole.rows[0].cells and set(board.columns) == set(whole.columns)
    assert boards(dict(reversed(parts.items())))[0].rows[0].cells == row.cells
