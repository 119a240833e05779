from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import integrate

from salient_imagenet_data.evaluation.numbers.bootstrap import (
    area,
    class_means,
    curve_area,
    difference,
    mean_accuracy,
    relative_sensitivity,
    resampled,
    saturated,
    sensitivity,
)
from salient_imagenet_data.evaluation.numbers.estimates import class_average

SHARE = st.floats(0, 1, allow_subnormal=False)


@given(SHARE, SHARE)
def test_rcs_is_antisymmetric_and_within_one(a: float, b: float) -> None:
    assert relative_sensitivity(a, b) == -relative_sensitivity(b, a)
    assert -1.0 <= relative_sensitivity(a, b) <= 1.0
    # Wrong answers in place of right ones change the sign only.
    assume(1e-6 < a + b < 2 - 1e-6)
    assert relative_sensitivity(1 - b, 1 - a) == pytest.approx(relative_sensitivity(a, b), abs=1e-6)


def test_rcs_by_hand() -> None:
    # Mean 0.6, room 0.4: 0.2 / 0.8. And the two ends, where the formula would divide by zero.
    assert relative_sensitivity(0.7, 0.5) == pytest.approx(0.25)
    assert relative_sensitivity(0.4, 0.0) == 1.0 and relative_sensitivity(0.0, 0.4) == -1.0
    assert relative_sensitivity(0.0, 0.0) == relative_sensitivity(1.0, 1.0) == 0.0
    with pytest.raises(ValueError, match=r"accuracies in \[0, 1\]"):
        relative_sensitivity(1.2, 0.5)


def paired_sample(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 3, 4], [40, 25, 5])
    before = rng.random(70) < 0.8
    return before, before & (rng.random(70) < 0.6), labels


def test_difference_against_a_plain_bootstrap_over_images_within_class() -> None:
    before, after, labels = paired_sample()
    found = difference(before, after, labels)
    groups = [np.flatnonzero(labels == c) for c in (0, 3, 4)]
    expected = np.mean([before[g].mean() - after[g].mean() for g in groups])
    assert found.value == pytest.approx(expected) and (found.n, found.classes) == (70, 3)
    rng, drawn = np.random.default_rng(1), []
    for _ in range(4000):
        picks = [rng.choice(g, len(g)) for g in groups]
        drawn.append(np.mean([before[p].mean() - after[p].mean() for p in picks]))
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.02)


def test_sensitivity_averages_classes_before_the_ratio() -> None:
    before, after, labels = paired_sample()
    a, b = class_means(np.stack([before, after]), labels)
    found = sensitivity(before[None], after[None], labels)
    assert found.value == relative_sensitivity(a, b) and found.low <= found.value <= found.high
    same = sensitivity(before[None], before[None], labels)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


def test_trials_are_averaged_before_the_ratio() -> None:
    kept, lost, labels = paired_sample()
    worse = kept & lost
    a, b = class_means(np.stack([kept, worse]), labels).mean(), class_means(np.stack([lost, worse]), labels).mean()
    found = sensitivity(np.stack([kept, worse]), np.stack([lost, worse]), labels)
    assert found.value == pytest.approx(relative_sensitivity(a, b)) and found.low < found.value < found.high
    assert mean_accuracy(np.stack([kept, worse]), labels).value == pytest.approx(a)
    assert mean_accuracy(kept[None], labels) == class_average(kept, labels)
    thrice = sensitivity(np.stack([kept] * 3), np.stack([lost] * 3), labels)
    once = sensitivity(kept[None], lost[None], labels)
    assert (thrice.value, thrice.low, thrice.high) == pytest.approx((once.value, once.low, once.high))


def test_a_ratio_with_a_perfect_side_is_called_saturated() -> None:
    """1 [1, 1] whether the other side is at 0.9 or at 0.1."""
    labels, right = np.zeros(20, dtype=np.int64), np.ones((1, 20), dtype=bool)
    for hits in (18, 2):
        other = np.arange(20)[None] < hits
        found = sensitivity(right, other, labels)
        assert (found.value, found.high) == (pytest.approx(1.0), pytest.approx(1.0))
        assert hits == 18 or found.low == pytest.approx(1.0)  # all of 18 of 20 may be drawn right, and 0 is drawn
        assert saturated(right, other) and saturated(other, right) and saturated(other, ~right)
        assert not saturated(other, other) and not saturated(right, right) and not saturated(~right, ~right)
    assert saturated(right, ~right)


def test_resampled_keeps_pairs_together() -> None:
    before, _, labels = paired_sample()
    drawn = resampled(np.stack([before, before, ~before]), labels, draws=50)
    assert np.array_equal(drawn[:, 0], drawn[:, 1]) and np.allclose(drawn[:, 0] + drawn[:, 2], 1.0)
    with pytest.raises(ValueError, match=r"got shape \(2, 0\)"):
        resampled(np.zeros((2, 0), dtype=bool), labels[:0])


def test_any_number_of_outcomes_is_drawn_together() -> None:
    """More measurements change nothing about the draws of the first: the joint outcomes are the same ones."""
    before, after, labels = paired_sample()
    few, many = np.stack([before, after]), np.stack([before, after] * 50)
    assert np.array_equal(resampled(many, labels), np.tile(resampled(few, labels), 50))
    rng = np.random.default_rng(0)
    hits = rng.random((70, 70)) < rng.random((70, 1))  # seventy different measurements: no machine word holds them
    drawn = resampled(hits, labels, draws=4000)
    assert np.allclose(drawn.mean(axis=0), class_means(hits, labels), atol=0.01)
    for measurement in (0, 33, 69):
        alone = resampled(hits[[measurement]], labels, draws=4000)[:, 0]
        assert drawn[:, measurement].std() == pytest.approx(alone.std(), rel=0.05)


@given(st.lists(st.tuples(st.floats(0.01, 2), SHARE), min_size=2, max_size=8))
def test_curve_area_against_scipy(points: list[tuple[float, float]]) -> None:
    levels = np.cumsum([step for step, _ in points])
    accuracies = np.array([a for _, a in points])
    expected = integrate.trapezoid(accuracies, levels) / (levels[-1] - levels[0])
    assert curve_area(levels, accuracies) == pytest.approx(expected, abs=1e-9)


def test_area_of_measured_curve() -> None:
    before, after, labels = paired_sample()
    found = area(np.array([0.0, 0.25, 1.0]), np.stack([before, after, after]), labels)
    a, b = class_means(np.stack([before, after]), labels)
    assert found.value == pytest.approx((0.25 * (a + b) / 2 + 0.75 * b) / 1.0) and found.low < found.value < found.high
    with pytest.raises(ValueError, match="ascending levels"):
        curve_area(np.array([0.5, 0.25]), np.array([1.0, 1.0]))
