from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from salient_imagenet_data.evaluation.numbers.calibration import (
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
)
from salient_imagenet_data.evaluation.numbers.estimates import class_average, exact_bound, wilson
from salient_imagenet_data.evaluation.numbers.overlap import auroc, iou


def test_wilson_against_published_values() -> None:
    # Newcombe 1998, table I: 81 of 263 and 0 of 20.
    estimate = wilson(81, 263)
    assert (round(estimate.low, 4), round(estimate.high, 4)) == (0.2553, 0.3662)
    assert (wilson(0, 20).low, round(wilson(0, 20).high, 4)) == (0.0, 0.1611)
    with pytest.raises(ValueError, match="got 0 of 0"):
        wilson(0, 0)


@given(st.integers(1, 500), st.data())
def test_wilson_against_scipy(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    low, high = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert (wilson(hits, n).low, wilson(hits, n).high) == pytest.approx((low, high), abs=1e-9)


@given(st.integers(1, 500), st.sampled_from([0.025, 0.01, 1e-4]), st.data())
def test_exact_bounds_against_scipy(n: int, tail: float, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    low, high = stats.binomtest(hits, n).proportion_ci(1.0 - 2.0 * tail, method="exact")
    assert (1.0 - exact_bound(n - hits, n, tail), exact_bound(hits, n, tail)) == pytest.approx((low, high), abs=1e-9)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_auroc_is_the_share_of_right_pairs(pairs: list[tuple[int, bool]]) -> None:
    scores, truth = np.array([float(s) for s, _ in pairs]), np.array([t for _, t in pairs])
    yes, no = scores[truth], scores[~truth]
    if not len(yes) or not len(no):
        assert math.isnan(auroc(scores, truth))
        return
    wins = sum((a > b) + 0.5 * (a == b) for a in yes for b in no)
    assert auroc(scores, truth) == pytest.approx(wins / (len(yes) * len(no)))


def test_iou_by_hand() -> None:
    truth = np.array([True, True, False, False])
    assert iou(np.array([0.9, 0.1, 0.5, 0.0]), truth) == pytest.approx(1 / 3)
    assert math.isnan(iou(np.zeros(2), np.zeros(2, dtype=bool)))


def test_class_average_weighs_classes_evenly_and_covers() -> None:
    hits = np.array([True] * 90 + [False] * 10 + [False] * 5)
    labels = np.array([0] * 100 + [1] * 5)
    estimate = class_average(hits, labels)
    assert estimate.value == pytest.approx(0.45) and (estimate.n, estimate.classes) == (105, 2)
    # Standard error of the mean of two shares, one of them certain: sqrt(.9 * .1 / 100) / 2 = 0.015.
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * 0.015, rel=0.1)
    assert class_average(hits, labels) == estimate


@given(st.integers(1, 60), st.integers(0, 1000))
def test_ece_against_a_loop_over_bins(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    confidence, hits = rng.random(n), rng.random(n) < 0.5
    confidence[0] = seed % 2  # the two ends
    expected = 0.0
    for b in range(15):
        inside = [k for k in range(n) if b / 15 < confidence[k] <= (b + 1) / 15 or (b == 0 and confidence[k] == 0)]
        if inside:
            accuracy = sum(bool(hits[k]) for k in inside) / len(inside)
            expected += len(inside) / n * abs(accuracy - sum(confidence[k] for k in inside) / len(inside))
    assert expected_calibration_error(confidence, hits) == pytest.approx(expected, abs=1e-9)


def test_nll_and_brier_from_their_definitions() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(5), size=30)
    labels = np.arange(30) % 5
    chosen, squares = p[np.arange(30), labels], np.square(p).sum(axis=1)
    brier = np.mean([sum((p[i, c] - (labels[i] == c)) ** 2 for c in range(5)) for i in range(30)])
    assert brier_score(chosen, squares) == pytest.approx(brier)
    assert negative_log_likelihood(chosen) == pytest.approx(-np.mean([math.log(v) for v in chosen]))
    assert negative_log_likelihood(np.zeros(3)) == pytest.approx(-math.log(1e-12))
    with pytest.raises(ValueError, match="at least one image"):
        expected_calibration_error(np.zeros(0), np.zeros(0, dtype=bool))
