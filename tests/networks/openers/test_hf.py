"""Towers of transformers as zero-shot classifiers, against the library's own functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.networks.openers.hf import hf_preprocessing, processor_normalises
from salient_imagenet_data.networks.opening import open_network
from salient_imagenet_data.networks.words.prompts import TEMPLATES
from tests.networks.openers.test_clip import ours
from tests.networks.wordy import NAMES, SIDE, write_towers, write_vlm

transformers = pytest.importorskip("transformers", reason="pip install 'salient-imagenet-data[hf]'")
PIXELS = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
"""Of the size that the models want: resizing is the geometry's, and tested there."""

SQUARE = {"height": SIDE, "width": SIDE}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: write_towers(tmp_path_factory.mktemp(kind), kind) for kind in ("clip", "siglip")}


def features(found: Any) -> torch.Tensor:
    return found if isinstance(found, torch.Tensor) else found.pooler_output


def theirs(folder: Path, kind: str) -> torch.Tensor:
    """(C,) by `get_text_features` of one text after the other, and `get_image_features`."""
    net = transformers.AutoModel.from_pretrained(folder).eval()
    images = transformers.AutoImageProcessor.from_pretrained(folder)
    words = transformers.AutoTokenizer.from_pretrained(folder)
    rows = []
    with torch.inference_mode():
        image = features(net.get_image_features(**images(Image.fromarray(PIXELS), return_tensors="pt")))[0]
        for name in NAMES:
            each = []
            for template in TEMPLATES:
                text = template.format(name.replace("_", " "))
                how = {"padding": "max_length", "max_length": 12} if kind == "siglip" else {}
                ids = words(text, return_tensors="pt", **how)["input_ids"]
                found = features(net.get_text_features(input_ids=ids))[0]
                each.append(found / found.norm())
            mean = torch.stack(each).mean(dim=0)
            cosine = image @ mean / image.norm() / mean.norm()
            rows.append(net.logit_scale.exp() * cosine + (net.logit_bias if kind == "siglip" else 0.0))
    return torch.stack(rows).flatten()


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_towers_against_the_librarys_own_features(kind: str, folders: dict[str, Path]) -> None:
    opened, wanted = open_network(f"hf:{folders[kind]}", NAMES), theirs(folders[kind], kind)
    assert torch.allclose(ours(opened, PIXELS), wanted, atol=1e-4) and wanted.std() > 0.005
    squash, trained = (True, "sigmoid") if kind == "siglip" else (False, "softmax")
    assert opened.preprocessing is not None and opened.preprocessing.squash is squash
    assert opened.preprocessing == Preprocessing(SIDE, SIDE, opened.preprocessing.interpolation, squash)
    assert opened.details["trained_with"] == trained and len(opened.details["network_sha256"]) == 64
    assert opened.class_names == NAMES


def test_weights_take_the_place_of_those_of_the_folder(folders: dict[str, Path], tmp_path: Path) -> None:
    net = transformers.AutoModel.from_pretrained(folders["clip"])
    net.vision_model.embeddings.class_embedding.data.add_(1.0)
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, tmp_path / "w.safetensors")
    before, after = (open_network(f"hf:{folders['clip']}", NAMES, w) for w in (None, tmp_path / "w.safetensors"))
    net.save_pretrained(tmp_path)
    for name in folders["clip"].glob("*token*"):
        (tmp_path / name.name).write_bytes(name.read_bytes())
    (tmp_path / "preprocessor_config.json").write_bytes((folders["clip"] / "preprocessor_config.json").read_bytes())
    (tmp_path / "w.safetensors").unlink()
    assert torch.allclose(ours(after, PIXELS), theirs(tmp_path, "clip"), atol=1e-4)
    assert before.details["network_sha256"] != after.details["network_sha256"]


def test_a_classifier_on_a_tower_of_clip_is_a_classifier(folders: dict[str, Path], tmp_path: Path) -> None:
    config = transformers.AutoConfig.from_pretrained(folders["clip"])
    config.num_labels = 3
    net = transformers.CLIPForImageClassification(config).eval()
    net.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_bytes((folders["clip"] / "preprocessor_config.json").read_bytes())
    opened = open_network(f"hf:{tmp_path}", ("a", "b", "c"))
    assert "trained_with" not in opened.details and ours(opened, PIXELS).shape == (3,)


