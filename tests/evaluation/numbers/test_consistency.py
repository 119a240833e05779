"""Error consistency against counting by hand, all permutations, and samples of images."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from salient_imagenet_data.evaluation.numbers.consistency import beyond, together

A = np.array([1, 1, 1, 0, 0, 0, 1, 0, 0, 0], dtype=bool)
B = np.array([1, 1, 0, 1, 0, 0, 0, 0, 0, 0], dtype=bool)
LABELS = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])


def kappa(first: np.ndarray, second: np.ndarray) -> float:
    """Cohen's, of the table of two ratings, as in textbooks."""
    table = np.array([[np.sum((first == i) & (second == j)) for j in (0, 1)] for i in (0, 1)]) / len(first)
    chance = float(table.sum(axis=1) @ table.sum(axis=0))
    return (float(np.trace(table)) - chance) / (1 - chance)


def test_counts_chance_and_kappa_by_hand() -> None:
    """Mistakes 4 and 3 of ten, both 2: by chance 1.2; agreement 0.7, by chance 0.4 * 0.3 + 0.6 * 0.7 = 0.54."""
    found = together(A, B, LABELS)
    assert (found.n, found.both, found.first_only, found.second_only) == (10, 2, 2, 1)
    assert found.expected == pytest.approx(1.2) and found.times and found.times.value == pytest.approx(2 / 1.2)
    assert found.kappa and found.kappa.value == pytest.approx((0.7 - 0.54) / 0.46) == pytest.approx(kappa(A, B))
    assert found.most == pytest.approx((0.9 - 0.54) / 0.46)  # three of four
    # In class 0: 3 and 3 of 5, in class 1: 1 and 0 of 5.
    assert found.expected_within == pytest.approx(9 / 5)
    agreeing = (9 + 4 + 0 + 4 * 5) / 5 / 10
    assert found.kappa_within and found.kappa_within.value == pytest.approx((0.7 - agreeing) / (1 - agreeing))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=4, max_size=20))
def test_kappa_is_the_textbooks_and_one_class_changes_nothing(pairs: list[tuple[bool, bool]]) -> None:
    first, second = (np.array(values) for values in zip(*pairs, strict=True))
    found = together(first, second, np.zeros(len(pairs), dtype=int))
    if min(first.sum(), second.sum(), (~first).sum(), (~second).sum()) == 0:
        assert (found.times, found.kappa, found.kappa_within, found.most) == (None, None, None, None)
        return
    assert found.kappa and found.kappa_within and found.most is not None
    assert found.kappa.value == pytest.approx(kappa(first, second)) == pytest.approx(found.kappa_within.value)
    assert -1 - 1e-9 <= found.kappa.value <= found.most + 1e-9 and found.most <= 1 + 1e-9


def test_what_is_expected_in_classes_is_the_mean_over_all_permutations_in_them() -> None:
    ways = [
        np.concatenate([B[:5][list(one)], B[5:][list(other)]])
        for one in itertools.permutations(range(5))
        for other in itertools.permutations(range(5))
    ]
    assert together(A, B, LABELS).expected_within == pytest.approx(np.mean([(A & way).sum() for way in ways]))


def test_models_that_share_hard_classes_only_are_consistent_by_all_images_and_not_within_classes() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 400)
    hard = np.where(labels == 0, 0.9, 0.05)
    found = together(rng.random(800) < hard, rng.random(800) < hard, labels)
    assert found.kappa and found.kappa.low > 0.5
    assert found.kappa_within and found.kappa_within.low < 0 < found.kappa_within.high


def test_the_interval_is_that_of_drawing_images_in_each_class() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2], (30, 50, 20))
    first = rng.random(100) < 0.4
    second = np.where(rng.random(100) < 0.5, first, rng.random(100) < 0.3)
    found, drawn = together(first, second, labels).kappa, []
    for _ in range(4000):
        rows = np.concatenate([rng.choice(np.flatnonzero(labels == c), (labels == c).sum()) for c in range(3)])
        drawn.append(kappa(first[rows], second[rows]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found and (found.low, found.high) == (pytest.approx(low, abs=0.02), pytest.approx(high, abs=0.02))


def test_too_few_mistakes_have_a_value_and_no_interval() -> None:
    one = np.arange(40) == 3
    found = together(one, one, np.zeros(40, dtype=int))
    assert found.kappa and found.kappa.value == pytest.approx(1.0) and math.isnan(found.kappa.low)
    assert found.times and found.times.value == pytest.approx(40.0) and math.isnan(found.times.high)


def test_beyond_a_control_is_a_paired_difference() -> None:
    rng = np.random.default_rng(2)
    first, labels = rng.random(300) < 0.3, np.repeat([0, 1], 150)
    alike, apart = np.stack([first, first ^ (rng.random(300) < 0.05)]), np.stack([first, rng.random(300) < 0.3])
    there, more = beyond(alike, apart, labels)
    assert there and there.value == pytest.approx(kappa(*apart)) and there.low < 0.1 < 0.5
    assert (
        more and more.value == pytest.approx(kappa(*alike) - kappa(*apart)) and 0.5 < more.low < more.value < more.high
    )
    _, same = beyond(alike, alike, labels)
    assert same and (same.value, same.low, same.high) == (0.0, 0.0, 0.0)  # drawn together
    nothing = np.zeros((2, 300), dtype=bool)
    there, more = beyond(alike, nothing, labels)
    assert (there, more) == (None, None)
    there, more = beyond(nothing, alike, labels)
    assert there is not None and more is None
