"""One name for each figure, the same in the code and in the docs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from salient_imagenet_data.evaluation.plan.condition import Condition
from salient_imagenet_data.evaluation.plan.vocabulary import FIGURES, accuracy_words, better, region_words

DOCS = Path(__file__).parents[3] / "docs" / "evaluation.md"


def test_the_glossary_of_the_docs_is_the_codes_own_table() -> None:
    table = DOCS.read_text().split("## Glossary")[1].split("\n## ")[0]
    rows = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in table.splitlines() if "|" in line
    ]
    expected = [[f.name, f.key, f.images, f.corrupted, f.left, f.better or "neither", f.compare] for f in FIGURES]
    assert rows[2:] == expected


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("noise_0.25@spurious", "core accuracy, noise 0.25"),
        ("noise_0.25@core", "spurious accuracy, noise 0.25"),
        ("noise_1@not_core_dilated15", "acc(C), noise 1"),
        ("noise_1@core_dilated15", "acc(S), noise 1"),
        ("fill_gray@foreground_box", "accuracy, fill gray on the box of the foreground"),
        ("noise_0.5@rank_2", "accuracy, noise 0.5 on the feature of rank 2"),
        ("noise_0.5@core_random", "accuracy, noise 0.5 on a random region as large as the core pixels"),
        ("noise_0.5@spurious_other", "accuracy, noise 0.5 on another image's mask as the spurious pixels"),
        ("noise_0.5#2@foreground", "accuracy, noise 0.5 on the foreground, trial 2"),
    ],
)
def test_conditions_in_words(name: str, words: str) -> None:
    assert accuracy_words(Condition.parse(name)) == words


def test_names_are_told_apart() -> None:
    assert len({f.name for f in FIGURES}) == len({f.key for f in FIGURES}) == len(FIGURES)
    assert region_words("their_own") == "their_own" and not any(re.search("[_@]", f.name) for f in FIGURES)


def test_which_way_is_better() -> None:
    assert better("core accuracy, noise 0.25") == "higher" and better("RCS, noise 1") == "higher"
    assert better("spurious gap") == "nearer 0" and better("spurious accuracy, noise 1") == better("model") == ""
