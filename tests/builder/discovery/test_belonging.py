"""Answers and networks that belong together, and those that do not."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pytest

from salient_imagenet_data.annotation.files import write_annotations
from salient_imagenet_data.builder.discovery.belonging import Belonging, belonging, check_belonging
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run, answers_for


def ranked(classes: int = 10, features: int = 96, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Importance, and the five most important features of each class."""
    importance = np.random.default_rng(seed).normal(size=(classes, features))
    return importance, np.argsort(-importance, axis=1)[:, :5]


def test_the_right_network_has_all_and_another_what_chance_has() -> None:
    importance, pairs = ranked()
    own = belonging(importance, pairs)
    assert own == Belonging(50, 50, 20, 20 / 96) and own.likely
    other = belonging(ranked(seed=1)[0], pairs)
    assert other is not None and 0.1 < other.share < 0.35 and not other.likely


def test_classes_without_images_and_pairs_without_answers_do_not_count() -> None:
    importance, pairs = ranked()
    importance[3], importance[4] = np.nan, 0.0
    pairs[5, 2:] = -1
    assert belonging(importance, pairs) == Belonging(37, 37, 20, 20 / 96)


def test_small_networks_say_nothing() -> None:
    importance, pairs = ranked(features=9)
    assert belonging(importance, pairs) is None
    assert belonging(*ranked(features=10)) is not None  # the five of ten
    assert belonging(np.full((2, 96), np.nan), pairs[:2]) is None


@pytest.mark.parametrize(
    ("found", "pairs", "likely"),
    [
        (0, 1, True),
        (0, 5, False),
        (1, 5, True),
        (3, 10, False),
        (4, 10, True),
        (27, 50, False),
        (40, 50, True),
        (0, 5000, False),
    ],
)
def test_refused_is_what_one_right_network_in_a_thousand_gives(found: int, pairs: int, likely: bool) -> None:
    # Binomial tails at 0.8: 0.2, 0.00032, 0.0067, 0.00086, 0.0064, 0.00002, 0.58, 0.
    assert Belonging(found, pairs, 20, 0.2).likely is likely


def test_the_error_says_how_many_and_what_to_do() -> None:
    with pytest.raises(SalientError) as error:
        check_belonging(Belonging(10, 50, 20, 20 / 96))
    assert str(error.value) == (
        "the answers are about another network: 10 of their 50 features are among the 20 most important of their class; "
        "expected nearly all (another network has 21% there by chance); got 20%; give the weights that the answers were "
        "made with, or --trust-annotations to go on all the same"
    )
    check_belonging(None)


def test_a_build_refuses_the_answers_about_another_network_unless_told(images: Path, tmp_path: Path, run: Run) -> None:
    with as_file(files("salient_imagenet_data.scenes")) as folder:
        robust, standard = (folder / f"{name}.safetensors" for name in ("robust", "standard"))
        common = ("build", "--images", images, "--group-by", "label", "--attacked", 0, "--weights")
        assert run(*common, robust, "--out", tmp_path / "first", "--top-features", "4")[0] == 0
        write_annotations(tmp_path / "answers.csv", answers_for(Store(tmp_path / "first")))
        answers = ("--annotations", tmp_path / "answers.csv")
        assert run(*common, robust, *answers, "--out", tmp_path / "right")[0] == 0
        status, _, said = run(*common, standard, *answers, "--out", tmp_path / "wrong")
        assert status == 2 and "Error: the answers are about another network: " in said.splitlines()[-1]
        assert not (tmp_path / "wrong" / "manifest.json").exists()
        assert run(*common, standard, *answers, "--out", tmp_path / "told", "--trust-annotations")[0] == 0
