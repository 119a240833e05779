from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torchvision.transforms.v2.functional import normalize

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.networks.grid import find_grid
from salient_imagenet_data.networks.robust import ImageClassifier, load_model
from salient_imagenet_data.networks.smallnet import save_smallnet
from salient_imagenet_data.store.manifest import file_sha256
from tests.checkpoints import robustness_checkpoint


def test_small_network_round_trip_has_the_same_bytes(weights: Path, tmp_path: Path) -> None:
    model, sha256 = load_model(weights)
    assert model.preprocessing == Preprocessing(60, 56) and model.weight.shape == (10, 12)
    save_smallnet(model, tmp_path / "again.safetensors")  # type: ignore[arg-type]
    assert load_model(tmp_path / "again.safetensors")[1] == sha256


@pytest.mark.parametrize("suffix", ["pt", "wrapped.pt"])
def test_torchvision_resnet_maps_pool_to_its_own_logits(tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=7).eval()
    state = net.state_dict()
    torch.save({"state_dict": state} if "wrapped" in suffix else state, tmp_path / suffix)
    model, _ = load_model(tmp_path / suffix, architecture="resnet18")
    x = torch.rand(2, 3, 224, 224)
    normal = normalize(x, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with torch.inference_mode():
        maps = model.maps(x)
        assert maps.shape == (2, 512, 7, 7)
        assert torch.allclose(model.logits(maps.mean((2, 3))), net(normal), atol=1e-5)
        assert torch.allclose(model(x), net(normal), atol=1e-5)


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    net = torchvision.models.resnet18(num_classes=3)
    torch.save(net.state_dict(), tmp_path / "w.pt")
    with pytest.raises(SalientError, match="do not say what network they are for; expected --architecture"):
        load_model(tmp_path / "w.pt")
    with pytest.raises(
        SalientError,
        match=r"weights do not fit torchvision:resnet50; expected .* of shape .*; got .*of another architecture",
    ):
        load_model(tmp_path / "w.pt", architecture="resnet50")
    state = {k: v for k, v in net.state_dict().items() if not k.startswith("fc.")}
    torch.save(state, tmp_path / "headless.pt")
    with pytest.raises(SalientError, match="weights of another network; expected a tensor fc.bias"):
        load_model(tmp_path / "headless.pt", architecture="resnet18")


def test_a_checkpoint_of_the_robustness_library(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=5).eval()
    path = tmp_path / "resnet18_l2_eps3.ckpt"
    extras = {"nat_prec1": np.float64(57.9), "args": argparse.Namespace(eps=3.0), "best": np.int64(3)}
    torch.save(robustness_checkpoint(net, **extras), path)
    model, sha256 = load_model(path, architecture="resnet18", sha256=file_sha256(path).upper())
    assert sha256 == file_sha256(path)
    x = torch.rand(2, 3, 224, 224)
    normal = normalize(x, [0.5, 0.4, 0.3], [0.2, 0.25, 0.3])
    with torch.inference_mode():
        assert torch.allclose(model(x), net(normal), atol=1e-5)
    with pytest.raises(SalientError, match=f"not the weights that were asked for; expected sha256 {'0' * 64}"):
        load_model(path, architecture="resnet18", sha256="0" * 64)


@pytest.mark.parametrize("name", ["densenet121", "mobilenet_v2", "shufflenet_v2_x0_5", "regnet_y_400mf"])
def test_pooled_networks_of_torchvision(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    net = torchvision.models.get_model(name, num_classes=6).eval()
    torch.save(net.state_dict(), tmp_path / "w.pt")
    model, _ = load_model(tmp_path / "w.pt", architecture=f"torchvision:{name}", preprocessing=Preprocessing(96, 96))
    with torch.inference_mode():
        x = torch.rand(2, 3, 96, 96)
        maps, features = model.maps_and_features(x)
        assert maps.shape[:2] == features.shape and maps.shape[2] > 1 and model.weight.shape == (6, maps.shape[1])
        assert torch.allclose(maps.mean((2, 3)), features, atol=1e-5)
        assert torch.allclose(model.logits(features), model(x), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "pooled", "grid"),
    [("vit_tiny_patch16_224", False, 14), ("convnext_atto", False, 7), ("resnet10t", True, 7)],
)
def test_networks_of_timm(tmp_path: Path, name: str, pooled: bool, grid: int) -> None:
    timm = pytest.importorskip("timm", reason="timm is an optional extra")
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=4).eval()
    torch.save(net.state_dict(), tmp_path / "w.pt")
    model, _ = load_model(tmp_path / "w.pt", architecture=f"timm:{name}", preprocessing=Preprocessing(224, 224))
    with torch.inference_mode():
        x = torch.rand(1, 3, 224, 224)
        maps, features = model.maps_and_features(x)
        assert maps.shape == (1, features.shape[1], grid, grid)
        assert torch.allclose(model.logits(features), model(x), atol=1e-5)
        assert torch.allclose(maps.mean((2, 3)), features, atol=1e-4) == pooled
        if "vit" in name:  # the grid is that of the patch tokens, row by row
            normal = normalize(x, model.mean.flatten(), model.std.flatten())
            tokens = net.forward_features(normal)[:, 1:]
            assert torch.allclose(maps[0, :, 3, 5], tokens[0, 3 * 14 + 5], atol=1e-5)


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_layers_between_pooling_and_head_are_applied_to_each_place(library: str) -> None:
    """MobileNetV3's features are made after the pooling, in place by its last activation."""
    torch.manual_seed(0)
    if library == "timm":
        timm = pytest.importorskip("timm", reason="timm is an optional extra")
        net = timm.create_model("mobilenetv3_small_050", num_classes=4).eval()
        body = net.forward_features
        after = torch.nn.Sequential(net.conv_head, net.norm_head, net.act2)
    else:
        net = torchvision.models.mobilenet_v3_small(num_classes=4).eval()
        body = net.features
        after = torch.nn.Sequential(torch.nn.Flatten(), *net.classifier[:2])
    for module in net.modules():  # as after training: values of some size, and of both signs after the activation
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(1.0, 2.0)
            module.bias.data.normal_()
    model = ImageClassifier("x", net, Preprocessing(224, 224))
    x = torch.rand(2, 3, 224, 224)
    with torch.inference_mode():
        maps, features = model.maps_and_features(x)
        grid = body((x - model.mean) / model.std)
        assert torch.allclose(features, after(grid.mean((2, 3), keepdim=True)).flatten(1), rtol=1e-4, atol=1e-4)
        assert maps.shape == (2, features.shape[1], 7, 7) and not model.grid.pooled
        here = after(grid[1:, :, 2:3, 5:6]).flatten()
        assert torch.allclose(maps[1, :, 2, 5], here, rtol=1e-4, atol=1e-4) and here.std() > 0.01
        assert torch.allclose(model.logits(features), model(x), rtol=1e-4)


