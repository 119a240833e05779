"""Deep feature reweighting: the penalised head against scipy, the draws by counting, and what it is for."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import torch

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.mitigation.heads.dfr import DFR, averaged, balanced, sparse_head
from salient_imagenet_data.evaluation.numbers.groups import Rule
from tests.evaluation.mitigation.heads.data import accuracy, leaning


@pytest.mark.parametrize(("c", "with_bias"), [(0.05, True), (1.0, True), (0.3, False)])
def test_the_head_is_the_minimum_of_the_penalised_objective(c: float, with_bias: bool) -> None:
    """Against scipy's L-BFGS-B with the weights parted into what is above 0 and what is below."""
    rng = np.random.default_rng(0)
    n, f, k = 90, 5, 3
    y = rng.integers(0, k, n)
    x = rng.normal(size=(n, f)) + 1.5 * np.eye(k, f)[y]

    def parts(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        up, down, b = flat[: k * f], flat[k * f : 2 * k * f], flat[2 * k * f :]
        return (up - down).reshape(k, f), b if with_bias else np.zeros(k)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w, b = parts(flat)
        z = x @ w.T + b
        z = z - z.max(1, keepdims=True)
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        residual = c * (p - np.eye(k)[y])
        slope = (residual.T @ x).ravel()
        loss = c * -np.log(p[np.arange(n), y]).sum() + flat[: 2 * k * f].sum()
        return loss, np.concatenate([slope + 1, -slope + 1, residual.sum(0) if with_bias else np.zeros(k)])

    bounds = [(0, None)] * (2 * k * f) + [(None, None)] * k
    options = {"maxiter": 5000, "maxfun": 50000, "ftol": 1e-15, "gtol": 1e-9}
    wanted = scipy.optimize.minimize(
        objective, np.zeros(2 * k * f + k), jac=True, method="L-BFGS-B", bounds=bounds, options=options
    )
    w, b = parts(wanted.x)
    weight, bias, steps = sparse_head(torch.from_numpy(x), torch.from_numpy(y), k, c, with_bias=with_bias, flat=1e-6)
    mine = np.concatenate([np.maximum(weight.numpy(), 0).ravel(), np.maximum(-weight.numpy(), 0).ravel(), bias.numpy()])
    assert objective(mine)[0] <= wanted.fun + 1e-4 * abs(wanted.fun) and steps > 0
    assert weight.numpy() == pytest.approx(w, abs=5e-3)
    if with_bias:  # which is only known up to what is added to every class
        assert bias.numpy() - bias.numpy().mean() == pytest.approx(b - b.mean(), abs=5e-3)
    assert ((weight == 0).numpy() == (np.abs(w) < 1e-4)).mean() > 0.9 and ((weight == 0).any() or c == 1.0)


def test_as_many_images_of_every_group_are_drawn_each_of_them_alike() -> None:
    index = np.array([0] * 5 + [3] * 2 + [4] * 9)
    rng = np.random.default_rng(0)
    drawn = [balanced(index, rng) for _ in range(300)]
    assert all(np.unique(index[places], return_counts=True)[1].tolist() == [2, 2, 2] for places in drawn)
    assert all((np.diff(places) > 0).all() for places in drawn)
    often = np.bincount(np.concatenate(drawn), minlength=16) / 300
    assert often[:5] == pytest.approx(0.4, abs=0.12) and (often[5:7] == 1).all()
    assert often[7:] == pytest.approx(2 / 9, abs=0.1)


def test_a_head_of_standardised_features_is_given_back_for_features_as_they_are() -> None:
    data, _ = leaning(120)
    groups = data.groups(Rule())
    weight, bias, _, images = averaged(data, groups, 0.5, 1)
    mean, spread = data.features.double().mean(0), data.features.double().std(0, correction=0)
    places = balanced(groups.index, np.random.default_rng(0))
    z = (data.features.double()[places] - mean) / spread
    plain, offset, _ = sparse_head(z, data.labels[places], 3, 0.5)
    assert bias is not None and images == len(places) == 120
    assert torch.allclose(z @ plain.T + offset, data.features.double()[places] @ weight.T + bias, atol=1e-9)
    uneven = data.groups(Rule(None))
    one, several = (averaged(data, uneven, 0.5, draws)[0] for draws in (1, 3))
    assert not torch.allclose(several, one, atol=1e-2)


def test_where_the_cue_is_missing_the_new_head_is_right_more_often() -> None:
    data, own = leaning(600)
    fresh, apart = leaning(600, seed=1)
    rule = Rule(None)
    fitted = DFR(rule, draws=3).fit(data)
    before, after = (accuracy(fresh, w, b, ~apart) for w, b in ((data.weight, data.bias), (fitted.weight, fitted.bias)))
    assert before < 0.35 and after > before + 0.2
    sizes = np.unique(data.groups(rule).index, return_counts=True)[1]
    assert fitted.images == 6 * sizes.min() and abs(sizes.min() - (~own).sum() / 3) < 25
    assert fitted.note.startswith("C ") and f"3 draws of {sizes.min()} images of each of 6 groups" in fitted.note
    assert "by the worst group" in fitted.note and "held out" in fitted.note
    one = DFR(rule, (0.1,), 1).fit(data)
    assert one.note.startswith("C 0.1; 1 draws")


def test_a_head_without_a_bias_stays_without() -> None:
    from dataclasses import replace

    data, _ = leaning(90)
    fitted = DFR(penalties=(0.3,), draws=1).fit(replace(data, bias=None))
    assert fitted.bias is None and fitted.weight.dtype == torch.float32


def test_what_makes_no_head_is_one_line() -> None:
    with pytest.raises(SalientError, match="penalty; expected one or more numbers above 0, and at least one draw"):
        DFR(penalties=(0.0,))
    with pytest.raises(SalientError, match="penalty"):
        DFR(draws=0)
