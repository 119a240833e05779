"""Choosing images by spuriosity, finding a head, and fitting it against an independent minimum."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import scipy.optimize
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.mitigation.heads import (
    choose_rows,
    features_and_logits,
    fit_head,
    head_of,
    retrain_head,
)
from salient_imagenet_data.evaluation.plan.plan import rows_in
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.folds import Fold
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.networks.classifiers import Classifier, Normalised
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.store.reading import Store


def test_the_least_spurious_half_of_each_class() -> None:
    """Typed by hand: class 0 has a spurious feature in slot 1, class 1 none, class 2 one image."""
    activations = np.array([[9, 5.0], [9, 1], [9, 3], [9, 2], [1, 1], [2, 2], [3, 3], [4, 4], [0, 7]])
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2])
    spurious = np.array([[False, True], [False, False], [True, False]])
    least = choose_rows(activations, labels, spurious, "least")
    most = choose_rows(activations, labels, spurious, "most")
    assert least[:2].tolist() == [1, 3] and most[:2].tolist() == [0, 2]
    assert least[2:].tolist() == most[2:].tolist() and set(least[2:4]) < {4, 5, 6, 7} and least[4] == 8
    assert choose_rows(activations, labels, spurious, "least", most=1)[0] == 1
    random = choose_rows(activations, labels, spurious, "random", seed=3)
    assert len(random) == 5 and random.tolist() == choose_rows(activations, labels, spurious, "random", seed=3).tolist()
    drawn = {tuple(choose_rows(activations, labels, spurious, "random", seed=s)[:2]) for s in range(40)}
    assert len(drawn) == 6  # every pair of four comes
    with pytest.raises(SalientError, match="which images is not known; expected least, random, most; got fewest"):
        choose_rows(activations, labels, spurious, "fewest")


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


@pytest.mark.parametrize("with_bias", [True, False])
def test_the_head_is_the_minimum_of_its_objective(with_bias: bool) -> None:
    """Against scipy's BFGS on the objective as the docstring writes it, in float64."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 4)) * 3, rng.integers(0, 3, 60)
    w0, b0, decay = rng.normal(size=(3, 4)), rng.normal(size=3), 0.02

    def objective(flat: np.ndarray) -> float:
        w, b = flat[:12].reshape(3, 4), flat[12:] if with_bias else 0.0
        z = x @ w.T + b
        losses = np.log(np.exp(z - z.max(1, keepdims=True)).sum(1)) + z.max(1) - z[np.arange(60), y]
        drift = (x**2).mean() * ((w - w0) ** 2).sum() + (((b - b0) ** 2).sum() if with_bias else 0.0)
        return losses.mean() + decay / 2 * drift

    start = np.concatenate([w0.ravel(), b0]) if with_bias else w0.ravel()
    wanted = scipy.optimize.minimize(objective, start, method="BFGS", options={"gtol": 1e-9}).x
    bias = torch.from_numpy(b0).float() if with_bias else None
    found = fit_head(torch.from_numpy(x).float(), torch.from_numpy(y), torch.from_numpy(w0).float(), bias, decay)
    assert found.weight.numpy() == pytest.approx(wanted[:12].reshape(3, 4), abs=2e-5)
    assert (found.bias is None) != with_bias
    if found.bias is not None:
        assert found.bias.numpy() == pytest.approx(wanted[12:], abs=2e-5)
    assert found.loss[1] < found.loss[0] and found.images == 60 and 0 < found.steps < 500


def test_the_scale_of_features_and_the_order_of_images_play_no_part() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(50, 4).relu(), torch.randint(0, 3, (50,))
    w, b = torch.randn(3, 4), torch.randn(3)
    plain, scaled = fit_head(x, y, w, b), fit_head(100 * x, y, w / 100, b)
    turned = fit_head(x.flip(0), y.flip(0), w, b)
    assert torch.allclose(plain.weight, 100 * scaled.weight, atol=2e-3)
    assert torch.allclose(plain.weight, turned.weight, atol=2e-3)
    held = fit_head(x, y, w, b, decay=1e4)
    assert torch.allclose(held.weight, w, atol=1e-3) and torch.allclose(held.bias, b, atol=1e-3)


def test_every_decay_is_fitted_to_a_flat_place() -> None:
    """The slope of the objective, written out in float64, at what is returned in float32: of few images with features
    far from 0, on which a search in float32 stops early."""
    rng = np.random.default_rng(1)
    x, y = torch.from_numpy(rng.normal(20.0, 1.0, (20, 12))).float(), torch.arange(20) % 10
    w, b = torch.from_numpy(rng.normal(size=(10, 12))).float(), torch.zeros(10)
    for decay in (1e-3, 1e-2, 0.1, 1.0, 10.0, 1e3):
        found = fit_head(x, y, w, b, decay)
        assert found.weight.dtype == torch.float32 and found.bias is not None
        p = (x.double() @ found.weight.double().T + found.bias.double()).softmax(1) - F.one_hot(y, 10)
        scale = x.double().square().mean().sqrt()
        slope = (p.T @ x.double()) / 20 / scale + decay * scale * (found.weight.double() - w.double())
        rounding = 3e-7 * decay * scale  # of the weights, to float32
        assert slope.abs().max() < 2e-6 + rounding, decay


def test_a_head_that_cannot_be_fitted_is_one_line() -> None:
    x, y, w = torch.randn(50, 4), torch.randint(0, 3, (50,)), torch.zeros(3, 4)
    with pytest.raises(SalientError, match="decay; expected a number > 0"):
        fit_head(x, y, w, None, decay=0.0)
    with pytest.raises(SalientError, match="the head was not fitted; expected a gradient below 0.0001 within 1 steps"):
        fit_head(x, y, w, None, most_steps=1)


def test_only_the_head_changes_and_the_control_takes_as_many(store: Store, images: Path, weights: Path) -> None:
    model, _ = load_model(weights)
    source = FolderSource(images)
    before = copy.deepcopy(model.state_dict())
    network, fitted = retrain_head(Classifier("m", model), store, source, settings=Settings(batch_size=7))
    after = network.state_dict()
    assert {k for k in before if not torch.equal(before[k], after[k])} == {"net.head.weight", "net.head.bias"}
    assert fitted.images == 20 and fitted.loss[1] < fitted.loss[0]  # 2 of 4 scenes a class
    again, _ = load_model(weights)
    _, other = retrain_head(Classifier("m", again), store, source, choice="random", settings=Settings(batch_size=40))
    assert other.images == 20
    half = store.rows.labels[rows_in(store, Fold(1, 2))]
    _, few = retrain_head(Classifier("m", load_model(weights)[0]), store, source, settings=Settings(fold=Fold(1, 2)))
    assert few.images == sum(max(1, n // 2) for n in np.bincount(half) if n) < 20
    with pytest.raises(SalientError, match="cannot be trained; expected a network; got function"):
        retrain_head(Classifier("f", lambda x: x), store, source)
