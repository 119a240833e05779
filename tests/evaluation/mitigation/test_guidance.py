"""Guidance losses by plain loops and finite differences, and that they do what they are for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.mitigation.choices import LOSSES
from salient_imagenet_data.evaluation.mitigation.guidance import FLOOR, ON_MAPS, Looking, guidance
from salient_imagenet_data.evaluation.saliency.attributions import IMAGE, attributions

LOOKING = Looking("input_x_gradient", IMAGE)
FEATURES = ("act_diff", "adversarial")
"""Losses on the features, before the head."""


def loops(name: str, maps: np.ndarray, mask: np.ndarray) -> float:
    """The formulas, pixel by pixel."""
    pixels = list(zip(maps.ravel().tolist(), mask.ravel().tolist(), strict=True))
    peak, most = max(max(a, 0.0) for a, _ in pixels), max(abs(a) for a, _ in pixels)
    if name == "energy":
        return 1 - sum(max(a, 0) * m for a, m in pixels) / sum(max(a, 0) for a, _ in pixels)
    if name == "l1":
        return sum(abs(max(a, 0) / peak - m) for a, m in pixels) / len(pixels)
    if name == "ppce":
        return -sum(m * math.log(max(max(a, 0) / peak, FLOOR)) for a, m in pixels) / sum(m for _, m in pixels)
    return sum((1 - m) * (a / most) ** 2 for a, m in pixels)


@given(st.integers(0, 10_000), st.sampled_from(sorted(ON_MAPS)))
@settings(deadline=None, max_examples=60)
def test_losses_on_maps_by_plain_loops(seed: int, name: str) -> None:
    rng = np.random.default_rng(seed)
    maps, masks = rng.normal(size=(3, 4, 5)), rng.random((3, 4, 5))
    maps[:, 0, 0] = 1.0  # something positive
    found = ON_MAPS[name](torch.from_numpy(maps), torch.from_numpy(masks))
    assert found.tolist() == pytest.approx([loops(name, a, m) for a, m in zip(maps, masks, strict=True)])


@pytest.mark.parametrize("name", sorted(ON_MAPS))
def test_maps_of_zeros_give_a_loss_and_a_gradient_that_are_finite(name: str) -> None:
    for masks in (torch.zeros(1, 3, 3), torch.ones(1, 3, 3)):
        maps = torch.zeros(1, 3, 3, requires_grad=True)
        loss = ON_MAPS[name](maps, masks)
        loss.sum().backward()
        assert torch.isfinite(loss).all() and torch.isfinite(maps.grad).all()


def test_energy_of_all_inside_is_0_and_of_all_outside_1() -> None:
    mask = torch.zeros(1, 4, 4)
    mask[:, :2] = 1
    assert ON_MAPS["energy"](mask, mask).item() == 0.0 and ON_MAPS["energy"](1 - mask, mask).item() == 1.0
    assert ON_MAPS["rrr_star"](mask, mask).item() == 0.0 and ON_MAPS["rrr_star"](-(1 - mask), mask).item() == 8.0


class Net(nn.Module):
    """Smooth, small, float64."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.head = nn.Linear(6, classes)
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.conv(x)).mean(dim=(2, 3)))


def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    images, masks = torch.rand(3, 3, 6, 6, generator=generator), torch.rand(3, 1, 6, 6, generator=generator)
    return images.double(), torch.tensor([0, 2, 1]), masks.double()


def guide_of(name: str, net: nn.Module) -> object:
    return guidance(name, net, LOOKING, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", [n for n in LOSSES if n != "corm"])
def test_logits_are_the_models_and_the_loss_has_the_gradient_of_finite_differences(name: str) -> None:
    net, (images, labels, masks) = Net(), batch()
    logits, loss = guide_of(name, net)(images, labels, masks)
    assert torch.allclose(logits, net(images)) and loss.shape == (3,) and (loss >= 0).all()
    if name == "none":
        assert not loss.any()
        return
    net.zero_grad()
    loss.sum().backward()
    for parameter in (net.conv.weight,) if name in FEATURES else (net.conv.weight, net.head.weight):
        slope, step, values = parameter.grad.flatten()[3].item(), 1e-6, []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.flatten()[3] += sign * step
            values.append(guide_of(name, net)(images, labels, masks)[1].sum().item())
            with torch.no_grad():
                parameter.flatten()[3] -= sign * step
        assert slope == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-3, abs=1e-6)


def slopes(net: nn.Module, images: Tensor, value: object) -> Tensor:
    """d value(logits) / d images, by finite differences."""
    found, step = torch.zeros_like(images), 1e-6
    with torch.no_grad():
        for place in np.ndindex(*images.shape[1:]):
            moved = images.clone()
            moved[(slice(None), *place)] += step
            found[(slice(None), *place)] = (value(net(moved)) - value(net(images))) / step
    return found