def test_an_earlier_layer_with_as_many_channels_is_not_taken_for_the_features() -> None:
    torch.manual_seed(0)
    body = (
        torch.nn.Conv2d(3, 16, 3, 4, 1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 8, 3, 1, 1),
        torch.nn.ReLU(inplace=True),
    )
    after = torch.nn.Linear(8, 16), torch.nn.Hardswish(inplace=True)
    head = torch.nn.Linear(16, 4)
    net = torch.nn.Sequential(
        *body, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), *after, torch.nn.Dropout(), head
    )
    model = ImageClassifier("x", net, Preprocessing(32, 32))
    assert (model.grid.module, model.grid.head) == ("3", "9")
    assert [(layer.name, layer.shape) for layer in model.grid.after] == [("6", (8,)), ("7", (16,))]
    with torch.inference_mode():
        maps, features = model.maps_and_features(torch.rand(1, 3, 32, 32))
        assert maps.shape == (1, 16, 8, 8) and not torch.allclose(maps.mean((2, 3)), features, atol=1e-3)


def test_networks_that_will_not_do(tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(1)}, tmp_path / "w.pt")
    with pytest.raises(SalientError, match="alexnet: no grid of features before its linear head"):
        find_grid(torchvision.models.alexnet().eval(), 224, "alexnet")
    squeezed = torchvision.models.squeezenet1_1(num_classes=3)
    torch.save(squeezed.state_dict(), tmp_path / "s.pt")
    with pytest.raises(SalientError, match="squeezenet1_1: no linear head; expected a linear layer on pooled features"):
        load_model(tmp_path / "s.pt", architecture="squeezenet1_1")
    with pytest.raises(SalientError, match="torchvision has no such classifier"):
        load_model(tmp_path / "w.pt", architecture="resnet51")
    with pytest.raises(
        SalientError,
        match="keras:resnet50 cannot be imported; expected timm:, torchvision:, hf:, clip:, vlm: and a name",
    ):
        load_model(tmp_path / "w.pt", architecture="keras:resnet50")
    with pytest.raises(SalientError, match="not an address on the Hub"):
        load_model("hf://resnet50.ckpt")
