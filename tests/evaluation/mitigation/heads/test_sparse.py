"""A minimum with an l1 penalty: where it is known in closed form, and where there is none to be found."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.mitigation.heads.sparse import sparse_minimum, steepest


@pytest.mark.parametrize("start", [0.0, 5.0, -2.0])
def test_of_squares_that_do_not_mix_it_is_the_soft_threshold(start: float) -> None:
    """sum a / 2 (w - c)^2 + t |w| is least at c shrunk by t / a."""
    rng = np.random.default_rng(0)
    a, c = torch.from_numpy(rng.uniform(0.5, 20, (3, 8))), torch.from_numpy(rng.normal(size=(3, 8)))
    t = torch.from_numpy(rng.uniform(0, 2, 8))
    t[0] = 0.0
    found, steps = sparse_minimum(
        lambda w: ((a / 2 * (w - c) ** 2).sum(), a * (w - c)), torch.full((3, 8), start, dtype=torch.float64), t, 1e-6
    )
    wanted = c.sign() * (c.abs() - t / a).clamp_min(0.0)
    assert torch.allclose(found, wanted, atol=1e-4) and torch.equal(found == 0, wanted == 0) and 0 < steps < 200
    assert (wanted == 0).sum() > 3 and (wanted[:, 0] != 0).all()


def test_of_squares_that_mix_no_change_of_one_weight_is_better() -> None:
    rng = np.random.default_rng(1)
    x, y = torch.from_numpy(rng.normal(size=(40, 12))), torch.from_numpy(rng.normal(size=40))

    def at(w: Tensor) -> tuple[Tensor, Tensor]:
        rest = x @ w - y
        return rest.square().sum() / 2, x.T @ rest

    t = torch.full((12,), 6.0, dtype=torch.float64)
    found, _ = sparse_minimum(at, torch.zeros(12, dtype=torch.float64), t, 1e-6)
    for k in range(12):  # coordinate by coordinate, which has a closed form
        rest = y - x @ found + x[:, k] * found[k]
        pull = x[:, k] @ rest
        alone = pull.sign() * (pull.abs() - 6.0).clamp_min(0.0) / x[:, k].square().sum()
        assert float(found[k]) == pytest.approx(float(alone), abs=1e-5)
    assert 0 < (found == 0).sum() < 12 and float(steepest(found, at(found)[1], t).abs().max()) <= 1e-6


def test_the_slope_at_a_weight_that_is_0_is_what_the_penalty_does_not_hold() -> None:
    w, slope = torch.tensor([0.0, 0.0, 0.0, 1.0, -1.0]), torch.tensor([0.3, -0.7, 0.7, 0.1, 0.1])
    found = steepest(w, slope, torch.full((5,), 0.5))
    assert found.tolist() == pytest.approx([0.0, -0.2, 0.2, 0.6, -0.4])


def test_what_has_no_minimum_or_a_wrong_slope_is_one_line() -> None:
    zero, none = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    with pytest.raises(SalientError, match="the head was not fitted; expected a slope below 0.001 within 5000 steps"):
        sparse_minimum(lambda w: (w.sum(), torch.ones_like(w)), zero, none)  # goes down for ever
    with pytest.raises(SalientError, match="not fitted; .*; use a smaller C"):
        sparse_minimum(lambda w: (w.square().sum(), -2 * w - 1), zero, none)