def test_what_is_no_classifier_is_one_line(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(SalientError, match="a zero-shot classifier; expected the names of its classes"):
        open_network(f"hf:{folders['clip']}")
    asked = write_vlm(tmp_path / "vlm")
    with pytest.raises(SalientError, match=f"^hf:{asked}: a model that answers in words; vlm:hf:{asked} asks it$"):
        open_network(f"hf:{asked}", NAMES)
    with pytest.raises(
        SalientError, match="^hf:./nowhere: no such folder; expected a folder, or a repository such as "
    ):
        open_network("hf:./nowhere", NAMES)
    with pytest.raises(SalientError, match="^hf:owner/nowhere: cannot be opened; got ") as caught:
        open_network("hf:owner/nowhere", NAMES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "options", "mean", "std", "says"),
    [
        ("ViT", {"size": SQUARE}, [0.5] * 3, [0.5] * 3, True),
        ("ViT", {"size": SQUARE, "do_rescale": False}, [0.5 / 255] * 3, [0.5 / 255] * 3, False),
        ("ViT", {"size": SQUARE, "do_normalize": False}, [0.0] * 3, [1.0] * 3, True),
        ("EfficientNet", {"size": SQUARE, "image_std": [0.2, 0.3, 0.4]}, [0.5] * 3, [0.04, 0.09, 0.16], False),
        ("ConvNext", {"size": {"shortest_edge": SIDE}}, [0.5] * 3, [0.5] * 3, True),
        ("PoolFormer", {"size": {"shortest_edge": SIDE}, "crop_size": SQUARE, "crop_pct": 0.9}, None, None, True),
    ],
)  # fmt: skip
def test_normalisation_is_what_the_processor_does(
    kind: str, options: dict[str, Any], mean: list[float] | None, std: list[float] | None, says: bool
) -> None:
    """Not only what it says. PoolFormer's crops lie a pixel beside ours."""
    processor = getattr(transformers, f"{kind}ImageProcessor")(**options)
    found = processor_normalises(processor, hf_preprocessing(processor.to_dict(), "x"), "hf:x")
    told = (tuple(processor.image_mean), tuple(processor.image_std))
    assert np.allclose(found[0], told[0] if mean is None else mean, rtol=1e-5)
    assert np.allclose(found[1], told[1] if std is None else std, rtol=1e-5)
    assert (found[2] == "the image processor's") is says
    if says and processor.do_normalize:
        assert found[:2] == told


@pytest.mark.parametrize(
    ("kind", "options", "got"),
    [
        (
            "Levit",
            {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}},
            "others by 0.* a pixel, normalised",
        ),
        ("MobileViT", {"size": {"shortest_edge": SIDE + 8}, "crop_size": SQUARE}, "others by 0.* a pixel, normalised"),
        ("ViT", {"size": SQUARE, "do_resize": False}, "53 x 40 pixels"),
    ],
)
def test_a_processor_that_makes_other_images_than_it_says_is_refused(
    kind: str, options: dict[str, Any], got: str
) -> None:
    processor = getattr(transformers, f"{kind}ImageProcessor")(**options)
    said = f"^hf:x: its {kind}ImageProcessor.* makes other images than its configuration says; expected .* central .*; got {got}; give"
    with pytest.raises(SalientError, match=said):
        processor_normalises(processor, hf_preprocessing(processor.to_dict(), "x"), "hf:x")


def test_an_efficientnet_answers_as_in_its_library(tmp_path: Path) -> None:
    """Whose pixels are divided by their deviation twice."""
    torch.manual_seed(0)
    config = transformers.EfficientNetConfig(
        image_size=SIDE, width_coefficient=0.1, depth_coefficient=0.1, hidden_dim=128, num_labels=3, dropout_rate=0.0
    )
    net = transformers.EfficientNetForImageClassification(config).eval()
    for parameter in net.parameters():
        if parameter.ndim > 1:
            torch.nn.init.kaiming_normal_(parameter)
    net.save_pretrained(tmp_path)
    transformers.EfficientNetImageProcessor(size=SQUARE).save_pretrained(tmp_path)
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    opened = open_network(f"hf:{tmp_path}", NAMES, outputs=NAMES)
    with torch.inference_mode():
        wanted = net(**processor(Image.fromarray(PIXELS), return_tensors="pt")).logits[0]
        once = net((torch.from_numpy(PIXELS).permute(2, 0, 1)[None] / 255 - 0.5) / 0.5).logits[0]
    scale = wanted.abs().max()
    assert torch.allclose(ours(opened, PIXELS) / scale, wanted / scale, atol=1e-4)
    assert not torch.allclose(once / scale, wanted / scale, atol=0.1)
    assert opened.details["normalisation"]["from"] == "found by asking the image processor, which says others"
