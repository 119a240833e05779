"""Rank correlation against scipy's."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from salient_imagenet_data.evaluation.numbers.ranks import mean_over, spearman, spearman_interval


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=30))
def test_spearman_is_scipys_with_ties(pairs: list[tuple[int, int]]) -> None:
    first, second = (np.array(values, dtype=float) for values in zip(*pairs, strict=True))
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert math.isnan(spearman(first, second))
        return
    assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)


def test_only_the_order_counts() -> None:
    values = np.array([0.1, 0.4, 0.2, 0.9])
    assert spearman(values, np.exp(9 * values)) == pytest.approx(1.0)
    assert spearman(values, -values) == pytest.approx(-1.0)
    assert math.isnan(spearman(values[:1], values[:1]))
    with pytest.raises(ValueError, match="expected two arrays"):
        spearman(values, values[:2])
    with pytest.raises(ValueError, match="finite numbers"):
        spearman(values, np.array([0.1, np.nan, 0.2, 0.9]))


def test_the_mean_over_three_seeds_has_the_quantiles_of_all_draws() -> None:
    """There are 27 ways to draw three of three."""
    values = np.array([0.1, 0.5, 0.9])
    ways = [float(np.mean(way)) for way in itertools.product(values, repeat=3)]
    found = mean_over(np.append(values, np.nan), draws=50_000)
    assert (found.value, found.n) == (pytest.approx(0.5), 3)
    low, high = np.quantile(ways, [0.025, 0.975], method="inverted_cdf")
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high)) and low < 0.2 and high > 0.8
    assert mean_over(np.array([0.3])).words == "0.300 [0.300, 0.300]" and math.isnan(mean_over(np.array([])).value)


def test_the_interval_of_a_rank_correlation_is_bonetts_and_holds_back_at_the_ends() -> None:
    first, second = np.arange(8.0), np.array([0.0, 2, 1, 3, 5, 4, 7, 6])
    found, r = spearman_interval(first, second), stats.spearmanr(first, second).statistic
    half = 1.959964 * math.sqrt((1 + r**2 / 2) / 5)
    ends = (math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half))
    assert (found.value, found.n, found.low, found.high) == pytest.approx((r, 8, *ends))
    five = np.arange(5.0)
    assert spearman_interval(five, five).words == "1.000 [0.161, 1.000]"  # by hand: tanh(atanh(0.95) - 1.96 0.8518)
    assert spearman_interval(five, -five).words == "-1.000 [-1.000, -0.161]"
    assert math.isnan(spearman_interval(five, np.ones(5)).low)
    with pytest.raises(ValueError, match="four things"):
        spearman_interval(five[:3], five[:3])


def test_the_interval_of_a_rank_correlation_covers_what_it_should() -> None:
    """Of 400 samples of 12 pairs of a normal distribution, whose rank correlation is 6 / pi asin(r / 2)."""
    rng, r, inside = np.random.default_rng(0), 0.6, 0
    truth = 6 / math.pi * math.asin(r / 2)
    for _ in range(400):
        pair = rng.multivariate_normal([0, 0], [[1, r], [r, 1]], 12)
        found = spearman_interval(pair[:, 0], pair[:, 1])
        inside += found.low <= truth <= found.high
    assert 0.92 <= inside / 400 <= 0.99
