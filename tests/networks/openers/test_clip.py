"""Networks of open_clip from folders, from the Hub's cache and with robust towers, against the library itself."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.naming.clip_names import inside_words, open_words
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.networks.openers.clip import images_of
from salient_imagenet_data.networks.opening import open_network
from salient_imagenet_data.networks.words.prompts import TEMPLATES
from tests.networks.wordy import NAMES, SIDE, into_cache, write_open_clip

transformers = pytest.importorskip("transformers", reason="pip install 'salient-imagenet-data[hf]'")
open_clip = pytest.importorskip("open_clip", reason="pip install 'salient-imagenet-data[clip]'")
PIXELS = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)


FOLDERS = hasattr(open_clip.factory, "LOCAL_DIR_PREFIX")
NONE = f"open_clip {open_clip.__version__} opens no folders"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not FOLDERS:
        pytest.skip(NONE)
    return write_open_clip(tmp_path_factory.mktemp("siglip") / "folder")


def ours(classifier: Classifier, pixels: np.ndarray = PIXELS) -> torch.Tensor:
    """(C,) what a classifier says about an image."""
    assert classifier.preprocessing is not None
    image = torch.from_numpy(classifier.preprocessing.apply(pixels)).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        return classifier.model(image)[0]


def _with_text(net: torch.nn.Module, embedded: torch.Tensor) -> torch.nn.Module:
    """A copy of a network that embeds every text as this."""
    other = copy.copy(net)
    other.encode_text = lambda text, normalize=False: embedded
    return other


def theirs(folder: Path, tower: Path | None = None) -> torch.Tensor:
    """(C,) by the library's own transform, tokenizer and `get_logits`, whose text is the mean over the prompts."""
    net, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    if tower is not None:
        net.visual.load_state_dict(torch.load(tower, weights_only=True))  # as its authors say
    tokens, rows = open_clip.get_tokenizer(f"local-dir:{folder}"), []
    net.eval()
    with torch.inference_mode():
        image = transform(Image.fromarray(PIXELS))[None]
        for name in NAMES:
            each = net.encode_text(tokens([t.format(name.replace("_", " ")) for t in TEMPLATES]), normalize=True)
            mean = each.mean(dim=0, keepdim=True)
            rows.append(_with_text(net, mean / mean.norm()).get_logits(image, None)[0][0, 0])
    return torch.stack(rows)


def test_a_siglip_in_a_folder_is_squashed_scaled_and_biased_as_the_library_does(folder: Path) -> None:
    opened = open_network(f"clip:local-dir:{folder}", NAMES)
    assert opened.preprocessing == Preprocessing(SIDE, SIDE, "bicubic", squash=True)
    assert opened.details["normalisation"]["mean"] == [0.5] * 3 and opened.details["trained_with"] == "sigmoid"
    wanted = theirs(folder)
    assert torch.allclose(ours(opened), wanted, atol=1e-4) and wanted.std() > 0.01 and wanted.mean() < -5
    words = open_words(f"local-dir:{folder}", NAMES)
    cosines = inside_words(words).cosines(ours(words))
    assert torch.allclose(cosines, (wanted + 10) * 0.07, atol=1e-5) and cosines.abs().max() < 1


