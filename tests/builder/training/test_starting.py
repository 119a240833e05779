"""What a fine-tuning starts from: the head that is made of a pretrained one, and that the file is opened again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from salient_imagenet_data.builder.training.starting import asked, start_from
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.imagenet import classes, wnids
from salient_imagenet_data.networks.opening import open_network
from salient_imagenet_data.networks.saving import save_as_read
from salient_imagenet_data.networks.weights import save_network

FOUR = tuple(wnids()[k] for k in (571, 0, 217, 482))
"""Four classes of ImageNet, not in its order."""


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network of a thousand outputs, in torchvision's layout."""
    from torchvision.models import shufflenet_v2_x0_5

    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("thousand") / "w.safetensors"
    save_network(shufflenet_v2_x0_5(), path)
    return path


SPEC = "torchvision:shufflenet_v2_x0_5"


def logits(model: object, seed: int = 0) -> torch.Tensor:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
    assert isinstance(model, nn.Module)
    with torch.no_grad():
        result: torch.Tensor = model.eval()(images)
    return result


def test_a_head_is_cut_to_the_classes_by_name(thousand: Path, tmp_path: Path) -> None:
    """By wnid or by words; the cut network gives what the whole one gives for these classes, and so does its file."""
    whole = logits(open_network(SPEC, None, thousand).model)[:, [wnids().index(w) for w in FOUR]]
    for names in (FOUR, tuple(classes()[w] for w in FOUR)):
        start = start_from(SPEC, str(thousand), names)
        assert start.head == "4 of 1000 outputs, by name" and torch.allclose(logits(start.model), whole)
    assert start.preprocessing == Preprocessing(256, 224, "bilinear") and start.spec == SPEC
    save_as_read(start.model, tmp_path / "cut.safetensors", start.spec)
    again = open_network(SPEC, FOUR, tmp_path / "cut.safetensors")
    assert torch.equal(logits(again.model), logits(start.model)) and again.preprocessing == start.preprocessing


def test_other_classes_get_a_new_head_over_the_same_features(thousand: Path) -> None:
    start = start_from(SPEC, str(thousand), ("my cat", "my dog"), crop=64)
    assert start.head == "new, zeros at first" and (logits(start.model) == 0).all() and len(logits(start.model)[0]) == 2
    assert start.preprocessing == Preprocessing(64, 64, "bilinear")
    assert start_from(SPEC, str(thousand), FOUR, head="new").head == "new, zeros at first"
    again = start_from(SPEC, str(thousand), FOUR, head="new", resize=80, crop=64)
    assert again.preprocessing == Preprocessing(80, 64, "bilinear")


def test_outputs_without_names_are_nobodys_classes_unless_it_is_said(tmp_path: Path) -> None:
    from torchvision.models import shufflenet_v2_x0_5

    save_network(shufflenet_v2_x0_5(num_classes=6), tmp_path / "six.safetensors")
    six = str(tmp_path / "six.safetensors")
    assert start_from(SPEC, six, FOUR).head == "new, zeros at first, as its outputs have no names"
    with pytest.raises(SalientError, match=r"got no names of its outputs; name its outputs with --class-names FILE"):
        start_from(SPEC, six, FOUR, head="cut")
    whole = logits(open_network(SPEC, None, six).model)
    start = start_from(SPEC, six, FOUR, outputs=("mine", *FOUR[::-1], "other"))
    assert start.head == "4 of 6 outputs, by name" and torch.allclose(logits(start.model), whole[:, [4, 3, 2, 1]])


@pytest.mark.parametrize(
    ("names", "head", "message"),
    [
        (
            (*FOUR, "my dog"),
            None,
            "has no output for 1 of 5 classes; .*; got my dog; name its outputs .*, or use --head new",
        ),
        (("my cat", "my dog"), "cut", "has no output for 2 of 2 classes; .*; got my cat, my dog"),
    ],
)
def test_classes_that_are_not_found(thousand: Path, names: tuple[str, ...], head: str | None, message: str) -> None:
    with pytest.raises(SalientError, match=message):
        start_from(SPEC, str(thousand), names, head=head)


def test_a_file_of_train_is_taken_by_itself_and_written_with_its_new_classes(weights: Path, tmp_path: Path) -> None:
    whole = open_network(None, None, weights)
    assert whole.class_names is not None
    names = whole.class_names[2::-1]
    start = start_from(None, str(weights), names)
    assert start.spec is None and torch.allclose(logits(start.model), logits(whole.model)[:, [2, 1, 0]])
    save_as_read(start.model, tmp_path / "cut.safetensors", start.spec)
    again = open_network(None, names, tmp_path / "cut.safetensors")
    assert again.class_names == names and torch.equal(logits(again.model), logits(start.model))


def test_a_file_alone_or_a_spec_with_a_file(weights: Path) -> None:
    assert asked(str(weights), None) == (None, str(weights))
    assert asked("timm:resnet18", str(weights)) == ("timm:resnet18", str(weights))
    assert asked("torchvision:resnet18", None) == ("torchvision:resnet18", None)
    with pytest.raises(SalientError, match=r"a file, and weights beside it; expected a spec such as timm:NAME"):
        asked(str(weights), "other.pt")
