"""Images that are left out count for no figure: as if the store and the answers had never had them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.evaluate import evaluate
from salient_imagenet_data.evaluation.plan.plan import Conditions, rows_in
from salient_imagenet_data.evaluation.report.leaderboard import boards
from salient_imagenet_data.evaluation.report.page import write_report
from salient_imagenet_data.evaluation.run.predictions import PredictionsFile
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.evaluation.score.outcomes import line_up
from salient_imagenet_data.evaluation.score.results import Summary
from salient_imagenet_data.evaluation.score.scoring import score
from salient_imagenet_data.evaluation.score.together import summarise
from salient_imagenet_data.folds import WHOLE, Fold
from salient_imagenet_data.ranking.left_out import LeftOut
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run
from tests.evaluation.runs import run as infer_on
from tests.evaluation.runs import sensitive

WANTED = Conditions(("iclr2022", "spuriosity2023"), (0.5,))


@pytest.fixture(scope="module")
def left_out(store: Store) -> LeftOut:
    """7 of 40."""
    return LeftOut(frozenset(store.rows[row].image_id for row in range(1, 40, 6)))


@pytest.fixture(scope="module")
def predictions(
    store: Store, images: Path, left_out: LeftOut, tmp_path_factory: pytest.TempPathFactory
) -> PredictionsFile:
    path = tmp_path_factory.mktemp("left_out") / "linear.parquet"
    return infer_on(store, images, path, WANTED.plan(store, left_out=left_out))


def test_every_figure_is_of_the_others_by_a_plain_loop(
    store: Store, images: Path, predictions: PredictionsFile, left_out: LeftOut
) -> None:
    whole, result = score(predictions, store), score(predictions, store, left_out)
    right = {store.rows[int(r)].image_id: h for r, h in zip(*_clean(predictions, store), strict=True)}
    kept = [row for row in range(len(store)) if store.rows[row].image_id not in left_out.ids]
    accuracies = [
        np.mean([right[store.rows[row].image_id] for row in kept if store.rows[row].label == label])
        for label in range(10)
    ]
    assert result.clean_accuracy.value == pytest.approx(np.mean(accuracies)) != whole.clean_accuracy.value
    assert (result.images, whole.images, result.clean_accuracy.n) == (33, 40, 33)
    for condition in result.conditions:
        n = {c.name: c for c in whole.conditions}[condition.name].accuracy.n
        ids = predictions.conditions[condition.name].image_ids
        assert condition.accuracy.n == n - len(left_out.ids & set(ids)) == len(set(ids) - left_out.ids)
    assert result.left_out is not None and result.left_out.images == 7 and whole.left_out is None
    assert evaluate(sensitive, store, images, WANTED, Settings(left_out=left_out)) == replace(
        result, name="model", model={"name": "model"}, seed=0
    )


def _clean(predictions: PredictionsFile, store: Store) -> tuple[list[int], list[bool]]:
    clean = line_up(predictions, store)["clean"]
    return clean.rows.tolist(), clean.hits.tolist()


def test_the_most_and_the_least_spurious_are_ranked_without_them(
    store: Store, predictions: PredictionsFile, left_out: LeftOut
) -> None:
    result = score(predictions, store, left_out)
    right = dict(zip(*_clean(predictions, store), strict=True))
    gaps = []
    for label in range(10):
        slots = [f.rank - 1 for f in store.features if f.class_index == label and f.kind == "spurious"]
        mine = [r for r in range(40) if store.rows[r].label == label and store.rows[r].image_id not in left_out.ids]
        if not slots:
            continue
        values = store.activations[mine][:, slots].astype(np.float64)
        spread = np.where(values.std(axis=0) > 0, values.std(axis=0), 1.0)
        order = np.argsort(((values - values.mean(axis=0)) / spread).mean(axis=1), kind="stable")
        k = len(mine) // 2
        most, least = ([right[mine[place]] for place in part] for part in (order[-k:], order[:k]))
        gaps.append(np.mean(most) - np.mean(least))
    assert len(gaps) == 9 and result.spurious_gap is not None
    assert result.spurious_gap.value == pytest.approx(np.mean(gaps))
    assert {len(rows_in(store, WHOLE, left_out)), len(rows_in(store, WHOLE))} == {33, 40}


def test_a_plan_answers_what_the_scores_with_and_without_need(store: Store) -> None:
    """Of three images of a class the middle one is at neither end, until one of the others is left out."""
    only_ends, labels = Conditions(("spuriosity2023",)), store.rows.labels
    fold = Fold(1, 2)
    rows, answered = rows_in(store, fold), only_ends.plan(store, fold).rows
    middle = [r for r in rows if r not in answered and (labels[rows] == labels[r]).sum() == 3 and labels[r] > 0]
    end = next(r for r in answered if labels[r] == labels[middle[0]])
    left_out = LeftOut(frozenset([store.rows[int(end)].image_id]))
    both = only_ends.plan(store, fold, left_out).rows
    assert middle[0] in both and set(answered) < set(both)  # the one that is left out too
    assert set(rows_in(store, fold, left_out)) == set(rows) - {end}


def test_nothing_left_of_a_condition_is_an_error(store: Store, predictions: PredictionsFile) -> None:
    ids = frozenset(predictions.conditions["noise_0.5@core"].image_ids)
    with pytest.raises(SalientError, match="condition noise_0.5@[a-z_]+: all images are left out; expected some"):
        score(predictions, store, LeftOut(ids))


def test_a_report_says_it_and_is_no_row_of_the_table_of_all_images(
    store: Store, predictions: PredictionsFile, left_out: LeftOut, tmp_path: Path
) -> None:
    without, whole = summarise([predictions], store, left_out=left_out), summarise([predictions], store)
    facts = without.store.left_out
    assert facts is not None and f"; {facts.words}. Accuracy" in write_report(without, tmp_path, store).read_text()
    assert Summary.from_json(json.loads(json.dumps(without.to_json())), "it") == without
    assert len(boards({"a": without, "b": whole})) == 2
    assert [f"\n{facts.words}\n" in str(s.models[0]) for s in (without, whole)] == [True, False]


def test_the_commands_leave_out_what_a_file_names(
    store: Store, predictions: PredictionsFile, left_out: LeftOut, tmp_path: Path, run: Run
) -> None:
    path = tmp_path / "ids.csv"
    path.write_text("\n".join(["image_id", *sorted(left_out.ids), "elsewhere.png"]) + "\n")
    code, out, err = run("score", store.path, predictions.path, "--leave-out", path, "--json")
    assert code == 0 and err == f"1 image to leave out is not in {store.path}: elsewhere.png\n"
    (found,) = json.loads(out).values()
    expected = score(predictions, store, left_out)
    assert found["clean_accuracy"]["value"] == expected.clean_accuracy.value and found["left_out"]["images"] == 7
    code, out, _ = run("groups", store.path, "--leave-out", path, "--json")
    groups = json.loads(out)
    assert code == 0 and groups["left_out"]["images"] == 7
    assert sum(g["images"] for g in groups["groups"]) + groups["images_without"] == 33
    code, out, _ = run("groups", store.path, "--leave-out", path)
    assert out.startswith("7 images left out on request (ids ") and "\n\n33 images: " in out