def test_a_repository_is_opened_from_the_cache_as_its_folder_is(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    into_cache(folder, tmp_path, "owner/name")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    found, same = open_network("clip:hf-hub:owner/name", NAMES), open_network(f"clip:local-dir:{folder}", NAMES)
    assert torch.equal(ours(found), ours(same)) and found.preprocessing == same.preprocessing
    assert found.details["network_sha256"] == same.details["network_sha256"]
    (tmp_path / "models--owner--name" / "snapshots" / ("a" * 40) / "open_clip_model.safetensors").unlink()
    with pytest.raises(
        SalientError, match="^clip:hf-hub:owner/name: cannot be opened; got Required pretrained weights"
    ):
        open_network("clip:hf-hub:owner/name", NAMES)


def test_a_robust_tower_alone_stands_beside_the_text_tower_that_is_there(folder: Path, tmp_path: Path) -> None:
    robust = open_clip.create_model(f"local-dir:{write_open_clip(tmp_path / 'other', seed=9)}")
    torch.save(robust.visual.state_dict(), tmp_path / "fare_eps_2.pt")
    opened = open_network(f"clip:local-dir:{folder}", NAMES, tmp_path / "fare_eps_2.pt")
    wanted = theirs(folder, tmp_path / "fare_eps_2.pt")
    assert torch.allclose(ours(opened), wanted, atol=1e-4) and not torch.allclose(wanted, theirs(folder), atol=1e-2)
    assert opened.details["normalisation"]["mean"] == [0.5] * 3
    for name, tensors, said in (
        ("part", {"trunk.cls_token": torch.zeros(1, 1, 64)}, "weights of another network"),
        ("narrow", {k: v[:3] for k, v in robust.visual.state_dict().items()}, "do not fit the image tower of clip:loc"),
    ):
        torch.save(tensors, tmp_path / f"{name}.pt")
        with pytest.raises(SalientError, match=said):
            open_network(f"clip:local-dir:{folder}", NAMES, tmp_path / f"{name}.pt")


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network by its name, with a tag of its own: weights that were trained with OpenAI's activation, in another
    normalisation."""
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": SIDE, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    (tmp_path / "tiny-l-14.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path)
    torch.manual_seed(0)
    save_file(open_clip.create_model("tiny-l-14").state_dict(), tmp_path / "w.safetensors")
    said = open_clip.pretrained._pcfg("", quick_gelu=True, mean=(0.3,) * 3, std=(0.2,) * 3)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny-l-14", {"mine": said})
    return tmp_path / "w.safetensors"


def test_the_tag_says_which_activation_and_which_images_weights_want(small: Path) -> None:
    opened = open_network("clip:tiny-l-14:mine", NAMES, small)
    net = open_clip.create_model("tiny-l-14", pretrained=str(small), force_quick_gelu=True).eval()
    plain = open_clip.create_model("tiny-l-14", pretrained=str(small)).eval()
    assert opened.preprocessing is not None
    image = torch.from_numpy(opened.preprocessing.apply(PIXELS)).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        wanted, other = (n.encode_image((image - 0.3) / 0.2, normalize=True) for n in (net, plain))
        got = torch.nn.functional.normalize(inside_words(opened).clip.encode_image((image - 0.3) / 0.2), dim=-1)
    assert torch.allclose(got, wanted, atol=1e-5) and not torch.allclose(other, wanted, atol=1e-3)
    assert opened.details["normalisation"]["mean"] == [0.3] * 3 and opened.details["pretrained"] == "mine"
    assert opened.details["trained_with"] == "softmax"


def test_weights_of_a_siglip_without_a_tag_are_given_siglips_images(small: Path) -> None:
    net = open_clip.create_model("tiny-l-14")
    found = images_of(open_clip, "ViT-B-16-SigLIP", "", net)
    assert (found["mean"], found["std"], found["resize_mode"]) == ((0.5,) * 3, (0.5,) * 3, "squash")
    several = images_of(open_clip, "ViT-L-14", "", net)  # its tags disagree, so the library's usual one
    assert several["mean"] == open_clip.OPENAI_DATASET_MEAN and several["resize_mode"] == "shortest"
    assert images_of(open_clip, "ViT-L-14", "laion2b_s32b_b82k", net)["mean"] == (0.5,) * 3


def test_a_tower_alone_needs_words_beside_it(small: Path) -> None:
    net = open_clip.create_model("tiny-l-14", pretrained=str(small))
    torch.save(net.visual.state_dict(), small.parent / "tower.pt")
    with pytest.raises(SalientError, match="tower.pt: weights of an image tower alone; expected the tag of the text"):
        open_network("clip:tiny-l-14", NAMES, small.parent / "tower.pt")
    torch.manual_seed(1)
    both = open_clip.create_model("tiny-l-14").state_dict()
    words = {key: value for key, value in both.items() if not key.startswith("visual.")}
    save_file(both, small.parent / "both.safetensors")
    opened = open_network(f"clip:tiny-l-14:{small.parent / 'both.safetensors'}", NAMES, small.parent / "tower.pt")
    state = inside_words(opened).clip.state_dict()
    assert all(torch.equal(state[key], value) for key, value in words.items())
    assert all(torch.equal(state[f"visual.{key}"], value) for key, value in net.visual.state_dict().items())
    assert opened.details["prompts"] == list(TEMPLATES)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("ViT-B-16-SigLIP/webli", "got .*; clip:ViT-B-16-SigLIP:webli$"),
        ("owner/name", "no such model; .*; clip:hf-hub:owner/name, if it is a repository of the Hub$"),
        (
            "hf-hub:owner/nowhere",
            "clip:hf-hub:owner/nowhere: .*; got .*unset HF_HUB_OFFLINE to .*$",
        ),
        ("hf-hub:not a name", "clip:hf-hub:not a name: cannot be opened; expected a name such as org/name"),
        pytest.param(
            "local-dir:/no/such/place",
            "clip:local-dir:/no/such/place: no such folder; expected one with an open_clip_config.json$",
            marks=pytest.mark.skipif(not FOLDERS, reason=NONE),
        ),
        (
            "ViT-B-32:nothing",
            r"clip:ViT-B-32:nothing: cannot be opened; got Pretrained \w+ .?nothing.? (is not a known|not f)",
        ),
    ],
)
def test_what_cannot_be_opened_is_one_line(spec: str, said: str) -> None:
    with pytest.raises(SalientError, match=said) as caught:
        open_network(f"clip:{spec}", NAMES)
    assert "\n" not in str(caught.value)


def test_an_older_library_that_opens_no_folders_says_which_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(open_clip.factory, "LOCAL_DIR_PREFIX", raising=False)
    monkeypatch.setattr(open_clip, "__version__", "2.32.0")
    with pytest.raises(SalientError) as caught:
        open_network(f"clip:local-dir:{tmp_path}", NAMES)
    said = f"clip:local-dir:{tmp_path}: open_clip 2.32.0 opens no folders; pip install 'open_clip_torch>=3'"
    assert str(caught.value) == said


@pytest.mark.usefixtures("answering")
def test_a_repository_that_is_not_there_or_not_open_clips_is_one_line() -> None:
    for spec, said in (
        (
            "clip:hf-hub:owner/nowhere",
            "cannot be opened; expected a model on the Hub .*; check the name; if it is private",
        ),
        (
            "clip:hf-hub:owner/other",
            "not a repository of open_clip; expected open_clip_config.json in it; hf:owner/other",
        ),
        (
            "hf:owner/nowhere",
            "cannot be opened; got owner/nowhere is not a local folder and is not a valid model ident",
        ),
        (
            "vlm:hf:owner/nowhere",
            "cannot be opened; got owner/nowhere is not a local folder and is not a valid model id",
        ),
    ):
        if "local folder" in said and int(transformers.__version__.partition(".")[0]) < 5:
            continue  # it asks the Hub at an address that cannot be changed once it is loaded
        with pytest.raises(SalientError, match=f"^{spec}: {said}") as caught:
            open_network(spec, NAMES)
        assert "\n" not in str(caught.value)


def test_a_folder_without_weights_is_not_a_network(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The library by itself goes on with random ones, and says so in lines of its own. Nothing of a folder is at the
    Hub, so whether that can be reached does not matter."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    left = Path(shutil.copytree(folder, tmp_path / "copy"))
    (left / "open_clip_model.safetensors").unlink()
    with pytest.raises(SalientError, match="cannot be opened; got Required pretrained weights"):
        open_network(f"clip:local-dir:{left}", NAMES)
    assert not caplog.records
    (left / "open_clip_config.json").unlink()
    with pytest.raises(SalientError, match="cannot be opened; got .*config file missing"):
        open_network(f"clip:local-dir:{left}", NAMES)
