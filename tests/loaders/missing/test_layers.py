from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.models as zoo
from torch import Tensor, nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.loaders import LayerMasking, TokenDropping
from salient_imagenet_data.loaders.missing.layers import fill_rings


def timm_model(name: str) -> Callable[[], Any]:
    return lambda: pytest.importorskip("timm", reason="an optional part").create_model(name, num_classes=7)


MODELS: dict[str, Callable[[], Any]] = {
    "resnet18": lambda: zoo.resnet18(num_classes=7),
    "resnet50": lambda: zoo.resnet50(num_classes=7),
    "vgg11_bn": lambda: zoo.vgg11_bn(num_classes=7),
    "densenet121": lambda: zoo.densenet121(num_classes=7),
    "mobilenet_v2": lambda: zoo.mobilenet_v2(num_classes=7),
    "mobilenet_v3": lambda: zoo.mobilenet_v3_small(num_classes=7),
    "efficientnet_b0": lambda: zoo.efficientnet_b0(num_classes=7),
    "regnet_y": lambda: zoo.regnet_y_400mf(num_classes=7),
    "convnext_tiny": lambda: zoo.convnext_tiny(num_classes=7),
    "timm_resnet18": timm_model("resnet18"),
    "timm_resnet50": timm_model("resnet50"),
    "timm_convnext": timm_model("convnext_atto"),
}


def data() -> tuple[Tensor, Tensor]:
    masks = torch.zeros(2, 1, 64, 64)
    masks[0, :, 20:44, 10:40] = 1.0
    masks[1, :, :, 30:] = 0.6
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)), masks


@torch.inference_mode()
@pytest.mark.parametrize("name", MODELS)
def test_networks_see_all_of_what_is_present_and_nothing_of_what_is_not(name: str) -> None:
    torch.manual_seed(0)
    net = MODELS[name]().eval()
    images, masks = data()
    layered = LayerMasking(net)
    scale = float(net(images).abs().max())
    assert (layered(images, masks * 0) - net(images)).abs().max() < 1e-5 * scale
    found = layered(images, masks)
    painted = torch.where(masks > 0.5, torch.full_like(images, 30.0), images)
    assert torch.equal(layered(painted, masks), found)
    assert (layered(-images, masks) - found).abs().amax(dim=1).min() > 1e-4 * scale
    assert layered(images, torch.ones_like(masks)).isfinite().all()


def rings_by_hand(values: np.ndarray, present: np.ndarray, rings: int) -> np.ndarray:
    values, present = values.copy(), present.copy()
    for _ in range(rings):
        before, known = values.copy(), present.copy()
        for y, x in np.argwhere(~known):
            near = np.s_[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            if known[near].any():
                values[:, y, x] = before[:, *near][:, known[near]].mean(axis=1)
                present[y, x] = True
    return values


@pytest.mark.parametrize("rings", [0, 1, 2, 5])
def test_rings_by_hand(rings: int) -> None:
    rng = np.random.default_rng(rings)
    present = rng.random((9, 8)) < 0.2
    values = rng.random((2, 9, 8)) * present
    got = fill_rings(torch.from_numpy(values)[None], torch.from_numpy(present)[None, None].double(), rings)[0]
    assert np.abs(got.numpy() - rings_by_hand(values, present, rings)).max() < 1e-12


@torch.inference_mode()
def test_a_small_network_step_by_step_in_numpy() -> None:
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).double()
    image = torch.randn(1, 3, 8, 8).double()
    missing = np.zeros((8, 8), dtype=bool)
    missing[2:7, 1:6] = True
    present = ~missing
    filled = np.pad(rings_by_hand(image[0].numpy() * present, present, 2), ((0, 0), (1, 1), (1, 1)))
    weight, bias = net[0].weight.numpy(), net[0].bias.numpy()
    out, there = np.zeros((4, 8, 8)), np.zeros((8, 8), dtype=bool)
    for y in range(8):
        for x in range(8):
            out[:, y, x] = np.maximum((weight * filled[:, y : y + 3, x : x + 3]).sum(axis=(1, 2, 3)) + bias, 0)
            there[y, x] = present[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].any()
    blocks = [(y, x) for y in range(0, 8, 2) for x in range(0, 8, 2) if there[y : y + 2, x : x + 2].any()]
    pooled = [
        np.where(there[y : y + 2, x : x + 2], out[:, y : y + 2, x : x + 2], -np.inf).max(axis=(1, 2)) for y, x in blocks
    ]
    assert 0 < len(blocks) < 16
    masks = torch.from_numpy(missing)[None, None].double()
    assert np.abs(LayerMasking(net)(image, masks)[0].numpy() - np.mean(pooled, axis=0)).max() < 1e-12


@torch.inference_mode()
def test_average_pooling_is_over_what_is_present() -> None:
    image = torch.rand(1, 3, 6, 6)
    masks = torch.zeros(1, 1, 6, 6)
    masks[:, :, :3] = 1.0
    for pool in (nn.AdaptiveAvgPool2d(1), nn.AvgPool2d(6)):
        net = nn.Sequential(pool, nn.Flatten())
        assert torch.allclose(LayerMasking(net)(image, masks), image[:, :, 3:].mean(dim=(2, 3)))


class _Fourier(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.rfft2(x).abs().flatten(1)


@pytest.mark.parametrize("threshold", [0.0, 1.5, float("nan")])
def test_a_threshold_is_one_that_some_masks_reach(threshold: float) -> None:
    for hide in (LayerMasking, TokenDropping):
        with pytest.raises(ValueError, match=r"expected a threshold in \(0, 1\], got"):
            hide(nn.Conv2d(3, 3, 1), threshold)


def test_what_cannot_be_followed_is_named() -> None:
    images, masks = data()
    with pytest.raises(SalientError, match="layer masking cannot follow the operation fft_rfft2"):
        LayerMasking(_Fourier())(images, masks)
    with pytest.raises(SalientError, match="still a map"):
        LayerMasking(nn.Conv2d(3, 4, 1))(images, masks)
