from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from salient_imagenet_data.builder.attacking import attack, correct, robust_accuracy
from salient_imagenet_data.builder.choices import Norm
from salient_imagenet_data.networks.robust import load_model


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize(("norm", "epsilon", "order"), [("l2", 0.5, 2.0), ("linf", 0.01, float("inf"))])
def test_attack_stays_in_the_ball_and_raises_the_loss(
    weights: Path, steps: int, norm: Norm, epsilon: float, order: float
) -> None:
    model, _ = load_model(weights)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(6, 3, 56, 56, generator=generator), torch.arange(6)
    perturbed = attack(model, x, y, epsilon, steps, generator, norm)
    assert perturbed.min() >= 0 and perturbed.max() <= 1
    lengths = torch.linalg.vector_norm((perturbed - x).flatten(1), ord=order, dim=1)
    assert lengths.max() <= epsilon + 1e-5 and lengths.min() > 0.8 * epsilon
    loss = torch.nn.functional.cross_entropy
    assert loss(model(perturbed), y) > loss(model(x), y)


class Brightness(torch.nn.Module):
    """Class 1 where the mean of an image is above a half: by how much decides what a radius can turn."""

    def __init__(self) -> None:
        super().__init__()
        self.middle = torch.nn.Parameter(torch.tensor(0.5), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        above = x.mean(dim=(1, 2, 3)) - self.middle
        return torch.stack([-above, above], dim=1)


def test_an_attack_turns_just_what_its_radius_reaches() -> None:
    """Of 12 x 12 crops, a step of l2 length r along the mean's gradient moves it by r / sqrt(432)."""
    away = np.array([10, 20, 30, 40, 50])
    images = np.broadcast_to((128 + away)[:, None, None, None], (5, 12, 12, 3)).astype(np.uint8)
    labels = np.ones(5, dtype=np.int64)
    assert correct(Brightness(), images, labels).all() and not correct(Brightness(), images, labels - 1).any()
    for turned in range(1, 5):
        radius = (away[turned - 1 : turned + 1].mean() + 0.5) / 255 * 432**0.5
        for batch_size in (2, 250):
            kept = robust_accuracy(Brightness(), images, labels, float(radius), steps=20, batch_size=batch_size)
            assert kept == (5 - turned) / 5
