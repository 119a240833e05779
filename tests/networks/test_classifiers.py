"""Models by name: networks with random weights in the libraries' true layout, against the libraries' own pipelines."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torchvision.transforms.v2.functional import normalize

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.evaluate import evaluate
from salient_imagenet_data.evaluation.plan.plan import Conditions, make_plan
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.networks.openers.hf import hf_preprocessing
from salient_imagenet_data.networks.opening import open_network
from salient_imagenet_data.networks.words.prompts import TEMPLATES, zero_shot_weights
from salient_imagenet_data.store.reading import Store
from tests.checkpoints import robustness_checkpoint

NAMES = tuple(f"thing {i}" for i in range(10))
PIXELS = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)


def ours(classifier: Classifier) -> torch.Tensor:
    """What a classifier says about PIXELS, by way of its preprocessing."""
    assert classifier.preprocessing is not None
    image = torch.from_numpy(classifier.preprocessing.apply(PIXELS)).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        return classifier.model(image)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_timm_against_its_own_transform(name: str, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="pip install 'salient-imagenet-data[timm]'")
    net = timm.create_model(name, num_classes=10).eval()
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    opened = open_network(f"timm:{name}", NAMES, tmp_path / "w.safetensors")
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(net))
    with torch.inference_mode():
        theirs = net(transform(Image.fromarray(PIXELS))[None])
    assert torch.allclose(ours(opened), theirs, atol=1e-4)
    assert opened.name == f"timm:{name} (w.safetensors)" and len(opened.details["weights_sha256"]) == 64
    with pytest.raises(
        SalientError, match=r"w.safetensors. and the store differ in classes, and .*expected names for its 10"
    ):
        open_network(f"timm:{name}", NAMES[:7], tmp_path / "w.safetensors")


def test_weights_of_torchvision_that_cannot_be_had_are_told_with_their_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # where none are kept
    for proxy in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")  # where nothing listens
    address = r"https://download\.pytorch\.org/models/resnet18-\w+\.pth"
    with pytest.raises(
        SalientError, match=rf"^torchvision:resnet18: .* from {address}; got .*refused; .*as --weights$"
    ):
        open_network("torchvision:resnet18", NAMES, None)


def test_torchvision_against_its_own_transform(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=10).eval()
    torch.save({"state_dict": {f"module.{k}": v for k, v in net.state_dict().items()}, "epoch": 3}, tmp_path / "w.pth")
    opened = open_network("torchvision:resnet18:IMAGENET1K_V1", NAMES, tmp_path / "w.pth")
    transform = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.transforms()
    with torch.inference_mode():
        theirs = net(transform(Image.fromarray(PIXELS))[None])
    assert torch.allclose(ours(opened), theirs, atol=1e-4) and opened.preprocessing == Preprocessing(256, 224)
    with pytest.raises(SalientError, match="no such weights; expected IMAGENET1K_V1, DEFAULT; got V9"):
        open_network("torchvision:resnet18:V9", NAMES, tmp_path / "w.pth")
    with pytest.raises(SalientError, match="torchvision has no such classifier"):
        open_network("torchvision:resnet19", NAMES)


def test_a_checkpoint_of_the_robustness_library_brings_its_normaliser(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=10).eval()
    torch.save(robustness_checkpoint(net), tmp_path / "robust.ckpt")
    opened = open_network("torchvision:resnet18", NAMES, tmp_path / "robust.ckpt")
    image = torch.from_numpy(Preprocessing(256, 224).apply(PIXELS)).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        theirs = net(normalize(image, [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]))
    assert torch.allclose(ours(opened), theirs, atol=1e-4)


def test_hf_folder_against_its_own_processor(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="pip install 'salient-imagenet-data[hf]'")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=48, patch_size=16,
        num_labels=10,
    )  # fmt: skip
    net = transformers.ViTForImageClassification(config).eval()
    processor = transformers.ViTImageProcessor(size={"height": 48, "width": 48})
    net.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    opened = open_network(f"hf:{tmp_path}", NAMES)
    assert opened.preprocessing == Preprocessing(48, 48, "bilinear", squash=True)
    with torch.inference_mode():
        theirs = net(**processor(images=Image.fromarray(PIXELS), return_tensors="pt")).logits
    # Its resize works on tensors and rounds in other places than Pillow's.
    assert torch.allclose(ours(opened), theirs, atol=5e-3) and theirs.std() > 0.02


@pytest.mark.parametrize(
    ("config", "preprocessing"),
    [
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875, "resample": 3}, Preprocessing(256, 224, "bicubic")),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.875, "resample": 3}, Preprocessing(384, 384, "bicubic", True)),
        ({"size": {"height": 224, "width": 224}, "resample": 2}, Preprocessing(224, 224, "bilinear", True)),
        (
            {
                "size": {"shortest_edge": 256},
                "do_center_crop": True,
                "crop_size": {"height": 224, "width": 224},
                "resample": 2,
            },
            Preprocessing(256, 224),
        ),
    ],
)
def test_hf_preprocessings(config: dict[str, Any], preprocessing: Preprocessing) -> None:
    assert hf_preprocessing(config, "x") == preprocessing


def test_hf_preprocessing_that_is_no_square() -> None:
    with pytest.raises(SalientError, match="hf:x: its input cannot be made"):
        hf_preprocessing({"size": {"height": 224, "width": 300}}, "x")
    with pytest.raises(SalientError, match="hf:x: its input cannot be made"):
        hf_preprocessing({"size": {"shortest_edge": 224}}, "x")


def test_clip_with_our_prompts(tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip", reason="pip install 'salient-imagenet-data[clip]'")
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    (tmp_path / "tiny-b-16.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path)
    torch.manual_seed(0)
    net, _, transform = open_clip.create_model_and_transforms("tiny-b-16")
    net.eval()
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    opened = open_network("clip:tiny-b-16", NAMES, tmp_path / "w.safetensors")
    tokens = open_clip.get_tokenizer("tiny-b-16")
    with torch.inference_mode():
        image = net.encode_image(transform(Image.fromarray(PIXELS))[None])[0]
        rows = []
        for name in NAMES:
            texts = net.encode_text(tokens([t.format(name) for t in TEMPLATES]))
            mean = (texts / texts.norm(dim=1, keepdim=True)).mean(dim=0)
            rows.append(net.logit_scale.exp() * (image / image.norm()) @ (mean / mean.norm()))
    assert torch.allclose(ours(opened)[0], torch.stack(rows), atol=1e-3)
    assert ours(opened).argmax() == torch.stack(rows).argmax()


def test_zero_shot_weights_are_units_and_fill_in_names() -> None:
    seen: list[str] = []

    def encode(texts: list[str]) -> torch.Tensor:
        seen.extend(texts)
        return torch.randn(len(texts), 4, generator=torch.Generator().manual_seed(len(seen)))

    found = zero_shot_weights(("great_white", "cat"), encode)
    assert torch.allclose(found.norm(dim=1), torch.ones(2)) and "a photo of a great white." in seen
    assert len(seen) == 2 * len(TEMPLATES) and all(t.count("{}") == 1 for t in TEMPLATES)


MODULE = """
import torch
from salient_imagenet_data.geometry import Preprocessing

