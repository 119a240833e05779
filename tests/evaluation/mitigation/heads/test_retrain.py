"""Finding a head, and fitting it anew on a store's images."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.mitigation.heads.dfr import DFR
from salient_imagenet_data.evaluation.mitigation.heads.fitting import HeadMethod
from salient_imagenet_data.evaluation.mitigation.heads.group_dro import GroupDRO
from salient_imagenet_data.evaluation.mitigation.heads.jtt import JTT
from salient_imagenet_data.evaluation.mitigation.heads.least_spurious import Spuriosity
from salient_imagenet_data.evaluation.mitigation.heads.retrain import features_and_logits, head_of, retrain_head
from salient_imagenet_data.evaluation.plan.plan import rows_in
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.folds import Fold
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.networks.classifiers import Classifier, Normalised
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.store.reading import Store


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("resnet18", "fc"),
        ("convnext_tiny", "classifier.2"),
        ("mobilenet_v3_small", "classifier.3"),
    ],
)
def test_heads_of_torchvision(name: str, head: str) -> None:
    check_head(torchvision.models.get_model(name, num_classes=4), 224, head)


def test_the_head_of_a_vision_transformer() -> None:
    check_head(torchvision.models.VisionTransformer(64, 16, 1, 2, 8, 16, num_classes=4), 64, "heads.head")


def check_head(net: nn.Module, size: int, head: str) -> None:
    """That `head_of` finds it, and that it makes the logits of the features."""
    model = Normalised(net, (0.5,) * 3, (0.5,) * 3).eval()
    found, module = head_of(model, torch.rand(2, 3, size, size))
    assert found == f"net.{head}" and module is net.get_submodule(head)
    x = torch.rand(2, 3, size, size)
    with torch.inference_mode():
        features, logits = features_and_logits(model, module, x)
        assert torch.equal(module(features), logits) and torch.equal(logits, model(x))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_networks_without_a_linear_head() -> None:
    convolved = torchvision.models.squeezenet1_1(num_classes=4).eval()
    with pytest.raises(
        SalientError, match="SqueezeNet: no linear head; .*; got 0 linear layers, none of them the last"
    ):
        head_of(convolved, torch.rand(2, 3, 64, 64))

    class Averaged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return (self.a(x.mean((2, 3))) + self.b(x.mean((2, 3)))) / 2

    with pytest.raises(SalientError, match="no linear head"):
        head_of(Averaged(), torch.rand(2, 3, 8, 8))


def test_heads_that_cannot_be_fitted_by_themselves() -> None:
    made = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    nn.utils.parametrizations.weight_norm(made[2])
    with pytest.raises(SalientError, match="2: cannot be fitted by itself; .*; got one made of other parameters"):
        head_of(made, torch.rand(2, 3, 8, 8))
    tied = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3), nn.Linear(3, 3))
    tied[3].weight = tied[2].weight
    with pytest.raises(SalientError, match="3: cannot be fitted by itself; .*; got one that other layers share"):
        head_of(tied, torch.rand(2, 3, 8, 8))


def test_a_layer_that_runs_after_the_head_is_not_taken_for_it() -> None:
    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.side = nn.Linear(3, 2), nn.Linear(3, 5)

        def forward(self, x: Tensor) -> Tensor:
            y = self.head(x.mean((2, 3)))
            self.side(2 * x.mean((2, 3)))
            return y

    net, x = Auxiliary(), torch.rand(2, 3, 4, 4)
    state = torch.get_rng_state()
    name, head = head_of(net, x)
    assert name == "head" and torch.equal(torch.get_rng_state(), state)
    assert torch.equal(features_and_logits(net, head, x)[0], x.mean((2, 3)))


def test_only_the_head_changes_and_the_control_takes_as_many(store: Store, images: Path, weights: Path) -> None:
    model, _ = load_model(weights)
    source = FolderSource(images)
    before = copy.deepcopy(model.state_dict())
    network, fitted = retrain_head(Classifier("m", model), store, source, settings=Settings(batch_size=7))
    after = network.state_dict()
    assert {k for k in before if not torch.equal(before[k], after[k])} == {"net.head.weight", "net.head.bias"}
    assert fitted.images == 20 and fitted.loss[1] < fitted.loss[0]  # 2 of 4 scenes a class
    again, _ = load_model(weights)
    _, other = retrain_head(Classifier("m", again), store, source, Spuriosity("random"), Settings(batch_size=40))
    assert other.images == 20
    half = store.rows.labels[rows_in(store, Fold(1, 2))]
    _, few = retrain_head(Classifier("m", load_model(weights)[0]), store, source, settings=Settings(fold=Fold(1, 2)))
    assert few.images == sum(max(1, n // 2) for n in np.bincount(half) if n) < 20
    with pytest.raises(SalientError, match="cannot be trained; expected a network; got function"):
        retrain_head(Classifier("f", lambda x: x), store, source)


@pytest.mark.parametrize("method", [DFR(draws=2), JTT(), GroupDRO(decay=0.1)])
def test_methods_on_groups_change_the_head_alone_and_see_every_image(
    method: HeadMethod, store: Store, images: Path, weights: Path
) -> None:
    model, _ = load_model(weights)
    before = copy.deepcopy(model.state_dict())
    network, fitted = retrain_head(Classifier("m", model), store, FolderSource(images), method, Settings(batch_size=7))
    after = network.state_dict()
    assert {k for k in before if not torch.equal(before[k], after[k])} == {"net.head.weight", "net.head.bias"}
    assert fitted.images == 40 - 2 * isinstance(method, DFR) and fitted.note
    again = Classifier("m", load_model(weights)[0])
    same, _ = retrain_head(again, store, FolderSource(images), method, Settings(batch_size=40))
    assert all(torch.allclose(same.state_dict()[k], after[k], atol=1e-3) for k in after)


def test_dfr_wants_images_of_every_output(store: Store, images: Path, weights: Path) -> None:
    few = Settings(fold=Fold(1, 20))
    assert len(np.unique(store.rows.labels[rows_in(store, few.fold)])) < 10
    with pytest.raises(SalientError, match="dfr fits a head from nothing; expected images of each of its 10 outputs"):
        retrain_head(Classifier("m", load_model(weights)[0]), store, FolderSource(images), DFR(), few)
