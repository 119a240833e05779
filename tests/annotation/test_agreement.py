"""Agreement against published figures and an independent implementation."""

from __future__ import annotations

from dataclasses import replace

import krippendorff as reference
import numpy as np
import pytest

from salient_imagenet_data.annotation.agreement import Agreement, fleiss, krippendorff

WIKIPEDIA = np.array(
    [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
)
"""Ten subjects, 14 raters, five categories: kappa 0.210 (the worked example of the English Wikipedia's article)."""


def test_fleiss_of_the_worked_example() -> None:
    found = fleiss(WIKIPEDIA)
    assert found.value == pytest.approx(0.210, abs=5e-4) and found.pairs == 10
    assert found.low is not None and found.high is not None and found.low < 0.210 < found.high


def test_krippendorff_is_the_references_on_counts_of_any_shape() -> None:
    generator = np.random.default_rng(4)
    for people, pairs in ((5, 30), (2, 12), (3, 200)):
        said = generator.integers(0, 3, (people, pairs)).astype(float)
        said[:, : pairs // 2] = said[0, : pairs // 2]  # on half of them all agree
        said[generator.random(said.shape) < 0.3] = np.nan  # and some were not asked
        counts = np.array([[np.sum(column == value) for value in range(3)] for column in said.T])
        expected = reference.alpha(said, level_of_measurement="nominal")
        found = krippendorff(counts)
        assert found.value == pytest.approx(expected, abs=1e-12)
        assert found.pairs == int((counts.sum(axis=1) > 1).sum())


def test_extremes() -> None:
    alike = np.array([[5, 0, 0], [0, 5, 0], [0, 0, 5]])
    for measure in (fleiss, krippendorff):
        assert measure(alike).value == pytest.approx(1.0)
        one_answer = measure(np.array([[5, 0, 0]] * 4))
        assert (
            one_answer == Agreement(None, None, None, 4, 0, one_answer.people) and one_answer.words == "cannot be told"
        )
        assert measure(np.array([[1, 0, 0], [0, 1, 0]])) == Agreement(None, None, None, 0, 2)
        assert measure(np.zeros((0, 3), dtype=np.int64)) == Agreement(None, None, None, 0)
        opposed = measure(np.array([[1, 1, 0]] * 6))
        assert opposed.value is not None and opposed.value < 0


def test_fleiss_takes_the_pairs_with_the_most_common_number_of_people() -> None:
    more = np.concatenate([WIKIPEDIA, [[1, 1, 0, 0, 0], [13, 0, 0, 0, 0], [1, 0, 0, 0, 0]]])
    assert fleiss(more) == replace(fleiss(WIKIPEDIA), left_out=3)
    assert fleiss(more).people == 14


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Answers with a known agreement: with chance 0.5 a person says what the pair is, else anything of three."""
    covered, generator = 0, np.random.default_rng(0)
    for draw in range(100):
        truth = generator.integers(0, 3, 80)
        said = np.where(generator.random((5, 80)) < 0.5, truth, generator.integers(0, 3, (5, 80)))
        counts = np.array([[np.sum(column == value) for value in range(3)] for column in said.T])
        found = krippendorff(counts, draws=400, seed=draw)
        assert found.low is not None and found.high is not None
        covered += found.low <= 0.25 <= found.high  # two people agree beyond chance if both say what it is: 0.5 ** 2
    assert covered >= 88
