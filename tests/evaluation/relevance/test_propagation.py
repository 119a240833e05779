"""Relevance against plain loops in NumPy, against zennit's own way through a ResNet, and its sums."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from zennit.composites import EpsilonPlusFlat
from zennit.rules import ZPlus
from zennit.torchvision import ResNetCanonizer

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.relevance import propagation
from salient_imagenet_data.evaluation.relevance.choices import Rules
from salient_imagenet_data.evaluation.relevance.propagation import Propagation, check_conserved
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.networks.robust import ImageClassifier
from salient_imagenet_data.networks.smallnet import SmallNet, SmallNetConfig, SmallNetModel


def classifier(net: nn.Module, size: int = 64, name: str = "a network") -> ImageClassifier:
    return ImageClassifier(name, net.eval(), Preprocessing(size, size), (0.5,) * 3, (0.25,) * 3)


def shaken(net: nn.Module) -> nn.Module:
    """With batch normalisation that does something."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net.eval()


class Pooled(nn.Module):
    """Layers, the mean over the grid, and a head."""

    def __init__(self, body: nn.Module, features: int) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(features, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean(dim=(2, 3)))


class Densely(nn.Sequential):
    """As DenseNet does."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 3), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        maps = super().forward(x)
        return torch.cat([maps, maps], dim=1)


class Strange(nn.Sequential):
    """Fails for what stands for a tensor in tracing."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 3), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        if not isinstance(x, Tensor):
            raise ValueError("of two\n  lines")
        return super().forward(x)


def by_hand(
    x: np.ndarray, first: np.ndarray, bias: np.ndarray, second: np.ndarray, start: np.ndarray, flat: bool
) -> np.ndarray:
    """Relevance of the pixels (3, h, w) of 1 x 1 convolutions (F, 3) and (G, F), from that at the grid (G, h, w)."""
    found = np.zeros_like(x)
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            hidden = np.maximum(first @ x[:, i, j] + bias, 0.0)
            relevance = np.zeros(len(hidden))
            for g, row in enumerate(second):
                parts = hidden * np.maximum(row, 0.0)
                relevance += parts / (parts.sum() + 1e-6) * start[g, i, j]
            for f, row in enumerate(first):
                parts = np.ones(3) if flat else np.maximum(row * x[:, i, j], 0.0)
                found[:, i, j] += parts / (parts.sum() + 1e-6) * relevance[f]
    return found


@pytest.mark.parametrize("rules", ["epsilon_plus", "epsilon_plus_flat"])
def test_two_layers_as_by_hand(rules: Rules) -> None:
    """Batch normalisation lies between the first convolution and its rectifier; unit 1 alone, and a class of all."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)  # of the head
    first, second, shift = rng.normal(size=(4, 3)), rng.normal(size=(2, 4)), rng.normal(size=4)
    convs = nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(4, 2, 1, bias=False)
    norm = nn.BatchNorm2d(4, eps=1e-12)  # some versions of torch refuse 0
    for module, value in ((convs[0], first / 2.0), (convs[1], second)):
        module.weight.data = torch.from_numpy(value).float()[:, :, None, None]
    norm.weight.data, norm.bias.data = torch.full((4,), 2.0), torch.from_numpy(shift).float()
    net = Pooled(nn.Sequential(convs[0], norm, nn.ReLU(), convs[1], nn.ReLU()), 2)
    model = classifier(net, 3)
    images = torch.rand(2, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    way = Propagation(model, rules)
    assert torch.allclose(way.body.layers(images), model.maps(images), atol=1e-6)
    with way.passed(images) as passed:
        grid = passed.grid.numpy().astype(np.float64)
        unit = passed.relevance(passed.activation(1)).numpy()
        weight = way.weight[0].expand(2, -1)
        whole = passed.relevance(passed.start(weight)).numpy()
        assert torch.allclose((passed.pooled * weight).sum(dim=1), model(images)[:, 0] - net.head.bias[0], atol=1e-6)
    x = (images.numpy().astype(np.float64) - 0.5) / 0.25
    for k in range(2):
        alone = np.stack([np.zeros((3, 3)), grid[k, 1] / 9.0])
        both = grid[k] * net.head.weight.detach().numpy()[0][:, None, None] / 9.0
        flat = rules == "epsilon_plus_flat"
        for found, start in ((unit[k], alone), (whole[k], both)):
            wanted = by_hand(x[k], first, shift, second, start, flat).sum(axis=0)
            assert np.allclose(found, wanted, rtol=1e-3, atol=1e-6) and np.abs(wanted).max() > 1e-3


def test_a_resnet_as_zennit_does_it_itself() -> None:
    """With its own canonizer for torchvision's blocks in the place of our steps."""
    try:  # which leaves batch normalisation with an eps of 0
        nn.BatchNorm2d(1, eps=0.0).eval()(torch.zeros(1, 1, 1, 1))
    except ValueError as error:
        pytest.skip(f"this torch refuses zennit's: {error}")
    torch.manual_seed(0)
    net = shaken(torchvision.models.resnet18())
    images = torch.rand(2, 3, 64, 64)
    way = Propagation(classifier(net))
    with way.passed(images) as passed:
        found = passed.relevance(passed.activation(7))
        start = passed.activation(7)
    body = nn.Sequential(*list(net.children())[:-2])
    x = ((images - 0.5) / 0.25).requires_grad_(True)
    with EpsilonPlusFlat(zero_params="bias", canonizers=[ResNetCanonizer()]).context(body) as canonical:
        (wanted,) = torch.autograd.grad(canonical(x), x, start)
    assert torch.allclose(found, wanted.sum(dim=1), rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))
    assert float(found.abs().max()) > 0


