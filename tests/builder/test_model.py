from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision

from salient_imagenet_data.builder.model import load_model, save_smallnet
from salient_imagenet_data.builder.train import attack
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing


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
    normal = torchvision.transforms.v2.functional.normalize(x, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with torch.inference_mode():
        maps = model.maps(x)
        assert maps.shape == (2, 512, 7, 7)
        assert torch.allclose(model.logits(maps.mean((2, 3))), net(normal), atol=1e-5)
        assert torch.allclose(model(x), net(normal), atol=1e-5)


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    net = torchvision.models.resnet18(num_classes=3)
    torch.save(net.state_dict(), tmp_path / "w.pt")
    with pytest.raises(SalientError, match="expected --architecture, one of resnet18"):
        load_model(tmp_path / "w.pt")
    with pytest.raises(SalientError, match="weights do not fit ResNet"):
        load_model(tmp_path / "w.pt", architecture="resnet50")
    state = {k: v for k, v in net.state_dict().items() if not k.startswith("fc.")}
    torch.save(state, tmp_path / "headless.pt")
    with pytest.raises(SalientError, match="no linear head; expected fc.weight"):
        load_model(tmp_path / "headless.pt", architecture="resnet18")
    torch.save(net, tmp_path / "pickled.pt")
    with pytest.raises(SalientError, match="not a weights-only torch file"):
        load_model(tmp_path / "pickled.pt", architecture="resnet18")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(SalientError, match="no state dict"):
        load_model(tmp_path / "list.pt", architecture="resnet18")
    with pytest.raises(SalientError, match="no such file"):
        load_model(tmp_path / "none.pt")


@pytest.mark.parametrize("steps", [1, 5])
def test_attack_stays_in_the_ball_and_raises_the_loss(weights: Path, steps: int) -> None:
    model, _ = load_model(weights)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(6, 3, 56, 56, generator=generator), torch.arange(6)
    perturbed = attack(model, x, y, 0.5, steps, generator)
    assert perturbed.min() >= 0 and perturbed.max() <= 1
    assert (perturbed - x).flatten(1).norm(dim=1).max() <= 0.5 + 1e-5
    loss = torch.nn.functional.cross_entropy
    assert loss(model(perturbed), y) > loss(model(x), y)
