"""The spurious score against plain counting, and as a command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.numbers.overlap import auroc
from salient_imagenet_data.evaluation.saliency.alignment import average_precision
from salient_imagenet_data.evaluation.spurious_score import class_places, resampled_scores, spurious_score
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.networks.opening import open_network
from tests.conftest import Run
from tests.subsets.networks import TEN, knowing_network, write_network, write_tree


@pytest.fixture(scope="module")
def cues(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of other classes under the names of two: what shows their spurious feature and not them."""
    folder = tmp_path_factory.mktemp("cues")
    names = sorted(p.name for p in images.iterdir())
    for name, others in ((names[2], names[3:5]), (names[7], names[8:9])):
        (folder / name).mkdir()
        for other in others:
            for file in sorted((images / other).iterdir()):
                shutil.copy(file, folder / name / f"{other}_{file.name}")
    return folder


def test_against_plain_counting(images: Path, cues: Path, weights: Path) -> None:
    own, other = FolderSource(images), FolderSource(cues)
    classifier = open_network(None, own.class_names, weights)
    found = spurious_score(classifier, own, other)

    def probabilities(source: FolderSource) -> np.ndarray:
        pixels = np.stack([classifier.preprocessing.apply(source.pixels(i)) for i in range(len(source))])
        with torch.inference_mode():
            return classifier.model(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255).softmax(1).numpy()

    here, there = probabilities(own), probabilities(other)
    labels = [own.entry(i).label for i in range(len(own))]
    asked = [other.entry(i).label for i in range(len(other))]
    assert [c.class_name for c in found.classes] == list(other.class_names) and found.broken == 0
    for label, c in zip((2, 7), found.classes, strict=True):
        p = [here[i, label] for i in range(len(own)) if labels[i] == label]
        q = [there[i, label] for i in range(len(other)) if other.class_names[asked[i]] == own.class_names[label]]
        assert (c.images, c.spurious) == (len(p), len(q)) == (4, 8 if label == 2 else 4)
        assert c.auroc == pytest.approx(np.mean([(a > b) + 0.5 * (a == b) for a in p for b in q]))
        precision = [sum(x >= a for x in p) / sum(x >= a for x in p + q) for a in p]
        assert c.average_precision == pytest.approx(np.mean(precision))
        assert c.probability == pytest.approx(np.mean(p)) and c.probability_spurious == pytest.approx(np.mean(q))
        called = [row.argmax() == label for i, row in enumerate(here) if labels[i] == label]
        assert c.called == pytest.approx(np.mean(called))
    assert found.auroc.value == pytest.approx(np.mean([c.auroc for c in found.classes]))
    assert found.average_precision.value == pytest.approx(np.mean([c.average_precision for c in found.classes]))
    assert found.auroc.low <= found.auroc.value <= found.auroc.high and found.auroc.classes == 2


def test_drawn_scores_are_those_of_drawn_images() -> None:
    """The same draws, image by image; with equal scores on both sides."""
    own, other = np.array([0.9, 0.5, 0.5, 0.2]), np.array([0.7, 0.5, 0.1])
    found = resampled_scores(own, other, draws=200, seed=4)
    rng = np.random.default_rng(4)
    mine, theirs = rng.multinomial(4, [0.25] * 4, size=200), rng.multinomial(3, [1 / 3] * 3, size=200)
    for row, a, b in zip(found, mine, theirs, strict=True):
        scores = np.concatenate([np.repeat(own, a), np.repeat(other, b)])
        truth = np.arange(len(scores)) < 4
        assert row == pytest.approx([auroc(scores, truth), average_precision(scores, truth)])
    assert found[:, 0].std() > 0.05


def test_classes_are_matched_by_name() -> None:
    assert class_places(("n01440764", "golf ball", "c"), ("c", "tench, Tinca tinca")).tolist() == [2, 0]
    with pytest.raises(
        SalientError, match="classes that are not among those of the images; .*got sea; name each folder"
    ):
        class_places(("a", "b"), ("b", "sea"))


def test_the_command(images: Path, cues: Path, weights: Path, tmp_path: Path, run: Run) -> None:
    given = ("spurious-score", "--images", images, "--spurious", cues, "--weights", weights)
    code, out, err = run(*given, "--json")
    assert code == 0, err
    (found,) = json.loads(out).values()
    own = FolderSource(images)
    expected = spurious_score(open_network(None, own.class_names, weights), own, FolderSource(cues))
    assert found["auroc"]["value"] == pytest.approx(expected.auroc.value)
    assert found["classes"][1]["average_precision"] == pytest.approx(expected.classes[1].average_precision)
    code, out, _ = run(*given)
    assert code == 0 and "spurious score over 2 classes" in out
    assert f"AUROC {expected.auroc.words}, average precision {expected.average_precision.words}" in out
    copy = Path(shutil.copytree(cues, tmp_path / "cues"))
    first, *rest = sorted(sorted(copy.iterdir())[0].iterdir())
    first.write_bytes(b"no image")
    code, _, err = run("spurious-score", "--images", images, "--spurious", copy, "--weights", weights)
    assert code == 0 and "1 images cannot be decoded and are left out" in err
    for file in rest:
        file.write_bytes(b"no image")
    code, _, err = run("spurious-score", "--images", images, "--spurious", copy, "--weights", weights)
    assert code == 2 and "no readable image of its spurious feature; expected at least one" in err


def test_a_network_that_knows_more_classes(tmp_path: Path, run: Run) -> None:
    """Two of its thousand classes, in one split of two: asked among all, or among these, which is surer of each."""
    for split, first in (("train", 0), ("val", 50)):
        write_tree(tmp_path / "own" / split, TEN[2:5], 3, "{wnid}_{k}.JPEG", first=first)
        write_tree(tmp_path / "cues" / split, TEN[3:5], 2, "cue_{wnid}_{k}.JPEG", first=first + 20)
    thousand = write_network(tmp_path / "thousand.safetensors", knowing_network())
    given = (
        "spurious-score",
        "--images",
        tmp_path / "own",
        "--spurious",
        tmp_path / "cues",
        "--weights",
        thousand,
        "--json",
    )

    def scores(*more: object) -> dict[str, object]:
        code, out, err = run(*given, *more)
        assert code == 0, err
        (found,) = json.loads(out).values()
        return found  # type: ignore[no-any-return]

    among_all, among_ours, training = scores(), scores("--classes", "store"), scores("--split", "train")
    assert [c["class_name"] for c in among_all["classes"]] == ["chain saw", "church"]  # type: ignore[attr-defined]
    for wide, narrow, other in zip(among_all["classes"], among_ours["classes"], training["classes"], strict=True):  # type: ignore[call-overload]
        assert narrow["probability"] > wide["probability"] and wide["probability"] != other["probability"]
    (tmp_path / "names.txt").write_text("tench\ngoldfish\nchurch\n")
    code, _, err = run(*given, "--class-names", tmp_path / "names.txt")
    assert code == 2 and "names of other outputs; expected 1000 names; got 3" in err
