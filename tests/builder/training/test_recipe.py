"""Recipes: what is refused, and what follows from one for each epoch and step."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from salient_imagenet_data.builder.training.recipe import Recipe, usual_radius
from salient_imagenet_data.errors import SalientError


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epsilon": -1.0}, "epsilon of the training; expected >= 0; got -1"),
        ({"epsilon": float("nan")}, "epsilon of the training; expected >= 0; got nan"),
        ({"epochs": 0}, "epochs of the training; expected >= 1"),
        ({"warmup": 11.0}, "warmup of the training; expected >= 0 and <= 10; got 11"),
        ({"first_crop": 256}, "first crop of the training; expected >= 32 and <= 224; got 256"),
        ({"area": 0.0}, "area of the training; expected > 0 and <= 1; got 0"),
        ({"area": 1.5}, "area of the training; expected > 0 and <= 1"),
        ({"learning_rate": 0.0}, "learning rate of the training; expected > 0; got 0"),
        ({"average": 1.0}, "average of the weights; expected >= 0 and < 1; got 1"),
        ({"norm": "l1"}, "norm of the training; expected l2, linf; got l1"),
        ({"precision": "float16"}, "precision of the training; expected float32, bfloat16"),
        ({"replays": 2, "steps": 3}, "the free variant makes one step .*; got 3 steps and epsilon 1"),
        ({"replays": 2, "epsilon": 0.0}, "expected 1 step and an epsilon > 0"),
    ],
)
def test_what_cannot_be_done_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SalientError) as caught:
        Recipe(**given)
    assert re.search(message, str(caught.value)), caught.value


def test_crops_grow_in_steps_of_32_and_end_whole() -> None:
    assert [Recipe(epochs=9, crop=160, first_crop=64).side(e) for e in range(9)] == [
        64,
        64,
        96,
        96,
        128,
        128,
        *[160] * 3,
    ]
    assert [Recipe(epochs=2, crop=100, first_crop=50).side(e) for e in range(2)] == [50, 100]
    assert Recipe(epochs=1, crop=128, first_crop=96).side(0) == 128
    assert {Recipe(epochs=5).side(e) for e in range(5)} == {224}


def test_the_same_change_of_each_pixel_at_every_side() -> None:
    """An l2 ball grows with the root of the pixels, an l-infinity ball does not."""
    assert Recipe(epsilon=3.0).radius(112) == 1.5 and Recipe(epsilon=3.0).radius(224) == 3.0
    assert Recipe(norm="linf", epsilon=0.03).radius(112) == 0.03
    assert usual_radius("l2", 112) == 1.5 and usual_radius("linf", 112) == 4 / 255


def test_the_rate_rises_in_the_warm_up_and_falls_to_nothing() -> None:
    recipe = Recipe(epochs=10, warmup=2, learning_rate=0.1)
    rates = [recipe.rate(step, 100) for step in range(100)]
    assert (np.diff(rates[:21]) > 0).all() and rates[20] == 0.1
    assert (np.diff(rates[20:]) < 0).all() and 0 < rates[-1] < 1e-4
    assert rates[60] == pytest.approx(0.05)
    assert Recipe(epochs=1, warmup=1).rate(0, 1) < 0.03 and Recipe(epochs=1, warmup=0).rate(0, 1) == 0.03


def test_the_mean_forgets_the_start_at_once() -> None:
    recipe = Recipe(average=0.9)
    assert recipe.weight(0) == 0.1 and recipe.weight(1000) == 0.9 and Recipe(average=0.0).weight(5) == 0
