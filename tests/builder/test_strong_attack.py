from __future__ import annotations

import logging
import sys

import numpy as np
import pytest
import torch

from salient_imagenet_data.builder.attacking import robust_accuracy
from salient_imagenet_data.builder.choices import Norm
from salient_imagenet_data.builder.strong_attack import autoattack_accuracy, check_autoattack
from salient_imagenet_data.errors import SalientError
from tests.builder.test_attacking import Brightness

AWAY = np.array([10, 20, 30, 40])
IMAGES = np.broadcast_to((128 + AWAY)[:, None, None, None], (4, 8, 8, 3)).astype(np.uint8)
"""Gray images, brighter than the middle by so much."""


@pytest.fixture(autouse=True)
def package() -> None:
    pytest.importorskip("pyautoattack", reason="pyautoattack is an optional extra")
    logging.getLogger("auto-attack").setLevel(logging.ERROR)


class Quarters(torch.nn.Module):
    """Four classes by the mean of each quarter of an image's rows."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(50.0), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * x.unflatten(2, (4, -1)).mean(dim=(1, 3, 4))


def test_it_turns_just_what_its_radius_reaches() -> None:
    """Of 8 x 8 crops, a step of l2 length r along the mean's gradient moves it by r / sqrt(192)."""
    labels = np.ones(4, dtype=np.int64)
    pairs: list[tuple[int, Norm, float]] = [(1, "l2", 192**0.5), (3, "linf", 1.0)]
    for turned, norm, longer in pairs:
        radius = (AWAY[turned - 1 : turned + 1].mean() + 0.5) / 255 * longer
        assert autoattack_accuracy(Brightness(), IMAGES, labels, 2, float(radius), norm) == (4 - turned) / 4


def test_four_classes_are_attacked_by_targets_too() -> None:
    images = np.full((4, 8, 8, 3), 100, dtype=np.uint8)
    for k in range(4):
        images[k, 2 * k : 2 * k + 2] += 30 + 20 * k
    labels, model = np.arange(4), Quarters()
    # Two quarters of 48 values each, moved towards each other, close a gap g with a length of g / sqrt(2 / 48).
    reach = float((60 / 255) * (48 / 2) ** 0.5)
    assert robust_accuracy(model, images, labels, reach, steps=50) == 0.5
    assert autoattack_accuracy(model, images, labels, 4, reach) == 0.5


def test_a_package_that_is_not_there_is_told_before_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    check_autoattack()
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    with pytest.raises(
        SalientError, match=r"--autoattack: pyautoattack is not installed; pip install .*\[autoattack\]"
    ):
        check_autoattack()
