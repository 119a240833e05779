"""The adversarial loss: the discriminator by plain loops, its step by finite differences, and what it is for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from salient_imagenet_data.evaluation.mitigation import adversary as room
from salient_imagenet_data.evaluation.mitigation.adversary import RATE, Adversary
from salient_imagenet_data.evaluation.mitigation.guidance import guidance
from tests.evaluation.mitigation.test_guidance import Net, batch


def features(seed: int, count: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    own = torch.randn(count, 4, generator=generator).double()
    return own, own + 0.5 + 0.1 * torch.randn(count, 4, generator=generator).double()


def says(adversary: Adversary, x: list[float]) -> float:
    """D's logit of one vector, by plain loops over its effective weights."""
    layers = [layer for layer in adversary.net if hasattr(layer, "weight")]
    for layer in layers:
        rows, biases = layer.weight.tolist(), layer.bias.tolist()
        x = [sum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in zip(rows, biases, strict=True)]
        x = [max(v, 0.0) for v in x] if layer is not layers[-1] else x
    return x[0]


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_what_the_network_is_asked_by_plain_loops() -> None:
    own, other = features(0)
    adversary = Adversary(4, own, seed=1, widths=(5, 6))
    found = adversary.deceived(own, other)
    wanted = [
        -math.log(1 - sigmoid(says(adversary, a))) - math.log(sigmoid(says(adversary, b)))
        for a, b in zip(own.tolist(), other.tolist(), strict=True)
    ]
    assert found.tolist() == pytest.approx(wanted)
    same = adversary.deceived(own, own)
    assert (same >= 2 * math.log(2) - 1e-12).all()  # where both are the same, chance is the best there is


def test_its_first_step_goes_down_its_own_loss_and_leaves_the_features_alone() -> None:
    """Adam's first step is the rate times the sign of the gradient, here by finite differences."""
    own, other = features(2)
    own, other = own.requires_grad_(True), other.requires_grad_(True)
    adversary = Adversary(4, own, seed=3, widths=(5,))
    adversary.net.eval()

    def loss() -> float:
        chances = [[sigmoid(says(adversary, x)) for x in some.tolist()] for some in (own, other)]
        return float(-np.mean([math.log(p) for p in chances[0]]) - np.mean([math.log(1 - p) for p in chances[1]]))

    last = adversary.net[-1]
    before, step, slopes = [p.detach().clone() for p in (last.weight, last.bias)], 1e-6, []
    for parameter in (last.weight, last.bias):
        for k in range(parameter.numel()):
            values = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter.view(-1)[k] += sign * step
                values.append(loss())
                with torch.no_grad():
                    parameter.view(-1)[k] -= sign * step
            slopes.append((values[0] - values[1]) / (2 * step))
    was = loss()
    assert adversary.learn(own, other) == pytest.approx(was, rel=1e-2)  # the norm's estimate is one step further
    moved = torch.cat([(p - b).flatten() for p, b in zip((last.weight, last.bias), before, strict=True)])
    clear = torch.tensor([abs(s) > 1e-3 for s in slopes])
    wanted = -RATE * torch.tensor(slopes).sign().double()
    assert clear.sum() >= 3 and torch.allclose(moved[clear], wanted[clear], rtol=1e-3)
    assert own.grad is None and other.grad is None


def test_layers_are_bounded_and_the_seed_decides() -> None:
    own, other = features(4)
    first, again, third = (Adversary(4, own, seed=s, widths=(8, 8)) for s in (5, 5, 6))
    for _ in range(30):
        first.learn(own, other), again.learn(own, other)
    assert torch.equal(first.deceived(own, other), again.deceived(own, other))
    assert not torch.equal(first.deceived(own, other), third.deceived(own, other))
    for layer in list(first.net.eval())[:-1:2]:
        assert float(torch.linalg.matrix_norm(layer.weight.detach(), 2)) == pytest.approx(1.0, rel=0.05)


def test_it_learns_to_tell_the_two_apart_and_not_where_they_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "RATE", 1e-2)
    own, other = features(7, 40)
    adversary = Adversary(4, own, seed=1, widths=(64, 64))
    losses = [adversary.learn(own, other) for _ in range(100)]
    assert losses[-1] < losses[0] - 0.1 and adversary.deceived(own, other).mean() > 2 * math.log(2) + 0.1
    blind = Adversary(4, own, seed=1, widths=(64, 64))
    assert min(blind.learn(own, own) for _ in range(30)) > 2 * math.log(2) - 1e-6


def test_an_image_in_which_nothing_is_permuted_neither_teaches_nor_is_asked() -> None:
    net, (images, labels, masks) = Net(), batch()
    masks[0] = 1.0
    _, loss = guidance("adversarial", net, generator=torch.Generator().manual_seed(0))(images, labels, masks)
    _, others = guidance("adversarial", net, generator=torch.Generator().manual_seed(0))(
        images, labels, torch.where(masks == 1.0, 1.0, masks)
    )
    assert loss[0] == 0 and (loss[1:] > 1.0).all() and torch.equal(loss, others)
    whole = guidance("adversarial", net, generator=torch.Generator().manual_seed(0))
    _, none = whole(images, labels, torch.ones_like(masks))
    assert not none.any()
    _, later = whole(images, labels, masks)  # and so it is the first time that it learns
    assert (later[1:] > 0).all()


def test_the_networks_gradient_goes_through_the_features_only() -> None:
    net, (images, labels, masks) = Net(), batch()
    guide = guidance("adversarial", net, generator=torch.Generator().manual_seed(0))
    for _ in range(2):  # its steps must not disturb the gradient
        net.zero_grad()
        guide(images, labels, masks)[1].sum().backward()
        assert net.conv.weight.grad.abs().sum() > 0 and net.head.weight.grad is None


class Loud(Net):
    """Whose features are far enough apart for a bounded discriminator."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(10.0 * torch.tanh(self.conv(x)).mean(dim=(2, 3)))


def test_a_network_that_deceives_it_cannot_be_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stripes, which a permutation makes noise of: after training under it a fresh discriminator sees less of them."""
    monkeypatch.setattr(room, "RATE", 1e-2)
    monkeypatch.setattr(room, "WIDTHS", (32, 32))
    generator = torch.Generator().manual_seed(0)
    images = 0.2 * torch.rand(32, 3, 6, 6, generator=generator).double()
    images[..., ::2, :] += 0.8
    labels, masks = torch.zeros(32, dtype=torch.int64), torch.zeros(32, 1, 6, 6).double()
    masks[..., :2, :] = 1.0
    told = []
    for weight in (0.0, 1.0):
        net = Loud()
        optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
        guide = guidance("adversarial", net, generator=torch.Generator().manual_seed(1))
        for _ in range(200):
            logits, loss = guide(images, labels, masks)
            optimiser.zero_grad()
            (torch.nn.functional.cross_entropy(logits, labels) + weight * loss.mean()).backward()
            optimiser.step()
        seen: list[Tensor] = []
        handle = net.head.register_forward_pre_hook(lambda module, inputs, seen=seen: seen.append(inputs[0]))
        guide(images, labels, masks)
        handle.remove()
        own, other = seen[-1].detach().chunk(2)
        fresh = Adversary(6, own, seed=9)
        told.append([fresh.learn(own, other) for _ in range(100)][-1])
    assert told[0] + 0.15 < told[1] < 2 * math.log(2) + 0.01  # 2 log 2 where nothing can be told
