from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from salient_imagenet_data.evaluation.numbers.paired import (
    compare,
    effective_robustness,
    inside,
    mcnemar_exact,
)


@given(st.integers(0, 3000), st.integers(0, 3000))
@example(10, 1065)  # scipy's own test gives 0 here
@settings(deadline=None)
def test_mcnemar_against_whole_numbers(first: int, second: int) -> None:
    n, tail, term = first + second, 0, 1
    for i in range(min(first, second) + 1):
        tail, term = tail + term, term * (n - i) // (i + 1)
    expected = float(min(Fraction(1), Fraction(2 * tail, 2**n)))
    assert mcnemar_exact(first, second) == pytest.approx(expected, rel=1e-6, abs=1e-300)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (3, 9), (40, 61), (500, 430)])
def test_mcnemar_against_scipys_binomial_test(first: int, second: int) -> None:
    assert mcnemar_exact(first, second) == pytest.approx(stats.binomtest(first, first + second).pvalue)


def test_compare_counts_pairs() -> None:
    first, second = np.array([1, 1, 1, 0, 0, 1], dtype=bool), np.array([1, 0, 0, 0, 1, 0], dtype=bool)
    found = compare(first, second, np.array([0, 0, 0, 1, 1, 1]))
    assert (found.first_only, found.second_only) == (3, 1) and found.p_value == pytest.approx(0.625)
    assert found.difference.value == pytest.approx((2 / 3 + 0) / 2)
    assert compare(first, first, np.zeros(6, dtype=int)).p_value == 1.0


def test_logit_line_against_scipy() -> None:
    clean, shifted = [0.55, 0.7, 0.8, 0.93], [0.3, 0.5, 0.52, 0.8]
    line, residuals = effective_robustness(clean, shifted, 1000)
    reference = stats.linregress([math.log(c / (1 - c)) for c in clean], [math.log(s / (1 - s)) for s in shifted])
    assert (line.slope, line.intercept) == pytest.approx((reference.slope, reference.intercept))
    z = reference.slope * math.log(0.7 / 0.3) + reference.intercept
    assert residuals[1] == pytest.approx(0.5 - 1 / (1 + math.exp(-z)))


def test_shares_at_the_ends_count_as_half_an_image_from_them() -> None:
    assert (inside(1.0, 50), inside(0.0, 50), inside(0.3, 50)) == (0.99, 0.01, 0.3)
    line, residuals = effective_robustness([0.5, 0.7, 1.0], [0.4, 0.5, 1.0], 50)
    reference = stats.linregress([0.0, math.log(7 / 3), math.log(99)], [math.log(2 / 3), 0.0, math.log(99)])
    assert (line.slope, line.intercept) == pytest.approx((reference.slope, reference.intercept))
    assert residuals[2] == pytest.approx(1.0 - line.at(0.99))
