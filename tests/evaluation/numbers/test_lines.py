"""Lines over models against scipy's regression and normal distribution."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from salient_imagenet_data.evaluation.numbers.lines import above, fit_line, from_scale, to_scale

CLEAN, SHIFTED = np.array([0.55, 0.7, 0.8, 0.93]), np.array([0.3, 0.5, 0.52, 0.8])


def test_scales_are_those_of_scipy_and_go_back() -> None:
    for share in (0.001, 0.3, 0.5, 0.999):
        assert to_scale(share, "logit") == pytest.approx(math.log(share) - math.log(1 - share))
        assert to_scale(share, "probit") == pytest.approx(stats.norm.ppf(share))
        assert all(from_scale(to_scale(share, s), s) == pytest.approx(share) for s in ("logit", "probit"))
    for end in (0.0, 1.0):
        with pytest.raises(ValueError, match="inside"):
            to_scale(end, "logit")


def test_the_line_is_scipys_on_either_scale() -> None:
    found = fit_line(CLEAN, SHIFTED, "probit")
    reference = stats.linregress(stats.norm.ppf(CLEAN), stats.norm.ppf(SHIFTED))
    assert (found.line.slope, found.line.intercept) == pytest.approx((reference.slope, reference.intercept))
    assert found.explained == pytest.approx(reference.rvalue**2) and found.models == 4
    expected = stats.norm.cdf(reference.slope * stats.norm.ppf(0.6) + reference.intercept)
    assert found.line.at(0.6) == pytest.approx(expected)
    assert fit_line(CLEAN, SHIFTED).line.slope == pytest.approx(
        stats.linregress(np.log(CLEAN / (1 - CLEAN)), np.log(SHIFTED / (1 - SHIFTED))).slope
    )
    for clean in (CLEAN[:2], np.full(3, 0.5)):
        with pytest.raises(ValueError, match="3 or more models of different clean accuracy"):
            fit_line(clean, SHIFTED[: len(clean)])


def test_the_interval_above_a_line_is_that_of_all_lines_through_drawn_models() -> None:
    """There are 256 ways to draw four of four, of which 4 make no line."""
    fit, z = fit_line(CLEAN, SHIFTED), math.log(0.6 / 0.4)
    x, y = np.log(CLEAN / (1 - CLEAN)), np.log(SHIFTED / (1 - SHIFTED))
    ways = [list(way) for way in itertools.product(range(4), repeat=4) if len(set(way)) > 1]
    lines = [stats.linregress(x[way], y[way]) for way in ways]
    values = [0.45 - 1 / (1 + math.exp(-(line.slope * z + line.intercept))) for line in lines]
    found = above(fit, 0.6, 0.45)
    low, high = np.quantile(values, [0.025, 0.975])
    assert (found.value, found.n) == (pytest.approx(0.45 - fit.line.at(0.6)), 4)
    assert (found.low, found.high) == (pytest.approx(low, abs=0.02), pytest.approx(high, abs=0.02))
    assert found.low < found.value < found.high