def linear():
    net = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(12, 10))
    net.preprocessing = Preprocessing(40, 40)
    return net

def plain():
    return lambda images: images.mean((2, 3)) @ images.new_ones(3, 10)

def nothing():
    return None
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "their_models.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    importlib.invalidate_caches()
    yield "their_models"  # type: ignore[misc]
    sys.modules.pop("their_models", None)


def test_a_function_of_ones_own(module: str, store: Store, images: Path) -> None:
    opened = open_network(f"{module}:linear", NAMES)
    assert opened.preprocessing == Preprocessing(40, 40) and ours(opened).shape == (1, 10)
    torch.save(opened.model.state_dict(), "w.pt")  # type: ignore[attr-defined]
    again = open_network(f"{module}:linear", NAMES, Path("w.pt"))
    assert torch.equal(ours(again), ours(opened))
    plain = open_network(f"{module}:plain", NAMES)
    assert plain.preprocessing is None
    assert evaluate(plain.model, store, FolderSource(images), Conditions(controls=False)).clean_accuracy.n == len(
        make_plan(store).rows
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet50", "model 'resnet50' is not understood"),
        ("their_models:absent", "their_models:absent cannot be imported"),
        ("no_such_module_here:f", "cannot be imported.*No module named 'no_such_module_here'"),
        ("their_models:nothing", "returned no model; expected a callable; got NoneType"),
    ],
)
def test_specs_that_name_no_model(spec: str, message: str, module: str) -> None:
    with pytest.raises(SalientError, match=message):
        open_network(spec, NAMES)


def test_weights_that_are_none(module: str, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"nonsense")
    with pytest.raises(SalientError, match=r"w.pt: not a torch file of plain tensors"):
        open_network("their_models:linear", NAMES, tmp_path / "w.pt")
    with pytest.raises(SalientError, match=r"none.pt: no such file"):
        open_network("their_models:linear", NAMES, tmp_path / "none.pt")
