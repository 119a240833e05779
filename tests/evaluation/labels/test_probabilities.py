"""Probabilities of files of predictions and of heads fitted fold by fold, and the command that finds candidates of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.labels.answered import from_predictions
from salient_imagenet_data.evaluation.labels.candidates import label_errors
from salient_imagenet_data.evaluation.labels.crossed import cross_validated, held_out, parts_of
from salient_imagenet_data.evaluation.mitigation.heads.fitting import fit_head
from salient_imagenet_data.evaluation.plan.plan import Conditions, rows_in
from salient_imagenet_data.evaluation.run.predictions import PredictionsFile, from_probabilities
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.folds import Fold
from salient_imagenet_data.networks.opening import open_networks
from salient_imagenet_data.ranking.left_out import LeftOut
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run
from tests.evaluation.runs import run as infer_on


@pytest.fixture(scope="module")
def file(store: Store, images: Path, tmp_path_factory: pytest.TempPathFactory) -> PredictionsFile:
    path = tmp_path_factory.mktemp("answers") / "linear.parquet"
    return infer_on(store, images, path, Conditions(("groups2020",)).plan(store), top_k=None)


def test_the_probabilities_of_a_file_are_the_clean_answers_by_class(store: Store, file: PredictionsFile) -> None:
    found, answers = from_predictions(file, store), file.conditions["clean"]
    for row, image_id in enumerate(answers.image_ids):
        by_class = dict(zip(answers.classes[row].tolist(), answers.probabilities[row].tolist(), strict=True))
        assert found.probabilities[row] == pytest.approx([by_class[k] for k in range(10)], abs=1e-6)
        assert (found.image_ids[row], found.labels[row]) == (image_id, store.rows[store.rows.find(image_id)].label)
    assert found.source == "the predictions of linear" and len(found.labels) == 40


def test_of_a_model_that_knows_more_classes_they_are_given_the_stores(store: Store) -> None:
    wide = np.random.default_rng(0).dirichlet(np.ones(12), size=2).astype(np.float32)
    ids, labels = [store.rows[row].image_id for row in (5, 3)], store.rows.labels[[5, 3]]
    answers = from_probabilities(ids, wide, labels, None)
    found = from_predictions(PredictionsFile(Path("x"), "x", {}, {"clean": answers}, 12), store)
    assert found.probabilities == pytest.approx(wide[:, :10] / wide[:, :10].sum(axis=1, keepdims=True), abs=1e-6)
    none = from_probabilities(ids, np.eye(12, dtype=np.float32)[[11, 2]], labels, None)
    with pytest.raises(SalientError, match=f"x: {ids[0]}: no probability for any class of the store"):
        from_predictions(PredictionsFile(Path("x"), "x", {}, {"clean": none}, 12), store)


def test_files_that_lack_what_is_needed_are_refused(store: Store, file: PredictionsFile) -> None:
    with pytest.raises(SalientError, match="no clean answers; expected a condition 'clean'"):
        from_predictions(replace(file, conditions={}), store)
    few = replace(file.conditions["clean"], classes=file.conditions["clean"].classes[:, :5])
    with pytest.raises(
        SalientError, match="the 5 most probable classes only; expected the probabilities of all 10; `eva"
    ):
        from_predictions(replace(file, conditions={"clean": few}), store)
    strange = replace(file.conditions["clean"], image_ids=("x", *file.conditions["clean"].image_ids[1:]))
    with pytest.raises(SalientError, match="1 images are not in .*; got x"):
        from_predictions(replace(file, conditions={"clean": strange}), store)


def test_parts_hold_as_many_of_each_class_and_are_the_same_in_any_order() -> None:
    ids, labels = [f"{n}.png" for n in range(33)], np.arange(33) % 3
    parts = parts_of(ids, labels, 5)
    for label in range(3):
        assert sorted(np.bincount(parts[labels == label], minlength=5).tolist()) == [2, 2, 2, 2, 3]
    order = np.random.default_rng(0).permutation(33)
    assert parts_of([ids[k] for k in order], labels[order], 5).tolist() == parts[order].tolist()
    assert parts_of(ids, labels, 3).tolist() != parts_of([f"x{n}" for n in ids], labels, 3).tolist()


def test_an_image_is_asked_about_by_a_head_that_has_not_seen_it(store: Store, images: Path, weights: Path) -> None:
    (opener,) = open_networks(store, weights=[str(weights)]).values()
    found = cross_validated(opener(), store, images, folds=2, decay=0.01)
    assert found.image_ids == tuple(store.rows.image_ids.to_pylist()) and found.source.endswith(" 1 of 2 folds")
    assert found.probabilities.sum(axis=1) == pytest.approx(1.0)
    features = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    labels, parts = torch.from_numpy(found.labels), parts_of(found.image_ids, found.labels, 2)
    p = held_out(features, labels, parts, 10, 0.01)
    there = torch.from_numpy(parts == 0)
    head = fit_head(features[there], labels[there], torch.zeros(10, 3), torch.zeros(10), decay=0.01)
    assert head.bias is not None
    expected = (features[~there].double() @ head.weight.double().T + head.bias.double()).softmax(1)
    assert torch.allclose(p[~there], expected)
    other = features.clone()
    other[int(there.nonzero()[0])] += 1.0  # changes the head of the others, and nothing but its own answer in its part
    changed = held_out(other, labels, parts, 10, 0.01)
    assert not torch.allclose(changed[~there], p[~there]) and torch.equal(changed[there][1:], p[there][1:])


def test_the_command_writes_what_it_finds(
    store: Store, images: Path, weights: Path, file: PredictionsFile, tmp_path: Path, run: Run
) -> None:
    out = tmp_path / "c.csv"
    code, text, err = run("label-errors", store.path, file.path, "--out", out)
    found = label_errors(from_predictions(file, store), store.class_names)
    assert (
        code == 0
        and text == found.words(store.class_names) + "\n"
        and out.read_text() == found.table(store.class_names)
    )
    assert "only if the model was not trained on these images, of split train\n" in err and f"wrote {out}: " in err
    assert run("label-errors", store.path, file.path, "--out", out)[0] == 2  # is there
    (tmp_path / "ids.txt").write_text("\n".join(store.rows.image_ids.to_pylist()[1::4]) + "\n")
    for words in ((file.path,), ("--images", images, "--weights", weights, "--folds", 2)):
        code, text, err = run("label-errors", store.path, *words, "--json", "--leave-out", tmp_path / "ids.txt")
        assert code == 0 and [c["images"] for c in json.loads(text)["classes"]] == [3] * 10
        assert "10 images left out on request (ids " in err and json.loads(text)["left_out"]["images"] == 10
    kept = from_predictions(file, store).without(LeftOut.read(tmp_path / "ids.txt"))
    assert kept.image_ids == tuple(i for k, i in enumerate(found_ids(store)) if k % 4 != 1)
    assert kept.probabilities.shape == (30, 10)
    with pytest.raises(SalientError, match="all images are left out; expected some that are not"):
        kept.without(LeftOut(frozenset(found_ids(store))))
    results = {}
    where = (
        "label-errors",
        store.path,
        "--images",
        images,
        "--weights",
        weights,
        "--json",
        "--overwrite",
        "--out",
        out,
    )
    for words in ((), ("--folds", 2), ("--decay", 1.0), ("--prune", "class")):
        code, text, err = run(*where, *words)
        assert code == 0, err
        results[words] = json.loads(text)
        assert "the body of the network is only if it was not trained on these labels\n" in err
        assert len(out.read_text().splitlines()) == 1 + len(results[words]["candidates"])
    usual = results.pop(())
    assert usual["images"] == 40 and sum(c["candidates"] for c in usual["classes"]) == len(usual["candidates"]) > 0
    assert all(other != usual for other in results.values())
    code, _, err = run(*where, "--fold", "1/2")  # which has one image of some class
    assert code == 2 and ": one image, so nothing is left to fit on when it is held out; expected two or more" in err


def found_ids(store: Store) -> list[str]:
    ids: list[str] = store.rows.image_ids.to_pylist()
    return ids


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "Error: probabilities; expected either a file of predictions, or --images with a network\n"),
        (("FILE", "--images", "."), "Error: probabilities; expected either a file of predictions, or --images with a"),
        (("FILE", "--weights", "x"), "Error: --weights: is about --images; leave it out, or the file of predictions\n"),
        *(
            (("FILE", *option), f"Error: {option[0]}: is about --images; leave it out, or the file of predictions\n")
            for option in (
                *(("--fold", "1/2"), ("--folds", "5"), ("--decay", "0.1"), ("--architecture", "resnet50")),
                *(("--class-names", "x"), ("--skip-missing",), ("--device", "cpu"), ("--workers", "1")),
            )
        ),
    ],
)
def test_options_that_do_not_go_together_are_one_line(
    words: tuple[str, ...], message: str, store: Store, file: PredictionsFile, run: Run
) -> None:
    code, _, err = run("label-errors", store.path, *(file.path if word == "FILE" else word for word in words))
    assert code == 2 and err.startswith(message)


def test_too_few_folds_or_images_of_a_class_are_refused(store: Store, images: Path, weights: Path) -> None:
    (opener,) = open_networks(store, weights=[str(weights)]).values()
    with pytest.raises(SalientError, match="folds; expected 2 or more; got 1"):
        cross_validated(opener(), store, images, folds=1)
    fold = next(f for n in range(2, 30) if (np.bincount(store.rows.labels[rows_in(store, f := Fold(1, n))]) == 1).any())
    with pytest.raises(
        SalientError, match="class '.*': one image, so nothing is left to fit on when it is held out; exp"
    ):
        cross_validated(opener(), store, images, settings=Settings(fold=fold))