def small() -> SmallNetModel:
    net = shaken(SmallNet(SmallNetConfig(4, (8, 12), 1, 1)))
    assert isinstance(net, SmallNet)
    return SmallNetModel(net, Preprocessing(64, 64), ("a", "b", "c", "d"))


NETWORKS: dict[str, Callable[[], SmallNetModel | ImageClassifier]] = {
    "smallnet": small,
    "timm": lambda: classifier(shaken(timm.create_model("resnet18"))),
    "lite": lambda: classifier(shaken(timm.create_model("tf_efficientnet_lite0"))),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_class_has_at_the_grid_reaches_the_image(name: str) -> None:
    torch.manual_seed(1)
    way = Propagation(NETWORKS[name]())
    assert abs(check_conserved(way, torch.rand(2, 3, 64, 64), 1) - 1.0) < 0.01


def test_depthwise_convolutions_lose_by_the_plain_rule_what_they_keep_by_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(propagation, "_plus_with_bias", lambda: ZPlus(zero_params="bias"))
    torch.manual_seed(1)
    with pytest.raises(SalientError, match="relevance is not conserved"):
        check_conserved(Propagation(NETWORKS["lite"]()), torch.rand(2, 3, 64, 64), 1)


def test_the_network_is_left_as_it_was() -> None:
    torch.manual_seed(2)
    model = small()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    way, images = Propagation(model), torch.rand(1, 3, 64, 64)
    with way.passed(images) as passed:
        passed.relevance(passed.activation(0))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.allclose(way.body.layers(images), model.maps(images), atol=1e-5)


def test_a_depthwise_place_with_nothing_but_its_bias_shares_it_evenly() -> None:
    """Negative weights on positive inputs: the bias alone makes the output, and each of the nine inputs has a ninth."""
    depthwise = nn.Conv2d(3, 3, 3, groups=3)
    depthwise.weight.data.fill_(-0.01)
    depthwise.bias.data.fill_(5.0)
    first = nn.Conv2d(3, 3, 1)
    first.weight.data, first.bias.data = torch.eye(3)[:, :, None, None], torch.full((3,), 3.0)
    net = Pooled(nn.Sequential(first, nn.ReLU(), depthwise, nn.ReLU()), 3)
    way = Propagation(classifier(net, 4), "epsilon_plus_flat")
    with way.passed(torch.rand(1, 3, 4, 4)) as passed:
        found = passed.relevance(passed.activation(2))[0]
        values = passed.grid[0, 2] / 4.0
    wanted = torch.zeros(4, 4)
    for i in range(2):
        for j in range(2):
            wanted[i : i + 3, j : j + 3] += values[i, j] / 9.0
    assert torch.allclose(found, wanted, atol=1e-5)


def test_without_zennit_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zennit.composites", None)
    with pytest.raises(SalientError, match=r"^relevance: zennit is not installed; pip install '.*\[lrp\]'$"):
        Propagation(small())


def test_what_loses_relevance_is_refused() -> None:
    """A convolution whose outputs are its bias alone has no inputs to hand its relevance to."""
    last = nn.Conv2d(3, 2, 1)
    last.weight.data.fill_(-0.01)
    last.bias.data.fill_(1.0)
    net = Pooled(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), last, nn.ReLU()), 2)
    net.head.weight.data.fill_(1.0)
    with pytest.raises(SalientError) as error:
        check_conserved(Propagation(classifier(net, 4)), torch.rand(2, 3, 4, 4), 0)
    assert str(error.value) == (
        "a network: relevance is not conserved on its way to the image; expected a share of 0.95 to 1.05; got 0; "
        "its maps would say little; use another network"
    )


def test_networks_with_steps_that_no_rule_fits_are_refused_by_name() -> None:
    fits = (
        "; expected a network of convolutions, batch normalisation, rectifiers, sums and pooling; take another network, "
        "such as a ResNet or an EfficientNet-Lite; where this one looks, `salient-imagenet align` measures"
    )
    mean = "its head does not stand on the mean of its last maps"
    begins = "a network: relevance cannot be propagated through it: "
    for net, why in (
        (timm.create_model("efficientnet_b0"), "no rule for bn1.2, SiLU"),
        (timm.create_model("test_convnext"), f"{mean}, and no rule is known for its LayerNorm"),
        (Pooled(Densely(), 8), "no rule for the function cat"),
        (Pooled(Strange(), 4), "it cannot be traced: of two lines"),
        (Pooled(nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.ReLU()), 4), "no rule for body.1, GroupNorm"),
        (Pooled(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.ReLU()), 4), "no rule for body.0, BatchNorm2d"),
    ):
        with pytest.raises(SalientError) as error:
            Propagation(classifier(net))
        assert str(error.value) == begins + why + fits
