"""`study` as it is typed: on scenes with their truth, and on a store; what each option changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from salient_imagenet_data.builder.attacking import correct
from salient_imagenet_data.builder.train import load_images
from salient_imagenet_data.demo import study as scenes_study
from salient_imagenet_data.demo.study import FRAME, Counts
from salient_imagenet_data.evaluation.study.measures import AGAIN, WITH, WITHOUT
from salient_imagenet_data.folds import Fold
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.ranking.left_out import LeftOut
from salient_imagenet_data.scenes import SceneSource
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run

FEW = Counts(trained_on=60, tuned_on=40, tested_on=40, judged_on=50, epochs=1)


def test_on_scenes_the_truth_judges_and_a_stopped_study_goes_on_to_the_same_bytes(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenes_study, "QUICK", FEW)
    out = tmp_path / "out"
    typed = ("study", "--out", out, "--quick", "--seeds", 1, "--methods", "before,head random,spufix")
    code, said, told = run(*typed, "--processes", 2)
    assert code == 0, told
    report = json.loads((out / "study.json").read_text())
    before = report["rows"][0]
    network, _ = load_model(out / "start-0.safetensors")
    for name, seed, correlation in ((WITHOUT, 2023, 0.0), (AGAIN, 2025, 0.0), (WITH, 2024, 0.9)):
        pixels, labels, _ = load_images(SceneSource(50, seed=seed, correlation=correlation), FRAME, 1 << 30)
        assert before["truth"][name] == pytest.approx(float(correct(network, pixels, labels).mean()))
    assert report["about"]["scenes"]["judged_on"] == 50 and report["about"]["plan"]["weights"] == 1
    assert report["treatments"] == ["before", "head random", "spufix"] and report["starts"] == ["seed 0"]
    assert said.splitlines()[-1] == f"3 rows, 0 of methods that could not be used; see {out / 'index.html'}"
    page = (out / "index.html").read_text()
    assert "Which measure can be trusted?" in page and "<svg" in page and (out / "study.svg").exists()
    written = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    gone = out / "rows" / "seed-0.head-random.json"
    gone.unlink()
    gone.with_name(gone.name + ".salient.partial").write_text("half")
    code, _, told = run(*typed, "--processes", 1)
    assert code == 0 and told.startswith("2 of 3 rows are there already\n1/1 seed 0, head random: without the cue ")
    assert written == {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}


@pytest.fixture
def on_store(run: Run, store: Store, images: Path, weights: Path, tmp_path: Path) -> Any:
    def call(folder: str, *extra: object) -> dict[str, Any]:
        typed = (store.path, "--images", images, "--weights", weights, "--out", tmp_path / folder, "--processes", 1)
        code, said, told = run("study", *typed, "--json", *extra)
        assert code == 0, told
        found: dict[str, Any] = json.loads(said)
        return found

    return call


def test_on_a_store_there_is_no_truth_and_every_option_changes_the_report(
    on_store: Any, store: Store, tmp_path: Path
) -> None:
    usual = on_store("usual", "--methods", "none", "--name", "mine")
    assert usual["headline"] == [] and usual["rows"][0]["truth"] == {} and usual["starts"] == ["mine"]
    page = (tmp_path / "usual" / "index.html").read_text()
    assert "Do the measures agree?" in page and "<svg" not in page and "the truth</span>" not in page
    given = {
        "seeds": ("--seeds", 2),
        "sigma": ("--sigma", 0.9),
        "rate": ("--learning-rate", 0.1),
        "train": ("--train-fold", "1/4"),
        "test": ("--test-fold", "2/4"),
        "left out": ("--leave-out", tmp_path / "left_out.txt"),
    }
    ids = store.rows.image_ids.to_pylist()
    out = [i for i, a, b in zip(ids, Fold(2, 2).holds(ids), Fold(2, 4).holds(ids), strict=True) if a and not b]
    (tmp_path / "left_out.txt").write_text("\n".join(out) + "\n")
    reports = {}
    for folder, extra in given.items():
        found = reports[folder] = on_store(folder, "--methods", "none", "--name", "mine", *extra)
        first, same = found["rows"][0], usual["rows"][0]
        assert (first["measures"], first["counts"], len(found["rows"]), found["about"]["plan"]) != (
            *(same["measures"], same["counts"], 1),
            usual["about"]["plan"],
        ), folder
        assert found["about"]["plan"]["sigma"] == (0.9 if folder == "sigma" else 0.25)
    # What a smaller fold to test on has not is left out: but for measures of one image in six, it is the same.
    fold, rest = reports["test"]["rows"][0], reports["left out"]["rows"][0]
    few = {"insertion", "deletion", "insertion_core"}
    assert all(rest["measures"][k] == v for k, v in fold["measures"].items() if k not in few and k[:4] != "sis_")
    assert {n: rest["counts"][n] for n in ("images", "right")} == {n: fold["counts"][n] for n in ("images", "right")}
    facts = LeftOut(frozenset(out)).facts(ids)
    assert rest["counts"]["few"] == sum(Fold(2, 12).holds([i for i in ids if i not in out]))
    assert facts is not None and reports["left out"]["about"]["left_out"] == vars(facts)
    assert usual["about"]["left_out"] is None and facts.words in (tmp_path / "left out" / "index.html").read_text()
    with pytest.raises(AssertionError, match="holds a study of another plan"):
        on_store("left out", "--methods", "none", "--name", "mine")


def test_what_says_nothing_without_a_store_is_refused(run: Run, tmp_path: Path, store: Store) -> None:
    code, _, told = run("study", "--out", tmp_path / "out", "--train-fold", "1/2")
    assert code == 2 and "--train-fold: give a STORE with it" in told and not (tmp_path / "out").exists()
    code, _, told = run("study", store.path, "--out", tmp_path / "out")
    assert code == 2 and "with a STORE give its --images" in told
    code, _, told = run("study", "--out", tmp_path / "out", "--methods", "energie")
    assert code == 2 and told.startswith("Error: method is not known; expected before, none, energy")


def test_names_of_other_outputs_than_the_network_has_are_refused(
    run: Run, tmp_path: Path, store: Store, images: Path, weights: Path
) -> None:
    (tmp_path / "names.txt").write_text("bar\nbowtie\n")
    typed = (store.path, "--images", images, "--weights", weights, "--class-names", tmp_path / "names.txt")
    code, _, told = run("study", *typed, "--out", tmp_path / "out", "--processes", 1)
    assert code == 2 and "names of other outputs; expected 10 names; got 2" in told


def test_a_store_without_answers_is_refused(
    run: Run, tmp_path: Path, bare_store: Store, images: Path, weights: Path
) -> None:
    typed = (bare_store.path, "--images", images, "--weights", weights, "--out", tmp_path / "out", "--processes", 1)
    code, _, told = run("study", *typed)
    assert code == 2 and "not annotated, so no feature is core or spurious yet" in told
