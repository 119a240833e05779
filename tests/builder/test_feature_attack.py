from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from salient_imagenet_data.annotation.sheets import HEAD, write_sheets
from salient_imagenet_data.builder.feature_attack import attacker, feature_attack
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.pictures.tiles import GAP, LINE
from salient_imagenet_data.store.reading import Store


def reference(net: torch.nn.Module, image: torch.Tensor, feature: int, step: float, iterations: int) -> torch.Tensor:
    """One image in float64, written as the definition reads."""
    x = image.double()[None]
    for _ in range(iterations):
        x.requires_grad_(True)
        net.maps(x).mean((2, 3))[0, feature].backward()  # type: ignore[operator]
        x = torch.clamp(x.detach() + step * x.grad / x.grad.norm(), 0, 1)  # type: ignore[union-attr]
    return x[0]


def test_against_the_definition_in_float64(weights: Path) -> None:
    model, _ = load_model(weights)
    images = torch.rand(3, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    features = torch.tensor([0, 5, 11])
    changed = feature_attack(model, images, features, step=0.5, iterations=4)
    before, after = (model.maps_and_features(x)[1][torch.arange(3), features] for x in (images, changed))
    assert (after > before).all() and changed.min() >= 0 and changed.max() <= 1
    double, _ = load_model(weights)
    double = double.double()
    for b in range(3):
        expected = reference(double, images[b], int(features[b]), 0.5, 4)
        assert (changed[b] - expected).abs().max() < 1e-3


def test_sheets_with_attacks_have_a_third_row(bare_store: Store, images: Path, weights: Path, tmp_path: Path) -> None:
    model, _ = load_model(weights)
    plain = write_sheets(bare_store, FolderSource(images), tmp_path / "plain", images=2, pixels=56)
    attack = attacker(model, iterations=3)
    attacked = write_sheets(bare_store, FolderSource(images), tmp_path / "attacked", images=2, pixels=56, attack=attack)
    with Image.open(plain[0]) as small, Image.open(attacked[0]) as large:
        row = 56 + GAP
        assert small.size == (2 * row - GAP, HEAD + 4 * (LINE + 2 * row))
        assert large.size == (2 * row - GAP, HEAD + 4 * (LINE + 3 * row))
        pixels, seed = np.asarray(large)[HEAD + LINE :], np.asarray(small)[HEAD + LINE :]
    assert np.array_equal(pixels[: 2 * row], seed[: 2 * row])
    assert np.abs(pixels[2 * row : 2 * row + 56].astype(int) - seed[:56].astype(int)).mean() > 5


def test_it_stops_when_it_is_told_to(weights: Path) -> None:
    """Asked before each step: after three of them the images are where three steps lead."""
    model, _ = load_model(weights)
    x = torch.rand(2, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    features = torch.tensor([1, 4])
    asked = iter([False, False, False, True])
    stopped = feature_attack(model, x, features, step=0.5, stop=lambda: next(asked))
    assert torch.equal(stopped, feature_attack(model, x, features, step=0.5, iterations=3))
