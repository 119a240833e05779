"""Candidates against confident learning written out from the paper, on probabilities typed by rule."""

from __future__ import annotations

import builtins
import csv
import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.labels.candidates import OutOfSample, label_errors
from salient_imagenet_data.ranking.left_out import LeftOut

NAMES = ("ant", "bee", "cat")


def made(n: int = 240, seed: int = 0) -> tuple[OutOfSample, NDArray[np.bool_]]:
    """Probabilities near the truth, and labels of which a tenth is wrong."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 3
    scores = rng.normal(size=(n, 3))
    scores[np.arange(n), truth] += 2.5
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    wrong = rng.permutation(n) < n // 10
    labels = np.where(wrong, (truth + rng.integers(1, 3, n)) % 3, truth)
    ids = tuple(f"{NAMES[label]}/{row:03d}.png" for row, label in enumerate(labels))
    return OutOfSample(ids, labels, p, "numbers"), wrong


def by_the_paper(labels: NDArray[np.int64], p: NDArray[np.float64]) -> dict[str, set[int]]:
    """Northcutt et al. 2021, equations 1 and 2 and section 3.2, in loops."""
    n, classes = p.shape
    thresholds = [np.mean([p[row, k] for row in range(n) if labels[row] == k]) for k in range(classes)]
    counted = np.zeros((classes, classes))
    for row in range(n):
        above = [k for k in range(classes) if p[row, k] >= thresholds[k]]
        if above:
            counted[labels[row], max(above, key=lambda k: p[row, k])] += 1
    sizes = np.bincount(labels, minlength=classes)
    scaled = counted / counted.sum(axis=1, keepdims=True) * sizes[:, None]  # equation 2: rows add up to the labels
    whole = np.zeros((classes, classes), dtype=int)
    for i in range(classes):  # rounded so that they still do
        floor, rest = np.floor(scaled[i]).astype(int), scaled[i] - np.floor(scaled[i])
        floor[np.argsort(-rest)[: sizes[i] - floor.sum()]] += 1
        whole[i] = floor
    found: dict[str, set[int]] = {"class": set(), "noise-rate": set()}
    for i in range(classes):
        mine = [row for row in range(n) if labels[row] == i]
        found["class"] |= set(sorted(mine, key=lambda row: p[row, i])[: sizes[i] - whole[i, i]])
        for j in range(classes):
            if j != i:
                margins = sorted(mine, key=lambda row: p[row, i] - p[row, j])
                found["noise-rate"] |= set(margins[: whole[i, j]])
    found["both"] = found["class"] & found["noise-rate"]
    answered = {row for row in range(n) if p[row].argmax() == labels[row]}
    return {how: rows - answered for how, rows in found.items()}


@pytest.mark.parametrize("prune", ["noise-rate", "class", "both"])
def test_candidates_are_those_of_the_paper(prune: Any) -> None:
    given, wrong = made()
    found = label_errors(given, NAMES, prune)
    expected = by_the_paper(given.labels, given.probabilities)[prune]
    assert {given.image_ids.index(c.image_id) for c in found.candidates} == expected
    assert 15 <= len(expected) <= 45 and len(expected & set(np.flatnonzero(wrong).tolist())) >= 15
    assert (found.images, found.prune, found.source) == (240, prune, "numbers")


def test_a_candidate_says_its_label_what_is_more_probable_and_how_probable_both_are() -> None:
    given, _ = made()
    found = label_errors(given, NAMES)
    assert [c.rank for c in found.candidates] == list(range(1, len(found.candidates) + 1))
    assert [c.self_confidence for c in found.candidates] == sorted(c.self_confidence for c in found.candidates)
    for c in found.candidates:
        p = given.probabilities[given.image_ids.index(c.image_id)]
        assert (c.self_confidence, c.suggested_probability) == (p[c.label], p.max()) and p[c.suggested] == p.max()
        assert c.image_id.startswith(NAMES[c.label]) and c.suggested != c.label
    counted = [sum(c.label == k for c in found.candidates) for k in range(3)]
    assert [(c.class_name, c.images, c.candidates) for c in found.classes] == list(
        zip(NAMES, np.bincount(given.labels).tolist(), counted, strict=True)
    )


def test_the_table_is_what_is_left_out(tmp_path: Any) -> None:
    given, _ = made()
    found = label_errors(given, NAMES)
    (tmp_path / "c.csv").write_text(found.table(NAMES))
    assert LeftOut.read(tmp_path / "c.csv").ids == {c.image_id for c in found.candidates}
    rows = list(csv.DictReader(io.StringIO(found.table(NAMES))))
    first = found.candidates[0]
    assert rows[0] == {
        "rank": "1",
        "image_id": first.image_id,
        "label": NAMES[first.label],
        "suggested": NAMES[first.suggested],
        "self_confidence": f"{first.self_confidence:.6f}",
        "suggested_probability": f"{first.suggested_probability:.6f}",
    }


def test_what_is_printed_counts_by_class_and_begins_with_the_least_likely() -> None:
    given, _ = made()
    found = label_errors(given, NAMES)
    lines = found.words(NAMES).splitlines()
    n, c = len(found.candidates), found.candidates[0]
    assert lines[0] == f"{n} of 240 images may be labelled wrong ({n / 240:.1%}), by noise-rate on numbers"
    most = max(found.classes, key=lambda one: one.candidates)
    assert lines[3].split() == [most.class_name, str(most.images), str(most.candidates)]
    numbers = [f"{c.self_confidence:.3f}", NAMES[c.suggested], f"{c.suggested_probability:.3f}"]
    assert lines[8].split() == ["1", NAMES[c.label], *numbers, c.image_id]
    assert lines[-1] == f"and {n - 10} more"


def test_no_candidates_and_classes_without_images() -> None:
    sure = np.array([[0.9, 0.1, 0.0], [0.8, 0.2, 0.0], [0.1, 0.9, 0.0], [0.2, 0.8, 0.0]])
    given = OutOfSample(("a", "b", "c", "d"), np.array([0, 0, 1, 1]), sure, "numbers")
    found = label_errors(given, NAMES)
    assert found.candidates == () and [c.class_name for c in found.classes] == ["ant", "bee"]
    assert found.words(NAMES) == "0 of 4 images may be labelled wrong (0.0%), by noise-rate on numbers"
    single = OutOfSample(("a", "b", "c"), np.array([0, 0, 1]), sure[:3], "numbers")
    assert label_errors(single, NAMES).words(NAMES).splitlines()[1:] == [
        "1 class with one image cannot have a candidate"
    ]
    with pytest.raises(SalientError, match="labels of one class; expected images of two classes or more"):
        label_errors(OutOfSample(("a", "b"), np.array([0, 0]), sure[:2], "numbers"), NAMES)


def test_without_cleanlab_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("cleanlab"):
            raise ModuleNotFoundError(f"No module named {name!r}", name="cleanlab")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SalientError, match=r"label-errors: cleanlab is not installed; pip install '.*\[labels\]'$"):
        label_errors(made()[0], NAMES)
