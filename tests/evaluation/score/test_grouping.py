"""Accuracies by group and by feature against plain loops over the store, and the command that prints them."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.evaluate import evaluate
from salient_imagenet_data.evaluation.numbers.groups import Rule
from salient_imagenet_data.evaluation.plan.plan import Conditions, rows_in
from salient_imagenet_data.evaluation.run.predictions import Answers, PredictionsFile
from salient_imagenet_data.evaluation.score.grouping import fold_in, groups_in, scored, sizes_in
from salient_imagenet_data.evaluation.score.outcomes import line_up
from salient_imagenet_data.evaluation.score.scoring import score
from salient_imagenet_data.folds import WHOLE, Fold
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run
from tests.evaluation.runs import run as infer_on
from tests.evaluation.runs import sensitive

GROUPS = Conditions(("groups2020",))


@pytest.fixture(scope="module")
def predictions(store: Store, images: Path, tmp_path_factory: pytest.TempPathFactory) -> PredictionsFile:
    path = tmp_path_factory.mktemp("groups") / "linear.parquet"
    return infer_on(store, images, path, GROUPS.plan(store))


def ranked(store: Store) -> list[tuple[str, int, bool]]:
    """Image id, class and whether the cue is shown, of the 9 classes with a spurious feature, by a plain loop."""
    found = []
    for label in range(10):
        slots = [f.rank - 1 for f in store.features if f.class_index == label and f.kind == "spurious"]
        mine = [row for row in range(len(store)) if store.rows[row].label == label]
        if not slots:
            continue
        z = np.zeros(len(mine))
        for slot in slots:
            values = store.activations[mine, slot].astype(np.float64)
            z += (values - values.mean()) / values.std()
        order = np.argsort(z, kind="stable")
        top = {mine[place] for place in order[len(mine) - len(mine) // 2 :]}
        found += [(store.rows[row].image_id, label, row in top) for row in mine]
    return found


def test_the_figures_of_an_evaluation_are_those_of_a_plain_loop(
    store: Store, images: Path, predictions: PredictionsFile
) -> None:
    result = score(predictions, store)
    right = {r.image_id: h for r, h in zip(store.rows, line_up(predictions, store)["clean"].hits, strict=True)}
    by_group: dict[tuple[int, bool], list[bool]] = {}
    for image_id, label, shown in ranked(store):
        by_group.setdefault((label, shown), []).append(bool(right[image_id]))
    assert result.groups is not None and len(result.groups.groups) == len(by_group) == 18
    for group in result.groups.groups:
        mine = by_group[group.class_index, group.shown]
        assert (group.accuracy.value, group.accuracy.n) == (np.mean(mine), len(mine))
        assert group.class_name == store.class_names[group.class_index]
    means = [float(np.mean(hits)) for hits in by_group.values()]
    assert result.groups.worst_group.value == min(means)
    assert result.groups.groups_alike.value == pytest.approx(np.mean(means))
    assert result.groups.groups_by_size.value == pytest.approx(np.mean([h for hits in by_group.values() for h in hits]))
    assert result.groups.groups_adjusted is result.groups.absent is None
    assert [g.accuracy.value for g in result.groups.lowest] == sorted(means)
    assert evaluate(sensitive, store, images, GROUPS).groups == result.groups


def test_a_features_gap_is_that_of_a_plain_loop(store: Store, predictions: PredictionsFile) -> None:
    right = line_up(predictions, store)["clean"].hits
    found = {(g.class_index, g.feature.rank): g for g in score(predictions, store).feature_gaps}
    assert len(found) == len(store.features) == 40
    for feature in store.features:
        rows = np.flatnonzero(store.rows.labels == feature.class_index)
        order = rows[np.argsort(store.activations[rows, feature.rank - 1], kind="stable")]
        gap = found[feature.class_index, feature.rank]
        assert (gap.most.value, gap.least.value) == (right[order[2:]].mean(), right[order[:2]].mean())
        assert gap.gap.value == gap.most.value - gap.least.value and gap.gap.n == 4
        assert (gap.feature.kind, gap.feature.feature_index) == (feature.kind, feature.feature_index)


def test_nothing_is_said_where_images_of_groups_were_not_answered(
    store: Store, bare_store: Store, images: Path, predictions: PredictionsFile
) -> None:
    a = predictions.conditions["clean"]
    arrays = (a.classes, a.probabilities, a.label_probability, a.square_sum)
    cut = Answers(a.image_ids[:-1], *(None if values is None else values[:-1] for values in arrays))  # type: ignore[arg-type]
    few = replace(predictions, conditions={"clean": cut})
    result = score(few, store)
    assert result.groups is None and len(result.feature_gaps) < 40
    with pytest.raises(SalientError, match="not all images of the groups have a clean answer; .*groups2020"):
        scored([few], groups_in(store, rows_in(store, WHOLE)), rows_in(store, WHOLE), store)
    bare = score(predictions, bare_store)
    assert bare.groups is None and {g.feature.kind for g in bare.feature_gaps} == {None}
    with pytest.raises(SalientError, match="not annotated"):
        GROUPS.plan(bare_store)
    only = evaluate(sensitive, store, images, Conditions(("spuriosity2023",)))
    assert only.spurious_gap is not None and only.images == 36 and only.groups is not None  # halves are all of a class


def test_figures_are_adjusted_to_groups_of_other_data_by_the_names_of_classes(
    store: Store, predictions: PredictionsFile
) -> None:
    rows = rows_in(store, WHOLE)
    groups = groups_in(store, rows)
    names = store.class_names
    like = {(names[1], True): 30, (names[1], False): 10, ("elsewhere", True): 60}
    (found,) = scored([predictions], groups, rows, store, like).values()
    means = {(g.class_name, g.shown): g.accuracy.value for g in found.groups}
    assert found.groups_adjusted is not None and found.absent == pytest.approx(0.6)
    assert found.groups_adjusted.value == pytest.approx(0.75 * means[names[1], True] + 0.25 * means[names[1], False])
    (same,) = scored([predictions], groups, rows, store, sizes_in(groups, store)).values()
    assert same.groups_adjusted is not None and same.groups_adjusted.value == pytest.approx(same.groups_by_size.value)
    with pytest.raises(SalientError, match="no group that the figures are adjusted to is here"):
        scored([predictions], groups, rows, store, {("elsewhere", True): 1})
    with pytest.raises(SalientError, match="two predictions files are of one model, linear"):
        scored([predictions, predictions], groups, rows, store)
    with pytest.raises(SalientError, match="predictions of different folds; expected one part; got 1/1, 1/2"):
        fold_in([predictions], Fold(1, 2))


def test_the_command_prints_sizes_and_figures_and_writes_who_is_in_which_group(
    store: Store, predictions: PredictionsFile, run: Run, tmp_path: Path
) -> None:
    table = tmp_path / "groups.csv"
    code, out, err = run("groups", store.path, predictions.path, "--out", table)
    assert code == 0 and f"wrote {table}: 40 images" in err, err
    lines = out.splitlines()
    assert lines[0] == (
        "40 images: 18 groups of 9 classes, 2 to 2 images each; 4 images of classes without a spurious feature are in none"
    )
    assert lines[1] == "shown are the 0.5 of a class with the highest spuriosity" and len(lines) == 13 + 10
    assert lines[4].split()[-3:] == ["4", "2", "2"] and lines[14] == "linear: 18 groups"
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["image_id"] for r in rows] == store.rows.image_ids.to_pylist()
    told = {(r["image_id"], int(r["label"]), r["cue"] == "shown") for r in rows if r["cue"]}
    assert told == set(ranked(store)) and all(not r["spuriosity"] for r in rows if not r["cue"])
    code, _, err = run("groups", store.path, "--out", table)
    assert code == 2 and "groups.csv: exists; expected a new file; choose another --out or use --overwrite" in err
    code, out, _ = run("groups", store.path, predictions.path, "--adjusted-to", store.path, "--json")
    found = json.loads(out)
    (figures,) = found["models"].values()
    assert code == 0 and found["rule"] == "0.5" and sum(g["images"] for g in found["groups"]) == 36
    assert found["images_without"] == 4 and figures["groups_adjusted"]["value"] == figures["groups_by_size"]["value"]


def test_groups_of_a_part_and_by_another_rule(store: Store, run: Run) -> None:
    code, out, _ = run("groups", store.path, "--shown", "0.25", "--json")
    sizes = {(g["class_name"], g["shown"]): g["images"] for g in json.loads(out)["groups"]}
    assert code == 0 and set(sizes.values()) == {1, 3} and all(n == (1 if key[1] else 3) for key, n in sizes.items())
    part = rows_in(store, Fold(1, 2))
    code, out, _ = run("groups", store.path, "--fold", "1/2", "--json")
    inside = [r for r in part if store.has("spurious")[store.rows.labels[r]]]
    assert sum(g["images"] for g in json.loads(out)["groups"]) == len(inside)
    code, out, _ = run("groups", store.path, "--shown", "split")
    assert code == 0 and "falls into two" in out
    for options, words in ((("--shown", "2"), "images that show the cue"), (("--fold", "3/2"), "fold; expected N/M")):
        code, _, err = run("groups", store.path, *options)
        assert code == 2 and words in err and "Traceback" not in err


def test_a_store_without_a_spurious_feature_has_no_groups(bare_store: Store, store: Store, run: Run) -> None:
    code, _, err = run("groups", bare_store.path)
    assert code == 2 and "not annotated" in err
    first = np.flatnonzero(store.rows.labels == 0)  # class 0 has none
    with pytest.raises(SalientError, match="no groups; expected a class with a spurious feature; got none"):
        groups_in(store, first, Rule())
