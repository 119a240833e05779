"""Answers about a thousand classes, and pairs of the training images, on a subset."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from salient_imagenet_data.imagenet import wnids
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run
from tests.subsets.networks import TEN, knowing_network, write_network, write_tree
from tests.subsets.truth import build


def test_answers_about_a_thousand_classes_on_a_tree_of_ten(
    answered: Path, nette: Path, thousand: Path, tmp_path: Path, run: Run
) -> None:
    store, err = build(run, nette, thousand, tmp_path / "a", "--annotations", answered, "--group-by", "label")
    line = "2 of 12 classes of the answers are not here, and 6 answers about them are left out: kit fox, red fox"
    assert line in err
    assert [f.kind for f in store.features] == ["core", "spurious"] * 10
    assert [f.class_name for f in store.features[::2]] == list(TEN)
    build(run, nette, thousand, tmp_path / "b", "--group-by", "label", "--top-features", 2)
    code, out, err = run("apply", tmp_path / "b", answered)
    assert code == 0 and line in err and "10 core, 10 spurious, 0 without answers" in out
    assert [f.feature_index for f in Store(tmp_path / "b").features] == [f.feature_index for f in store.features]


def test_info_says_which_outputs_are_the_stores(store: Path, run: Run) -> None:
    code, out, _ = run("info", store)
    assert code == 0 and "classes by name, 10 of the network's 1000 outputs: 0 n01440764 tench," in out
    code, out, _ = run("info", store, "--json")
    assert json.loads(out)["network"]["classes"]["outputs"] == [wnids().index(n) for n in TEN]


def test_pairs_of_the_training_images_on_the_validation_set(
    store: Path, nette: Path, thousand: Path, tmp_path: Path, run: Run
) -> None:
    """In one command and one pass, on fewer classes and in another order of folders' numbers."""
    val = write_tree(tmp_path / "val", TEN[3:8], 3, "ILSVRC2012_val_{k:08d}_{wnid}.JPEG", first=50)
    for number, folder in enumerate(sorted(val.iterdir())):  # ids are unique over classes
        for k, file in enumerate(sorted(folder.iterdir())):
            file.rename(folder / f"ILSVRC2012_val_{10 * number + k:08d}.JPEG")
    command = ["build", "--images", val, "--split", "val", "--out", tmp_path / "v", "--pairs-of", store]
    code, _, err = run(*command, "--weights", thousand)
    assert code == 0, err
    assert "5 classes of store are not here: tench, English springer, cassette player, golf ball, parachute" in err
    train, made = Store(store), Store(tmp_path / "v")
    assert made.class_names == TEN[3:8] and made.manifest.split == "val" and made.manifest.annotations_sha256
    for mine in made.features:
        theirs = next(f for f in train.features if (f.class_name, f.rank) == (mine.class_name, mine.rank))
        same = ("feature_index", "kind", "cue", "votes_main_object", "votes_background", "reasons")
        assert [getattr(mine, n) for n in same] == [getattr(theirs, n) for n in same] and mine.kind is not None
    assert len(made.features) == 10 and made.manifest.network["pairs_of"]["images"] == 60
    # The maps are those of the features, measured apart.
    from PIL import Image

    net, files = knowing_network(), sorted(val.glob("*/*.JPEG"))
    x = torch.from_numpy(np.stack([np.asarray(Image.open(f).convert("RGB")) for f in files])).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        maps = net.maps(x).numpy()
    for row in range(len(made)):
        pair = next(f for f in made.features if f.class_index == made.rows[row].label and f.rank == 2)
        wanted = maps[row, pair.feature_index]
        assert np.abs(made.maps[row][1] / 255 - wanted / max(wanted.max(), 1e-12)).max() <= 0.5 / 255 + 1e-4
        assert made.activations[row, 1] == pytest.approx(wanted.mean(), rel=1e-4)
    assert run("evaluate", tmp_path / "v", "--images", val, "--weights", thousand, "--no-controls")[0] == 0

    other = write_network(tmp_path / "other.safetensors", knowing_network(TEN[1:]))
    code, _, err = run(*command, "--weights", other, "--overwrite")
    assert code == 2 and "the pairs of store were found with another network" in err
    assert run(*command, "--weights", other, "--overwrite", "--trust-annotations")[0] == 0
    code, _, err = run(*command, "--weights", thousand, "--annotations", "official")
    assert code == 2 and "give --annotations or --pairs-of, not both" in err
    none = write_tree(tmp_path / "none", ["n02119789"], 1, "{wnid}_{k}.JPEG")
    code, _, err = run("build", "--images", none, "--out", tmp_path / "n", "--pairs-of", store, "--weights", thousand)
    assert code == 2 and "no pairs of these classes; expected classes such as kit fox" in err
