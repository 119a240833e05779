"""Attribution maps, plain and differentiable, against finite differences and closed forms."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.saliency.attributions import (
    IMAGE,
    attributions,
    chosen_layer,
    default_layer,
    last_grid,
    layer_at,
    saliency_of,
)
from salient_imagenet_data.evaluation.saliency.methods import METHODS


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


@pytest.mark.parametrize("layer", [IMAGE, "a"])
def test_integrated_gradients_add_up_to_the_change_of_the_logit(net: nn.Module, layer: str) -> None:
    """Completeness [Sundararajan et al. 2017, proposition 1]; at grids as fine as the image, whose sums no resize changes."""
    maps, _ = attributions(net, X, CLASSES, "integrated_gradients", layer, steps=200)
    with torch.no_grad():
        y = net.a(X)
        at_0 = torch.zeros_like(X) if layer == IMAGE else torch.zeros_like(y)
        change = net(X) - (net(at_0) if layer == IMAGE else rest(net, net.b(torch.tanh(at_0))))
    wanted = change.gather(1, CLASSES[:, None])[:, 0]
    assert torch.allclose(maps.sum(dim=(1, 2)), wanted, rtol=1e-3)
    few, _ = attributions(net, X, CLASSES, "input_x_gradient", layer)
    assert not torch.allclose(few.sum(dim=(1, 2)), wanted, rtol=1e-3)  # the test can fail


def test_integrated_gradients_at_a_coarse_layer_by_hand(net: nn.Module) -> None:
    y, slopes = net.b(torch.tanh(net.a(X))).detach(), []
    for k in range(3):
        t = (y * (k + 0.5) / 3).requires_grad_(True)
        slopes += torch.autograd.grad(rest(net, t).gather(1, CLASSES[:, None]).sum(), t)
    small = (y * torch.stack(slopes).mean(dim=0)).sum(dim=1, keepdim=True)
    wanted = nn.functional.interpolate(small, (8, 8), mode="bilinear", align_corners=False)[:, 0]
    assert torch.allclose(attributions(net, X, CLASSES, "integrated_gradients", "b", steps=3)[0], wanted)


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
    with pytest.raises(SalientError, match=r"encoder: not a grid; expected .*; got \(2, 5, 8\)"):
        attributions(net, x, classes, "grad_cam", "encoder")
    with pytest.raises(SalientError, match="VisionTransformer: no grid of features among its last layers"):
        last_grid(net, 32)  # its patches are its first
    with pytest.raises(SalientError, match="no grid of features among its last layers"):
        last_grid(timm.create_model("vit_tiny_patch16_224", num_classes=3, depth=2).eval())


def test_a_grid_whose_channels_come_last() -> None:
    """Swin's are (B, h, w, F): the same maps as of the same layer turned round."""
    torch.manual_seed(0)
    net = timm.create_model("swin_tiny_patch4_window7_224", num_classes=3, embed_dim=24, depths=(1, 1, 1, 1)).eval()
    x, classes = torch.rand(2, 3, 224, 224), torch.tensor([0, 1])
    assert last_grid(net) == "norm"
    maps, _ = attributions(net, x, classes, "grad_cam", "norm")
    with torch.no_grad():
        y = net.norm(net.layers(net.patch_embed(x)))
    y.requires_grad_(True)
    (slope,) = torch.autograd.grad(net.forward_head(y).gather(1, classes[:, None]).sum(), y)
    small = (y * slope.mean(dim=(1, 2), keepdim=True)).sum(dim=3).relu()[:, None]
    wanted = nn.functional.interpolate(small, (224, 224), mode="bilinear", align_corners=False)[:, 0]
    assert torch.allclose(maps, wanted, atol=1e-6) and maps.max() > 0


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_attention_has_a_gradient_of_its_gradient(library: str) -> None:
    torch.manual_seed(0)
    if library == "timm":
        net = timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=32, depth=1).eval()
    else:
        net = torchvision.models.VisionTransformer(32, 16, 1, 2, 8, 16, num_classes=3).eval()
        nn.init.normal_(net.heads.head.weight)
    x, classes = torch.rand(2, 3, 32, 32), torch.tensor([0, 1])
    maps, _ = attributions(net, x, classes, "input_x_gradient", IMAGE, differentiable=True)
    maps.square().sum().backward()
    slopes = [p.grad for p in net.parameters() if p.grad is not None]
    assert len(slopes) > 5 and all(torch.isfinite(s).all() for s in slopes) and any(s.any() for s in slopes)


def test_layers_that_cannot_be_explained(net: nn.Module) -> None:
    with pytest.raises(SalientError, match="Net: no layer 'c'; expected a module such as a, b, head"):
        attributions(net, X, CLASSES, "grad_cam", "c")
    with pytest.raises(SalientError, match=r"head: not a grid; expected \(B, F, h, w\), as high as wide; got \(2, 3\)"):
        attributions(net, X, CLASSES, "grad_cam", "head")
    shared = nn.Conv2d(3, 3, 1).double()
    twice = nn.Sequential(shared, shared, nn.Flatten(), nn.Linear(192, 3).double())
    with pytest.raises(SalientError, match="0: cannot be explained; expected a layer that runs once; got 2 times"):
        attributions(twice, X, CLASSES, "grad_cam", "0")


def test_a_layer_that_plays_no_part() -> None:
    class Aside(Net):
        def __init__(self) -> None:
            super().__init__()
            self.side = nn.Conv2d(3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            self.side(x)
            return super().forward(x)

    with pytest.raises(SalientError, match="the layer plays no part in the logits; choose another layer"):
        attributions(Aside().double(), X, CLASSES, "grad_cam", "side")


def test_the_depths_of_networks_that_are_known() -> None:
    torch.manual_seed(0)
    for name, size, wanted in (
        ("resnet18", 64, "layer2"),  # 32, 16, 8, 4 and 2 cells a side
        ("convnext_tiny", 64, "features.6.0"),  # 16, 8, 4 and 2: the smaller of two, up to the norm before the next
    ):
        net = torchvision.models.get_model(name, num_classes=3).eval()
        assert layer_at(net, "middle", size) == wanted, name
        assert (layer_at(net, "input", size), layer_at(net, "last", size)) == (IMAGE, last_grid(net, size))
        assert chosen_layer(net, "grad_cam", None, "middle", size) == wanted
        assert chosen_layer(net, "grad_cam", "conv1", None, size) == "conv1"
        assert chosen_layer(net, "grad_cam", None, None, size) == default_layer(net, "grad_cam", size)
    with pytest.raises(SalientError, match="where to look is said twice; expected a layer or a depth; got a and last"):
        chosen_layer(net, "grad_cam", "a", "last", 64)
    with pytest.raises(SalientError, match="depth is not known; expected input, middle, last; got deep"):
        layer_at(net, "deep", 64)  # type: ignore[arg-type]


def test_a_network_of_two_grids_has_no_middle(net: nn.Module) -> None:
    with pytest.raises(
        SalientError, match="Net: no middle grid; expected grids of three or more sizes; got 8 x 8, 4 x"
    ):
        layer_at(net, "middle", 8)
