"""The normalisation of other people's files, in the layouts that they have."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from torchvision.transforms.v2.functional import normalize

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.networks.classifiers import told
from salient_imagenet_data.networks.opening import open_network
from salient_imagenet_data.networks.robust import load_model

MEAN, STD = (0.41, 0.52, 0.63), (0.21, 0.32, 0.43)
NAMES = tuple(f"thing {i}" for i in range(4))


@pytest.fixture(scope="module")
def net() -> torch.nn.Module:
    """A small one, with statistics of its own features: else nearly nothing of an image would reach its output."""
    torch.manual_seed(0)
    made = torchvision.models.shufflenet_v2_x0_5(num_classes=4)
    for layer in made.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        made(torch.randn(8, 3, 64, 64))
    return made.eval()


def pair(names: tuple[str, str], shape: tuple[int, ...] = (3,)) -> dict[str, torch.Tensor]:
    return {n: torch.tensor(v).reshape(shape) for n, v in zip(names, (MEAN, STD), strict=True)}


LAYOUTS = [
    ("model.", ("normalize.mean", "normalize.std"), (1, 3, 1, 1)),  # RobustBench
    ("module.model.", ("module.normalize.mean", "module.normalize.std"), (3, 1, 1)),
    ("1.", ("0.mean", "0.std"), (3,)),  # nn.Sequential(Normalize, net)
    ("model.1.", ("model.0.mean", "model.0.std"), (1, 3, 1, 1)),
    ("module.model.", ("module.normalizer.new_mean", "module.normalizer.new_std"), (3, 1, 1)),
    ("1.", ("0.means", "0.sds"), (3,)),  # randomized smoothing
    ("net.", ("mu", "sigma"), (3, 1, 1)),
]


@pytest.mark.parametrize(("prefix", "names", "shape"), LAYOUTS)
def test_a_files_own_normaliser_is_used_and_told(
    prefix: str, names: tuple[str, str], shape: tuple[int, ...], net: torch.nn.Module, tmp_path: Path
) -> None:
    state = {prefix + key: value for key, value in net.state_dict().items()}
    torch.save({"state_dict": state | pair(names, shape)}, tmp_path / "w.pt")
    opened = open_network("torchvision:shufflenet_v2_x0_5", NAMES, tmp_path / "w.pt")
    x = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        wanted = net(normalize(x, list(MEAN), list(STD)))
        assert torch.allclose(opened.model(x), wanted, atol=1e-5) and not torch.allclose(net(x), wanted, atol=0.05)
        builders, _ = load_model(tmp_path / "w.pt", architecture="shufflenet_v2_x0_5")
        assert torch.equal(builders(x), opened.model(x))
    said = opened.details["normalisation"]
    assert said["from"] == f"{names[0]} and {names[1]} of the weights"
    assert said["mean"] == pytest.approx(MEAN) and said["std"] == pytest.approx(STD)
    assert opened.recorded["normalisation"] == builders.details["normalisation"] == said


def test_without_one_the_librarys_is_told(net: torch.nn.Module, tmp_path: Path) -> None:
    torch.save(net.state_dict(), tmp_path / "w.pt")
    opened = open_network("torchvision:shufflenet_v2_x0_5", NAMES, tmp_path / "w.pt")
    said = opened.details["normalisation"]
    assert said["mean"] == [0.485, 0.456, 0.406] and "ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1" in said["from"]
    words = (
        "minus 0.485, 0.456, 0.406, over 0.229, 0.224, 0.225: torchvision's ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1"
    )
    made = "images shorter side resized to 256 (bilinear), central 224 x 224"
    assert told(opened.details, opened.preprocessing)[0] == f"torchvision:shufflenet_v2_x0_5: {made}; {words}"
    assert told(opened.details, None)[0] == f"torchvision:shufflenet_v2_x0_5: images {words}"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            pair(("normalize.mean", "normalize.std")) | {"0.mean": torch.zeros(3), "0.std": torch.ones(3)},
            "two normalisations; expected one; got 0.mean and normalize.mean, not equal",
        ),
        (
            {"normalize.mean": torch.tensor([123.7, 116.3, 103.5]), "normalize.std": torch.tensor([58.4, 57.1, 57.4])},
            r"cannot be of images in \[0, 1\]; expected means in \[0, 1\]",
        ),
        ({"normalize.mean": torch.zeros(3), "normalize.std": torch.zeros(3)}, r"deviations in \(0, 2\]"),
        ({"normalize.mean": torch.zeros(3)}, "no other tensors than the network's; got normalize.mean; are they"),
        ({"criterion.weight": torch.zeros(4)}, "no other tensors than the network's; got criterion.weight; are they"),
        ({"attacker.model.fc.bias": torch.zeros(4)}, "got attacker.model.fc.bias"),
    ],
)
def test_what_is_left_over_is_refused_by_name(
    more: dict[str, torch.Tensor], message: str, net: torch.nn.Module, tmp_path: Path
) -> None:
    torch.save({f"model.{k}": v for k, v in net.state_dict().items()} | more, tmp_path / "w.pt")
    for opener in (lambda: open_network("torchvision:shufflenet_v2_x0_5", NAMES, tmp_path / "w.pt"), lambda: load_model(tmp_path / "w.pt", architecture="shufflenet_v2_x0_5")):  # fmt: skip
        with pytest.raises(SalientError, match=message):
            opener()


def test_copies_and_counters_are_no_surprise(net: torch.nn.Module, tmp_path: Path) -> None:
    state = {f"module.{k}": v for k, v in net.state_dict().items()}
    state |= {f"module.attacker.{k}": v for k, v in net.state_dict().items()} | {"n_averaged": torch.tensor(7)}
    torch.save(state, tmp_path / "w.pt")
    assert (
        open_network("torchvision:shufflenet_v2_x0_5", NAMES, tmp_path / "w.pt").details["normalisation"]["mean"][0]
        == 0.485
    )
