"""Group DRO: the minimum against scipy on the problem as it is written, and what it is for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.optimize
import torch

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.mitigation.heads.fitting import tune
from salient_imagenet_data.evaluation.mitigation.heads.group_dro import SOFTNESS, GroupDRO, group_losses, softened
from salient_imagenet_data.evaluation.numbers.groups import Rule
from tests.evaluation.mitigation.heads.data import accuracy, leaning


@pytest.mark.parametrize("adjustment", [0.0, 2.0])
def test_the_head_is_the_minimum_of_the_largest_loss(adjustment: float) -> None:
    """Against scipy's SLSQP: the least t that no group's loss exceeds, plus the decay."""
    rng = np.random.default_rng(0)
    n, f, k, decay = 60, 3, 3, 0.05
    x, y, group = rng.normal(size=(n, f)), rng.integers(0, k, n), np.repeat([0, 1, 2], [40, 14, 6])
    w0, b0, scale = rng.normal(size=(k, f)), rng.normal(size=k), (x**2).mean()

    def losses(flat: np.ndarray) -> np.ndarray:
        z = x @ flat[: k * f].reshape(k, f).T + flat[k * f : k * f + k]
        z = z - z.max(1, keepdims=True)
        each = np.log(np.exp(z).sum(1)) - z[np.arange(n), y]
        return np.array([each[group == g].mean() + adjustment / math.sqrt((group == g).sum()) for g in range(3)])

    def drift(flat: np.ndarray) -> float:
        w, b = flat[: k * f].reshape(k, f), flat[k * f : k * f + k]
        return decay / 2 * (scale * ((w - w0) ** 2).sum() + ((b - b0) ** 2).sum())

    start = np.concatenate([w0.ravel(), b0])
    wanted = scipy.optimize.minimize(
        lambda v: v[-1] + drift(v),
        np.append(start, losses(start).max()),
        constraints={"type": "ineq", "fun": lambda v: v[-1] - losses(v)},
        method="SLSQP",
        options={"maxiter": 2000, "ftol": 1e-12},
    )
    assert wanted.success
    y_, group_ = torch.from_numpy(y), torch.from_numpy(group)
    head = torch.from_numpy(x).float(), y_, torch.from_numpy(w0).float(), torch.from_numpy(b0).float()
    found = tune(*head, softened(y_, group_, adjustment), decay)
    assert found.bias is not None
    mine = np.concatenate([found.weight.numpy().ravel(), found.bias.numpy()])
    value = losses(mine).max() + drift(mine)
    assert wanted.fun - 1e-6 <= value <= wanted.fun + SOFTNESS[-1] * math.log(3) + 1e-6
    assert losses(mine).max() < losses(start).max() - 0.1


def test_losses_of_groups_are_means_of_their_images() -> None:
    logits = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    found = group_losses(logits, torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0]))
    assert found.tolist() == pytest.approx([(math.log(2) + math.log(1 + math.exp(-1))) / 2, math.log(1 + math.exp(2))])


def test_the_worst_group_gets_better_at_the_price_of_the_others() -> None:
    data, _ = leaning(600)
    fresh, apart = leaning(600, seed=1)
    fitted = GroupDRO(Rule(None)).fit(data)
    (hidden, shown), (hidden_after, shown_after) = (
        [accuracy(fresh, w, b, where) for where in (~apart, apart)]
        for w, b in ((data.weight, data.bias), (fitted.weight, fitted.bias))
    )
    assert hidden < 0.35 and hidden_after > hidden + 0.2 and shown_after < shown
    assert fitted.images == 600 and fitted.note.startswith("loss of the worst of 6 groups ")
    first, last = map(float, fitted.note.split("groups ")[1].split(" -> "))
    assert last < first / 2


def test_an_adjustment_is_a_number() -> None:
    for bad in (-1.0, math.inf, math.nan):
        with pytest.raises(SalientError, match="adjustment; expected a number, at least 0"):
            GroupDRO(adjustment=bad)
