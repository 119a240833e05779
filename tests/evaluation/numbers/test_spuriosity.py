from __future__ import annotations

import numpy as np
import pytest

from salient_imagenet_data.evaluation.numbers.estimates import wilson
from salient_imagenet_data.evaluation.numbers.spuriosity import feature_gap, share_difference, spurious_gap
from salient_imagenet_data.ranking.spuriosity import ends


def test_trap_a_small_class_has_a_gap() -> None:
    # Public code takes the first k of one ascending sort for both ends: with 4 images its gap would be 0.
    scores, labels = np.array([0.1, 0.9, 0.2, 0.8]), np.zeros(4, dtype=int)
    found = ends(scores, labels)
    hits = scores > 0.5
    gap = spurious_gap(hits[found.top], hits[found.bottom], found.labels)
    assert (gap.value, gap.low, gap.high, gap.n, gap.classes) == (1.0, 1.0, 1.0, 4, 1)


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_the_interval_of_a_difference_against_published_values(
    first: tuple[int, int], second: tuple[int, int], low: float, high: float
) -> None:
    """Newcombe 1998, Interval estimation for the difference between independent proportions, table II, method 10."""
    found = share_difference(wilson(*first), wilson(*second))
    assert found.value == pytest.approx(first[0] / first[1] - second[0] / second[1])
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-5) and found.n == first[1] + second[1]


def test_a_features_gap_is_most_minus_least_and_keeps_a_width_where_all_are_right() -> None:
    most, least, gap = feature_gap(np.array([True, True, True, False]), np.array([False, True, False, False]))
    assert (most.value, least.value, gap.value, gap.n) == (0.75, 0.25, 0.5, 8)
    _, _, same = feature_gap(np.ones(3, dtype=bool), np.ones(3, dtype=bool))
    assert same.value == 0.0 and same.low < -0.3 and same.high > 0.3
