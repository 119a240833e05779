"""Subsets of ImageNet by wnid folders are built and evaluated, and ranked, by a network of all thousand classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from salient_imagenet_data.annotation.files import write_annotations
from salient_imagenet_data.imagenet import wnids
from tests.conftest import Run
from tests.subsets.layouts import LAYOUTS
from tests.subsets.networks import TEN, knowing_network, write_network
from tests.subsets.truth import answers, averaged, build, truth


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_published_layout_with_a_network_of_a_thousand_classes(
    name: str, trees: dict[str, Path], tmp_path: Path, run: Run
) -> None:
    layout, net = LAYOUTS[name], knowing_network(LAYOUTS[name].names, 2)
    weights, folder = write_network(tmp_path / "w.safetensors", net), trees[name] / layout.folder
    split = "train" if layout.folder == "." else layout.folder
    store, err = build(run, trees[name], weights, tmp_path / "store", "--group-by", "label", split=split)
    assert store.class_names == tuple(sorted(layout.names))
    found = truth(net, folder, layout.names)
    assert store.rows.labels.tolist() == found.labels.tolist()
    assert store.rows.predictions.tolist() == found.over_all.tolist()
    record = store.manifest.network["classes"]
    columns = [wnids().index(n) for n in store.class_names]
    assert (record["of"], record["by"], record["outputs"]) == (1000, "name", columns)
    assert f"{len(columns)} of the network's 1000 outputs" in err

    write_annotations(tmp_path / "answers.csv", answers(store))
    assert run("apply", tmp_path / "store", tmp_path / "answers.csv")[0] == 0
    command = ["evaluate", tmp_path / "store", "--images", trees[name], "--weights", weights, "--no-controls", "--json"]
    code, out, err = run(*command)
    assert code == 0, err
    (result,) = json.loads(out).values()
    wanted = {
        "all": averaged(found.over_all == found.labels, found.labels),
        "store": averaged(found.among == found.labels, found.labels),
    }
    assert {k: v["value"] for k, v in result["by_reading"].items()} == pytest.approx(wanted)
    assert result["clean_accuracy"]["value"] == pytest.approx(wanted["all"])
    assert (result["outputs"], result["reading"]) == (1000, "all")
    assert result["outside"] == int((found.over_all < 0).sum())


def importances(folder: Path, groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """(10, F) mean feature of each group's images times the head's row of the class."""
    from PIL import Image

    net, files = knowing_network(), sorted(folder.glob("*/*.*"))
    x = torch.from_numpy(np.stack([np.asarray(Image.open(f).convert("RGB")) for f in files])).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        features = net.maps(x).mean(dim=(2, 3)).double().numpy()
    rows = net.head.weight.detach().double().numpy()[[wnids().index(n) for n in TEN]]
    means = [features[groups == label].mean(axis=0) if (groups == label).any() else 0 * rows[0] for label in range(10)]
    return np.stack(means) * rows


@pytest.mark.parametrize("reading", ["all", "store"])
def test_a_ranking_by_prediction_on_a_subset(
    reading: str, nette: Path, thousand: Path, tmp_path: Path, run: Run
) -> None:
    store, err = build(run, nette, thousand, tmp_path / "store", "--classes", reading)
    found = truth(knowing_network(), nette / "train", TEN)
    outside = int((found.over_all < 0).sum())
    assert outside > 3
    mine = found.over_all if reading == "all" else found.among
    assert store.rows.predictions.tolist() == mine.tolist()
    told = {"all": outside, "store": 0}[reading]
    assert store.manifest.network["predictions"] == {"among": reading, "images": 60, "outside": told}
    line = f"{outside} of 60 images are predicted as classes that the store has not, kept as -1; they rank no class"
    assert (line in err) == (reading == "all")
    wanted = importances(nette / "train", mine)
    for feature in store.features:
        ranked = np.argsort(-wanted[feature.class_index], kind="stable")
        assert feature.feature_index == ranked[feature.rank - 1]
        assert feature.importance == pytest.approx(wanted[feature.class_index, feature.feature_index], rel=1e-4)
