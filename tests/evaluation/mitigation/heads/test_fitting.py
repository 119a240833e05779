"""A head against an independent minimum of its objective."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import torch
from torch.nn import functional as F

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.mitigation.heads.fitting import fit_head


@pytest.mark.parametrize("with_bias", [True, False])
def test_the_head_is_the_minimum_of_its_objective(with_bias: bool) -> None:
    """Against scipy's BFGS on the objective as the docstring writes it, in float64."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 4)) * 3, rng.integers(0, 3, 60)
    w0, b0, decay = rng.normal(size=(3, 4)), rng.normal(size=3), 0.02

    def objective(flat: np.ndarray) -> float:
        w, b = flat[:12].reshape(3, 4), flat[12:] if with_bias else 0.0
        z = x @ w.T + b
        losses = np.log(np.exp(z - z.max(1, keepdims=True)).sum(1)) + z.max(1) - z[np.arange(60), y]
        drift = (x**2).mean() * ((w - w0) ** 2).sum() + (((b - b0) ** 2).sum() if with_bias else 0.0)
        return losses.mean() + decay / 2 * drift

    start = np.concatenate([w0.ravel(), b0]) if with_bias else w0.ravel()
    wanted = scipy.optimize.minimize(objective, start, method="BFGS", options={"gtol": 1e-9}).x
    bias = torch.from_numpy(b0).float() if with_bias else None
    found = fit_head(torch.from_numpy(x).float(), torch.from_numpy(y), torch.from_numpy(w0).float(), bias, decay)
    assert found.weight.numpy() == pytest.approx(wanted[:12].reshape(3, 4), abs=2e-5)
    assert (found.bias is None) != with_bias
    if found.bias is not None:
        assert found.bias.numpy() == pytest.approx(wanted[12:], abs=2e-5)
    assert found.loss[1] < found.loss[0] and found.images == 60 and 0 < found.steps < 500


def test_the_scale_of_features_and_the_order_of_images_play_no_part() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(50, 4).relu(), torch.randint(0, 3, (50,))
    w, b = torch.randn(3, 4), torch.randn(3)
    plain, scaled = fit_head(x, y, w, b), fit_head(100 * x, y, w / 100, b)
    turned = fit_head(x.flip(0), y.flip(0), w, b)
    assert torch.allclose(plain.weight, 100 * scaled.weight, atol=2e-3)
    assert torch.allclose(plain.weight, turned.weight, atol=2e-3)
    held = fit_head(x, y, w, b, decay=1e4)
    assert torch.allclose(held.weight, w, atol=1e-3) and torch.allclose(held.bias, b, atol=1e-3)


def test_every_decay_is_fitted_to_a_flat_place() -> None:
    """The slope of the objective, written out in float64, at what is returned in float32: of few images with features
    far from 0, on which a search in float32 stops early."""
    rng = np.random.default_rng(1)
    x, y = torch.from_numpy(rng.normal(20.0, 1.0, (20, 12))).float(), torch.arange(20) % 10
    w, b = torch.from_numpy(rng.normal(size=(10, 12))).float(), torch.zeros(10)
    for decay in (1e-3, 1e-2, 0.1, 1.0, 10.0, 1e3):
        found = fit_head(x, y, w, b, decay)
        assert found.weight.dtype == torch.float32 and found.bias is not None
        p = (x.double() @ found.weight.double().T + found.bias.double()).softmax(1) - F.one_hot(y, 10)
        scale = x.double().square().mean().sqrt()
        slope = (p.T @ x.double()) / 20 / scale + decay * scale * (found.weight.double() - w.double())
        rounding = 3e-7 * decay * scale  # of the weights, to float32
        assert slope.abs().max() < 2e-6 + rounding, decay


def test_a_head_that_cannot_be_fitted_is_one_line() -> None:
    x, y, w = torch.randn(50, 4), torch.randint(0, 3, (50,)), torch.zeros(3, 4)
    with pytest.raises(SalientError, match="decay; expected a number > 0"):
        fit_head(x, y, w, None, decay=0.0)
    with pytest.raises(SalientError, match="the head was not fitted; expected a gradient below 0.0001 within 1 steps"):
        fit_head(x, y, w, None, most_steps=1)


def test_an_image_that_weighs_three_is_one_that_is_there_three_times() -> None:
    torch.manual_seed(0)
    x, y, w, b = torch.randn(30, 4), torch.randint(0, 3, (30,)), torch.randn(3, 4), torch.randn(3)
    times = torch.ones(30, dtype=torch.int64)
    times[:7] = 3
    weighed = fit_head(x, y, w, b, weights=times)
    # The scale of features, which the decay is in units of, is that of the images without weights.
    scale = x.double().square().mean() / x.repeat_interleave(times, 0).double().square().mean()
    repeated = fit_head(x.repeat_interleave(times, 0), y.repeat_interleave(times), w, None, decay=1e-3 * float(scale))
    alone = fit_head(x, y, w, None, weights=times)
    assert torch.allclose(alone.weight, repeated.weight, atol=1e-4)
    assert not torch.allclose(weighed.weight, fit_head(x, y, w, b).weight, atol=1e-2)
