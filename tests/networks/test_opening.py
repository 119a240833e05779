"""One way to open a network: builder and evaluation see the same, and it says which network it is."""

from __future__ import annotations

import datetime
from argparse import Namespace
from collections import OrderedDict, defaultdict
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.networks.opening import open_network, open_networks
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.store.reading import Store

NAMES = tuple(f"thing {i}" for i in range(5))
PIXELS = np.random.default_rng(0).integers(0, 256, (301, 400, 3), dtype=np.uint8)


@pytest.mark.parametrize(("spec", "expected"), [
    ("timm:resnet10t", Preprocessing(185, 176, "bicubic")),  # 176 / 0.95 = 185.3
    ("timm:resnet18", Preprocessing(235, 224, "bicubic")),
    ("torchvision:resnet18", Preprocessing(256, 224)),
    ("torchvision:resnet50", Preprocessing(256, 224)),
])  # fmt: skip
def test_builder_and_evaluation_see_the_same(spec: str, expected: Preprocessing, tmp_path: Path) -> None:
    library, _, name = spec.partition(":")
    torch.manual_seed(0)
    if library == "timm":
        timm = pytest.importorskip("timm", reason="pip install 'salient-imagenet-data[timm]'")
        net = timm.create_model(name, num_classes=5)
    else:
        net = torchvision.models.get_model(name, num_classes=5)
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    evaluated = open_network(spec, NAMES, tmp_path / "w.safetensors")
    built, sha256 = load_model(tmp_path / "w.safetensors", architecture=spec)
    assert evaluated.preprocessing == built.preprocessing
    assert evaluated.details["weights_sha256"] == sha256
    assert evaluated.preprocessing is not None
    if spec != "timm:resnet10t":
        assert built.preprocessing == expected
    crops = [p.apply(PIXELS) for p in (evaluated.preprocessing, built.preprocessing)]
    assert np.array_equal(*crops)
    x = torch.from_numpy(crops[0]).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        assert torch.equal(evaluated.model(x), built(x))
    assert evaluated.details["network_sha256"] == built.details["network_sha256"]
    assert evaluated.details["normalisation"] == built.details["normalisation"]


def test_the_hash_is_of_the_state_and_not_of_the_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = torchvision.models.shufflenet_v2_x0_5(num_classes=5)
    save_file(net.state_dict(), tmp_path / "a.safetensors")
    torch.save({"state_dict": {f"module.{k}": v for k, v in net.state_dict().items()}}, tmp_path / "b.pt")
    with torch.no_grad():
        net.fc.bias[3] += 1e-6
    save_file(net.state_dict(), tmp_path / "c.safetensors")
    a, b, c = (open_network("torchvision:shufflenet_v2_x0_5", NAMES, tmp_path / n).recorded for n in ("a.safetensors", "b.pt", "c.safetensors"))  # fmt: skip
    assert a["network_sha256"] == b["network_sha256"] != c["network_sha256"] and len(a["network_sha256"]) == 64
    assert a["weights_sha256"] != b["weights_sha256"] and a["library"] == f"torchvision {torchvision.__version__}"


def test_weights_that_are_not_finite_are_named(tmp_path: Path) -> None:
    net = torchvision.models.resnet18(num_classes=5)
    with torch.no_grad():
        net.layer2[0].conv1.weight[0, 0, 0, 0] = torch.nan
    torch.save(net.state_dict(), tmp_path / "w.pt")
    for act in (lambda: open_network("torchvision:resnet18", NAMES, tmp_path / "w.pt"), lambda: load_model(tmp_path / "w.pt", architecture="resnet18")):  # fmt: skip
        with pytest.raises(SalientError, match=r"weights are not finite; .*got NaN in layer2.0.conv1.weight"):
            act()


def test_plain_extras_of_checkpoints_are_read_past(tmp_path: Path) -> None:
    net = torchvision.models.shufflenet_v2_x0_5(num_classes=5)
    history: defaultdict[str, list[float]] = defaultdict(list)
    history["loss"].append(0.5)
    extras = {
        "history": history,
        "nested": OrderedDict(path=Path("a/b"), at=datetime.datetime(2026, 1, 2, 3), took=datetime.timedelta(hours=2)),
        "curve": np.arange(6.0).reshape(2, 3),
        "names": np.array(["a", "b"]),
        "args": Namespace(lr=0.1, out=Path("c"), when=datetime.date(2026, 1, 2)),
        "best": np.float32(3.5),
    }
    torch.save({"state_dict": net.state_dict(), **extras}, tmp_path / "w.pt")
    assert (
        open_network("torchvision:shufflenet_v2_x0_5", NAMES, tmp_path / "w.pt").details["spec"]
        == "torchvision:shufflenet_v2_x0_5"
    )


def test_the_network_of_a_store_wants_the_stores_crop(store: Store, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file(torchvision.models.shufflenet_v2_x0_5(num_classes=10).state_dict(), tmp_path / "w.safetensors")
    file = str(tmp_path / "w.safetensors")
    other = open_networks(store, (), (file,), "shufflenet_v2_x0_5")[file]()
    assert other.preprocessing == Preprocessing(256, 224) and other.name == file
    store.manifest  # noqa: B018
    mine = Store(store.path)
    mine.manifest = replace(store.manifest, weights_sha256=other.details["weights_sha256"])
    opened = open_networks(mine, (), (file,), "shufflenet_v2_x0_5")[file]()
    framed = open_networks(mine, (), (file,), "shufflenet_v2_x0_5", own_preprocessing=False)[file]()
    assert opened.preprocessing == framed.preprocessing == Preprocessing(60, 56)
    assert framed.details == opened.details and "own_preprocessing" not in opened.details
    framed = open_networks(store, (), (file,), "shufflenet_v2_x0_5", own_preprocessing=False)[file]()
    assert framed.preprocessing == Preprocessing(60, 56)
    assert framed.details == other.details | {"own_preprocessing": asdict(Preprocessing(256, 224))}


def test_hf_labels_in_another_order_give_the_logits_of_their_classes(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="pip install 'salient-imagenet-data[hf]'")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=48, patch_size=16,
        id2label={0: "emu", 1: "great white shark, white shark", 2: "cat"},
    )  # fmt: skip
    torch.manual_seed(0)
    net = transformers.ViTForImageClassification(config).eval()
    net.save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 48, "width": 48}).save_pretrained(tmp_path)
    x = torch.rand(2, 3, 48, 48)
    with torch.inference_mode():
        theirs = net((x - 0.5) / 0.5).logits
        opened = open_network(f"hf:{tmp_path}", ("cat", "emu", "Great_White_Shark"))
        assert torch.allclose(opened.model(x), theirs[:, [2, 0, 1]], atol=1e-5) and theirs.std() > 0.01
    assert "by name, in another order: 2 cat, 0 emu" in opened.details["classes"]["how"]
    with pytest.raises(SalientError, match="an output for class 1, 'dog'"):
        open_network(f"hf:{tmp_path}", ("cat", "dog", "emu"))