def test_rrr_and_grad_mask_by_finite_differences() -> None:
    net, (images, labels, masks) = Net(), batch()
    outside = 1 - masks
    wanted = ((outside * slopes(net, images, lambda y: y.log_softmax(1).sum(1))) ** 2).sum((1, 2, 3))
    assert torch.allclose(guide_of("rrr", net)(images, labels, masks)[1], wanted, rtol=1e-3)

    def contrast(y: Tensor) -> Tensor:
        own = y.gather(1, labels[:, None])[:, 0]
        others = torch.stack(
            [max(v for k, v in enumerate(row) if k != label) for row, label in zip(y, labels, strict=True)]
        )
        return own - others

    wanted = (outside * slopes(net, images, contrast)).abs().sum((1, 2, 3))
    assert torch.allclose(guide_of("grad_mask", net)(images, labels, masks)[1], wanted, rtol=1e-3)


def test_grad_mask_of_two_classes_is_the_papers() -> None:
    net, (images, _, masks) = Net(2), batch()
    wanted = ((1 - masks) * slopes(net, images, lambda y: (y[:, 0] - y[:, 1]).abs())).abs().sum((1, 2, 3))
    for labels in (torch.tensor([0, 1, 0]), torch.tensor([1, 0, 1])):
        assert torch.allclose(guide_of("grad_mask", net)(images, labels, masks)[1], wanted, rtol=1e-3)


def test_a_mask_of_ones_holds_nothing_against_a_network() -> None:
    net, (images, labels, masks) = Net(), batch()
    for name in ("energy", "rrr_star", "rrr", "grad_mask", "act_diff", "adversarial", "corm", "none"):
        logits, loss = guide_of(name, net)(images, labels, torch.ones_like(masks))
        assert torch.allclose(loss, torch.zeros(3).double(), atol=1e-12) and torch.allclose(logits, net(images)), name


@pytest.mark.parametrize("name", LOSSES)
def test_where_nothing_is_known_nothing_is_asked(name: str) -> None:
    """What the masks say there plays no part, nor does what the network makes of those pixels."""
    net, (images, labels, masks) = Net(), batch()
    known = torch.ones_like(masks, dtype=torch.bool)
    known[:, :, :, 4:] = False
    first = guide_of(name, net)(images, labels, masks, known)
    second = guide_of(name, net)(images, labels, torch.where(known, masks, 1 - masks), known)
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    if name in ON_MAPS:
        maps, _ = attributions(net, images, labels, LOOKING.method, LOOKING.layer)
        inside, seen = masks[:, 0] * known[:, 0], maps * known[:, 0]
        assert torch.allclose(first[1], ON_MAPS[name](seen, inside))
        seen = seen.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad((ON_MAPS[name](seen * known[:, 0], inside)).sum(), seen)
        assert not slope[:, :, 4:].any()
    else:
        all_unknown = guide_of(name, net)(images, labels, masks, torch.zeros_like(masks))
        assert torch.allclose(all_unknown[0], net(images)) and torch.allclose(all_unknown[1], torch.zeros(3).double())


def test_half_precision_maps_of_zeros() -> None:
    net = Net().float()
    nn.init.zeros_(net.head.weight)
    images, labels, masks = (x.float() if x.is_floating_point() else x for x in batch())
    half = net.to(torch.bfloat16)
    for name in ON_MAPS:
        _, loss = guide_of(name, half)(images.bfloat16(), labels, masks.bfloat16())
        assert torch.isfinite(loss).all(), name


class Spy(Net):
    """Keeps the images that it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach())
        return super().forward(x)


def test_act_diff_permutes_pixels_outside_the_mask_only() -> None:
    net, (images, labels, masks) = Spy(), batch()
    _, loss = guide_of("act_diff", net)(images, labels, masks)
    own, other = net.seen[-1].chunk(2)  # the first time is to find the head
    inside = (masks >= 0.5).expand_as(images)
    assert torch.equal(own, images) and torch.equal(own[inside], other[inside]) and not torch.equal(own, other)
    for image, moved in zip(own, other, strict=True):
        colours = [sorted(map(tuple, x.flatten(1).T.tolist())) for x in (image, moved)]
        assert colours[0] == colours[1]
    features = [torch.tanh(net.conv(x)).mean(dim=(2, 3)) for x in (own, other)]
    assert torch.allclose(loss, (features[0] - features[1]).norm(dim=1))


def test_corm_puts_noise_outside_the_mask_of_about_half_of_the_images() -> None:
    images, labels = torch.full((200, 3, 6, 6), 0.5), torch.zeros(200, dtype=torch.int64)
    masks = torch.zeros(200, 1, 6, 6)
    masks[:, :, :3] = 0.4  # divided by its peak before it is taken from 1; nothing is dilated at 6 pixels
    net = Spy().float()
    _, loss = guide_of("corm", net)(images, labels, masks)
    noise = net.seen[0] - images
    noisy = noise.flatten(1).any(dim=1)
    assert not loss.any() and not noise[:, :, :3].any() and 70 < noisy.sum() < 130
    assert noise[noisy][:, :, 3:].std().item() == pytest.approx(0.25, rel=0.1)  # clipped at two standard deviations


def test_what_a_guide_needs() -> None:
    net = Net()
    with pytest.raises(SalientError, match="guidance loss is not known; expected none, energy, l1, .*; got enrgy"):
        guidance("enrgy", net)
    with pytest.raises(SalientError, match="energy: needs to know where to look"):
        guidance("energy", net)
    for name in (*FEATURES, "corm"):
        with pytest.raises(SalientError, match=f"{name}: draws random numbers; expected a generator"):
            guidance(name, net)
