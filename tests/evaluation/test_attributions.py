"""Attribution maps, plain and differentiable, against finite differences and closed forms."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.attributions import (
    IMAGE,
    METHODS,
    attributions,
    default_layer,
    last_grid,
    saliency_of,
)


class Net(nn.Module):
    """Smooth, with an in-place step after the layer `b`."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Conv2d(3, 4, 3, padding=1)
        self.b = nn.Conv2d(4, 5, 3, stride=2, padding=1)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.b(torch.tanh(self.a(x)))
        return self.head(y.tanh_().mean(dim=(2, 3)))


@pytest.fixture
def net() -> nn.Module:
    return Net().double().eval()


X, CLASSES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)).double(), torch.tensor([2, 0])


def rest(net: nn.Module, y: Tensor) -> Tensor:
    """What comes after the layer `b`."""
    return net.head(torch.tanh(y).mean(dim=(2, 3)))


def test_input_x_gradient_by_finite_differences(net: nn.Module) -> None:
    maps, logits = attributions(net, X, CLASSES, "input_x_gradient", IMAGE)
    step, expected = 1e-5, torch.zeros(2, 8, 8).double()
    for row in range(8):
        for column in range(8):
            for channel in range(3):
                moved = X.clone()
                moved[:, channel, row, column] += step
                slope = (net(moved) - net(X)).gather(1, CLASSES[:, None])[:, 0] / step
                expected[:, row, column] += X[:, channel, row, column] * slope.detach()
    assert torch.allclose(maps, expected, atol=1e-5) and torch.allclose(logits, net(X))
    assert not maps.requires_grad and not logits.requires_grad


@pytest.mark.parametrize("layer", [IMAGE, "b"])
def test_integrated_gradients_add_up_to_the_change_of_the_logit(net: nn.Module, layer: str) -> None:
    """Completeness [Sundararajan et al. 2017, proposition 1]; sums are kept by no resize, so on one place a pixel."""
    maps, _ = attributions(net, X, CLASSES, "integrated_gradients", layer, steps=200)
    with torch.no_grad():
        if layer == IMAGE:
            change = net(X) - net(torch.zeros_like(X))
        else:
            y = net.b(torch.tanh(net.a(X)))
            change = rest(net, y) - rest(net, torch.zeros_like(y))
            maps = nn.functional.avg_pool2d(maps[:, None], 2)[:, 0]  # undoes a bilinear doubling only roughly
    wanted = change.gather(1, CLASSES[:, None])[:, 0]
    assert torch.allclose(maps.sum(dim=(1, 2)), wanted, rtol=1e-3 if layer == IMAGE else 0.3)


def test_at_a_layer_by_hand(net: nn.Module) -> None:
    y = net.b(torch.tanh(net.a(X))).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(rest(net, y).gather(1, CLASSES[:, None]).sum(), y)
    expected = {
        "input_x_gradient": (y * gradient).sum(dim=1, keepdim=True),
        "grad_cam": (y * gradient.mean(dim=(2, 3), keepdim=True)).sum(dim=1, keepdim=True).relu(),
    }
    for method, small in expected.items():
        maps, _ = attributions(net, X, CLASSES, method, "b")
        large = nn.functional.interpolate(small, (8, 8), mode="bilinear", align_corners=False)[:, 0]
        assert torch.allclose(maps, large), method
    assert not any(m._forward_hooks for m in net.modules())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layer", [IMAGE, "a", "b"])
def test_differentiable_maps_are_the_plain_ones_and_have_the_gradient_of_finite_differences(
    net: nn.Module, method: str, layer: str
) -> None:
    plain, _ = attributions(net, X, CLASSES, method, layer, steps=3)
    maps, logits = attributions(net, X, CLASSES, method, layer, steps=3, differentiable=True)
    assert torch.equal(plain, maps.detach()) and logits.requires_grad
    weigh = torch.rand(maps.shape, generator=torch.Generator().manual_seed(2)).double()
    net.zero_grad()
    (maps * weigh).sum().backward()
    for parameter in (net.a.weight, net.b.weight, net.head.weight):
        slope, step = parameter.grad.flatten()[1].item(), 1e-5
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.flatten()[1] += sign * step
            values.append((attributions(net, X, CLASSES, method, layer, steps=3)[0] * weigh).sum().item())
            with torch.no_grad():
                parameter.flatten()[1] -= sign * step
        assert slope == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-4, abs=1e-7)


def test_frozen_networks_can_be_explained_and_images_do_not_mix(net: nn.Module) -> None:
    net.requires_grad_(False)
    for method in METHODS:
        layer = default_layer(net, method, 8)
        assert layer == ("b" if method == "grad_cam" else IMAGE)
        maps = saliency_of(net, method, layer)(X, CLASSES)
        alone = saliency_of(net, method, layer)(X[1:], CLASSES[1:])
        assert torch.allclose(maps[1:], alone) and (maps >= 0).all() and maps.max() > 0
    with torch.no_grad():
        assert saliency_of(net, "grad_cam", "b")(X, CLASSES).shape == (2, 8, 8)


def test_a_transformer_has_maps_at_the_image_only() -> None:
    torch.manual_seed(0)
    net = torchvision.models.VisionTransformer(32, 16, 1, 2, 8, 16, num_classes=3).eval()
    x, classes = torch.rand(2, 3, 32, 32), torch.tensor([0, 1])
    assert attributions(net, x, classes, "input_x_gradient", IMAGE)[0].shape == (2, 32, 32)
    with pytest.raises(SalientError, match=r"encoder: not a grid; expected \(B, F, h, w\); got \(2, 5, 8\)"):
        attributions(net, x, classes, "grad_cam", "encoder")
    assert last_grid(net, 32) == "conv_proj"


def test_layers_that_cannot_be_explained(net: nn.Module) -> None:
    with pytest.raises(SalientError, match="Net: no layer 'c'; expected a module such as a, b, head"):
        attributions(net, X, CLASSES, "grad_cam", "c")
    with pytest.raises(SalientError, match="head: not a grid"):
        attributions(net, X, CLASSES, "grad_cam", "head")
    shared = nn.Conv2d(3, 3, 1).double()
    twice = nn.Sequential(shared, shared, nn.Flatten(), nn.Linear(192, 3).double())
    with pytest.raises(SalientError, match="0: cannot be explained; expected a layer that runs once; got 2 times"):
        attributions(twice, X, CLASSES, "grad_cam", "0")
