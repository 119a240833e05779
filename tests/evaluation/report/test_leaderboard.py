"""Which evaluations stand in one table, in which order, and what is said where two contradict each other."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.report.leaderboard import (
    boards,
    cells,
    merge,
    read_summaries,
    write_leaderboard,
)
from salient_imagenet_data.evaluation.score.results import Against
from tests.evaluation.results import claim, condition, gap, grouped, model, near, ratio, summary

CORE, SPURIOUS = "noise_0.5@core", "noise_0.5@spurious"


def test_the_columns_of_a_model_are_its_claims_the_losses_beyond_controls_the_ratios_and_the_gap() -> None:
    names = (SPURIOUS, "noise_0.5@spurious_random", "noise_0.5@rank_1")
    against, other = Against(near(0.1), near(0.2)), Against(near(0.6), near(0.7))
    full = model(
        "a",
        conditions=tuple(condition(name, 0.4) for name in names),
        controls=(claim(SPURIOUS, near(0.3), against, other), claim(CORE, near(0.3), None, other)),
        ratios={"rcs": (ratio("noise_0.5", "random", 0.1), ratio("noise_0.5", "", 0.3))},
        spurious_gap=near(0.05),
        groups=grouped(0.3, 0.5),
    )
    found = {name: (cell.estimate.value, cell.beside) for name, cell in cells(full).items()}
    assert found == {
        "clean accuracy": (0.9, ""),
        "core accuracy, noise 0.5": (0.4, ""),
        "loss beyond the control, noise 0.5 on the spurious pixels": (0.2, ""),
        "RCS, noise 0.5": (0.3, "0.800 outside, 0.600 inside"),
        "spurious gap": (0.05, ""),
        "worst-group accuracy": (0.3, ""),
        "mean of groups weighed alike": (0.4, ""),
        "mean of groups weighed by size": (pytest.approx(0.41), ""),
    }
    assert list(cells(model("b"))) == ["clean accuracy"]


def test_models_stand_by_clean_accuracy_then_by_name_in_one_table_a_store() -> None:
    names = {"b": 0.5, "a": 0.5, "best": 0.8, "worst": 0.1}
    models = [model(name, clean_accuracy=near(value)) for name, value in names.items()]
    elsewhere = {
        "weights_sha256": "x",
        "annotations_sha256": "x",
        "split": "val",
        "images": 41,
        "fold": "1/2",
        "reading": "store",
    }
    files = {"one": summary(*models[:2]), "two": summary(*models[2:])}
    files |= {key: summary(models[0], **{key: value}) for key, value in elsewhere.items()}
    files["renamed"] = summary(model("same store"), name="another name")
    first, *others = boards(files)
    assert [row.name for row in first.rows] == ["same store", "best", "a", "b", "worst"]
    assert first.store.name == "a store" and len(others) == len(elsewhere)
    assert all([row.name for row in other.rows] == ["b"] for other in others)


def test_columns_are_of_all_models_in_the_order_in_which_they_come() -> None:
    one, two = model("a", spurious_gap=near(0.1)), model("b", conditions=(condition(CORE, 0.4),))
    (board,) = boards({"one": summary(one, two)})
    assert board.columns == ("clean accuracy", "spurious gap", "spurious accuracy, noise 0.5")


def test_two_evaluations_of_a_model_are_merged() -> None:
    gap, other_gap = near(0.1), near(0.2)
    small = model(
        "a",
        images=30,
        clean_accuracy=near(0.5),
        conditions=(condition(CORE, 0.4),),
        controls=(claim(CORE, near(0.3)),),
        ratios={"rcs": (ratio("noise_0.5", "", 0.1),), "rfs": (ratio("noise_0.5", "", 0.2),)},
        spurious_gap=gap,
    )
    large = model(
        "a",
        conditions=(condition(SPURIOUS, 0.6),),
        controls=(claim(SPURIOUS, near(0.1)),),
        ratios={"rcs": (ratio("noise_0.5", "", 0.3),)},
    )
    for pair in ((small, large), (large, small)):
        both = merge(*pair)
        assert both is not None and both.clean_accuracy == near(0.9) and both.images == 40  # of the larger part
        assert [c.name for c in both.conditions] == [c.name for c in both.controls] == [SPURIOUS, CORE]
        assert {name: rows[0].ratio.value for name, rows in both.ratios.items()} == {"rcs": 0.3, "rfs": 0.2}
        assert both.spurious_gap == gap
    both = merge(small, replace(large, spurious_gap=other_gap))
    assert both is not None and both.spurious_gap == other_gap
    equal = merge(replace(small, images=40, clean_accuracy=near(0.9), spurious_gap=None), large)
    assert equal is not None and equal.conditions[0].name == CORE  # of equal parts the first one goes first


def test_groups_and_gaps_of_features_are_of_the_evaluation_that_has_them() -> None:
    some, more = (gap(0, 0.9, 0.2),), (gap(0, 0.9, 0.2), gap(1, 0.9, 0.2))
    small, large = model("a", images=20, groups=grouped(0.3, 0.5), feature_gaps=more), model("a", feature_gaps=some)
    both = merge(small, large)
    assert both is not None and both.groups == grouped(0.3, 0.5) and both.feature_gaps == more
    assert merge(large, replace(small, feature_gaps=())).feature_gaps == some  # type: ignore[union-attr]


def test_what_contradicts_itself_is_not_merged() -> None:
    own = model("a", conditions=(condition(CORE, 0.4),), controls=(claim(CORE, near(0.3)),))
    changes = (
        {"name": "b"},
        {"model": {"weights_sha256": "x"}},
        {"seed": 1},
        {"fold": "1/2"},
        {"clean_accuracy": near(0.5)},
        {"conditions": (condition(CORE, 0.5),)},
        {"controls": (claim(CORE, near(0.4)),)},
    )
    assert merge(own, own) == merge(own, copy.deepcopy(own)) == own
    assert [change for change in changes if merge(own, replace(own, **change)) is not None] == []
    # A control that only one of them ran says nothing against the other.
    against = Against(near(0.1), near(0.2))
    both = merge(own, replace(own, controls=(claim(CORE, near(0.3), against),)))
    assert both is not None and both.controls == own.controls
    fewer = replace(own, images=30, clean_accuracy=near(0.5))
    assert merge(own, fewer) == merge(fewer, own) == own
    with pytest.raises(
        SalientError, match="two different results of a on a store; got one and three; keep one of them"
    ):
        boards({"one": summary(own), "two": summary(own), "three": summary(replace(own, seed=1))})


def test_evaluations_are_found_below_a_folder_and_counted(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    with pytest.raises(SalientError, match=r"no evaluation in it; expected report\.json files; run `salient-imagenet"):
        read_summaries(tmp_path)
    for name, content in (("b.json", summary(model("x"))), ("deep/a.json", summary(model("y"), split="val"))):
        (tmp_path / name).write_text(json.dumps(content.to_json()))
    (tmp_path / "other.json").write_text('{"format": "of something else"}')
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "number.json").write_text('{"format": 7}')
    assert list(read_summaries(tmp_path)) == [str(tmp_path / "b.json"), str(tmp_path / "deep" / "a.json")]
    assert [len(board.rows) for board in write_leaderboard(tmp_path, tmp_path / "board.html")] == [1, 1]
    page = (tmp_path / "board.html").read_text()
    assert page.count("<tbody>") == 2 and ">x</td>" in page and "0.900 <span" in page
    (tmp_path / "theirs.html").write_text("mine")
    with pytest.raises(SalientError, match="not a page of ours"):
        write_leaderboard(tmp_path, tmp_path / "theirs.html")
    (tmp_path / "c.json").write_text("{")  # anybody's
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "report.json").write_text("{")
    assert len(read_summaries(tmp_path)) == 2
    (tmp_path / "c.json").write_text(json.dumps(summary(model("x")).to_json())[1:])
    with pytest.raises(SalientError, match=r"c\.json: not JSON; got "):
        read_summaries(tmp_path)
    (tmp_path / "c.json").unlink()
    for content in ("", "{", "[" * 100_000):
        (tmp_path / "report.json").write_text(content)
        with pytest.raises(SalientError, match=r"report\.json: not JSON; got "):
            read_summaries(tmp_path)
