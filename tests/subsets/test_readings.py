"""Accuracy among all classes of a network and among the store's: evaluation, repairs, attributions, subsets of pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from salient_imagenet_data.imagenet import wnids
from tests.conftest import Run
from tests.subsets.networks import TEN


def test_both_readings_with_controls(store: Path, nette: Path, thousand: Path, tmp_path: Path, run: Run) -> None:
    command = ["evaluate", store, "--images", nette, "--weights", thousand, "--sigma", "0.5", "--top-k", "0"]
    code, out, err = run(*command, "--out", tmp_path / "all")
    assert code == 0, err
    assert "It answers among its 1000 classes; the store has not 990 of them, and" in out
    code, out, err = run(*command, "--classes", "store", "--out", tmp_path / "store")
    assert code == 0, err
    assert "It answers among the store's 10 classes alone, of the 1000 that it knows." in out
    results = {
        name: json.loads((tmp_path / name / "report.json").read_text())["models"][0] for name in ("all", "store")
    }
    assert results["all"]["by_reading"] == results["store"]["by_reading"]
    names = [[c["name"] for c in results[n]["conditions"]] for n in results]
    assert names[0] == names[1] and any("random" in name for name in names[0])
    # Among fewer classes nobody is wrong more often, under no condition.
    pairs = [
        (a["accuracy"]["value"], s["accuracy"]["value"])
        for a, s in zip(*(results[n]["conditions"] for n in results), strict=True)
    ]
    assert all(a <= s for a, s in pairs) and any(a < s for a, s in pairs)
    # The probabilities of the two files are of one softmax: among all, and renewed among ten.
    from salient_imagenet_data.evaluation.run.predictions import read_predictions

    files = {n: read_predictions(next((tmp_path / n / "predictions").glob("*.parquet")), 10) for n in results}
    over_all, among = (files[n].conditions["clean"] for n in ("all", "store"))
    assert over_all.classes.shape[1] == 1000 and among.classes.shape[1] == 10
    table = np.zeros(over_all.classes.shape)
    np.put_along_axis(table, over_all.classes, over_all.probabilities.astype(float), axis=1)
    ten = np.zeros(among.classes.shape)
    np.put_along_axis(ten, among.classes, among.probabilities.astype(float), axis=1)
    inside = table[:, :10].sum(axis=1, keepdims=True)
    assert np.allclose(ten[inside[:, 0] > 1e-3], (table[:, :10] / inside)[inside[:, 0] > 1e-3], atol=1e-4)
    assert over_all.other_reading is not None and (over_all.other_reading == among.predicted).all()
    assert among.other_reading is not None and (among.other_reading == over_all.predicted).all()
    # Scored again without the network it says the same; beside the other reading it is refused.
    code, out, _ = run("score", store, files["all"].path, "--json")
    assert code == 0 and next(iter(json.loads(out).values()))["by_reading"] == results["all"]["by_reading"]
    code, _, err = run("score", store, files["all"].path, files["store"].path)
    assert code == 2 and ("different classes" in err or "of one model" in err)
    code, _, err = run(*command, "--classes", "store", "--out", tmp_path / "all")
    assert code == 2 and "reading differs" in err


@pytest.mark.parametrize("reading", ["all", "store"])
def test_a_head_is_retrained_among_all_classes_or_the_stores(
    reading: str, store: Path, nette: Path, thousand: Path, tmp_path: Path, run: Run
) -> None:
    from safetensors.torch import load_file

    out = tmp_path / "w.safetensors"
    command = ["retrain-head", store, "--images", nette, "--weights", thousand, "--classes", reading, "--out", out]
    code, said, err = run(*command, "--decay", "0.01")
    assert code == 0 and "10 of the network's 1000 outputs" in err, err
    before, after = load_file(thousand), load_file(out)
    changed = set((before["head.weight"] != after["head.weight"]).any(dim=1).nonzero().flatten().tolist())
    ten, neighbour = {wnids().index(n) for n in TEN}, wnids().index("n01443537")
    assert len(changed & ten) >= 5  # where all is right already, next to nothing changes
    assert neighbour in changed if reading == "all" else changed <= ten
    code, said, _ = run("evaluate", store, "--images", nette, "--weights", out, "--no-controls", "--json")
    (result,) = json.loads(said).values()
    assert result["outputs"] == 1000
    if reading == "all":  # it learned that nothing here is a goldfish
        assert result["clean_accuracy"]["value"] > 0.95


@pytest.mark.parametrize("reading", ["all", "store"])
def test_fine_tuning_keeps_all_outputs(
    reading: str, store: Path, nette: Path, thousand: Path, tmp_path: Path, run: Run
) -> None:
    from safetensors.torch import load_file

    out = tmp_path / "w.safetensors"
    command = ["finetune", store, "--images", nette, "--weights", thousand, "--classes", reading, "--out", out]
    code, _, err = run(*command, "--loss", "none", "--weight-decay", "0")
    assert code == 0, err
    before, after = load_file(thousand)["head.bias"], load_file(out)["head.bias"]
    assert after.shape == (1000,)
    neighbour = wnids().index("n01443537")
    assert (before[neighbour] != after[neighbour]) == (reading == "all")


def test_where_a_thousand_class_network_looks(store: Path, nette: Path, thousand: Path, run: Run) -> None:
    code, out, err = run("align", store, "--images", nette, "--weights", thousand, "--json", "--skip-missing")
    assert code == 0, err
    figures = next(iter(json.loads(out).values()))
    assert figures["iou"]["n"] > 50 and np.isfinite(figures["mass"]["value"])


def test_sufficient_pixels_of_a_thousand_class_network(
    store: Path, nette: Path, thousand: Path, tmp_path: Path, run: Run
) -> None:
    command = ["sis", store, "--images", nette, "--weights", thousand, "--out", tmp_path / "sis", "--tau", "0.5"]
    code, out, err = run(*command, "--cell", "8", "--step", "4", "--json")
    assert code == 0 and "10 of the network's 1000 outputs" in err, err
    (figures,) = json.loads(out).values()
    assert figures["images"] == 60 and figures["accuracy"]["value"] > 0.95  # among the ten
