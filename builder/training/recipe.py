"""The recipe of a fine-tuning: every choice, checked before the first step, and what follows from it for each epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

from salient_imagenet_data.builder.choices import Norm, PassPrecision, Statistics
from salient_imagenet_data.errors import SalientError

SIDES = 32
"""Sides between the first crop and the last are multiples of it, as most networks' strides."""
RADII: dict[Norm, float] = {"l2": 3.0, "linf": 4 / 255}
"""Of the robust networks of ImageNet that people named features of, at 224 pixels [Engstrom et al. 2019]."""


def check_within(recipe: object, bounds: dict[str, tuple[float, float]]) -> None:
    """Raise SalientError for the first field that is not a number from the least to the most of its bounds."""
    for name, (least, most) in bounds.items():
        value = getattr(recipe, name)
        if not (math.isfinite(value) and least <= value <= most):
            expected = f">= {least:g}" + (f" and <= {most:g}" if math.isfinite(most) else "")
            raise SalientError(f"{name.replace('_', ' ')} of the training", expected=expected, got=f"{value:g}")


def usual_radius(norm: Norm, crop: int) -> float:
    """For crops of a side: an l2 radius goes with the root of the number of pixels."""
    return RADII[norm] * crop / 224 if norm == "l2" else RADII[norm]


@dataclass(frozen=True)
class Recipe:
    """How a network is fine-tuned.

    norm, epsilon: the ball of the attack, pixels in [0, 1], for crops of side `crop`; an l2 radius is scaled with the
    side where the crop is smaller. 0 trains plainly. steps: of the attack; 1 is the fast variant [Wong et al. 2020].
    replays: above 1 the free variant [Shafahi et al. 2019]: each batch is used so many times, and one backward pass
    changes both the network and the images; `steps` must be 1. epochs: passes over the images, replays not counted.
    warmup: epochs of a rate that rises from 0; then it falls as a cosine to 0. average: decay a step of the running
    mean of the weights, which is what is written; 0 writes the last. area: the smallest share of an image that a
    training crop shows. crop, first_crop: side of the crops in the last and in the first epochs. statistics: of batch
    normalisation: of the batch, or kept as they came.
    """

    norm: Norm = "l2"
    epsilon: float = 1.0
    steps: int = 1
    replays: int = 1
    epochs: int = 10
    warmup: float = 1.0
    batch_size: int = 64
    learning_rate: float = 0.03
    weight_decay: float = 1e-4
    average: float = 0.998
    area: float = 0.25
    flip: bool = True
    crop: int = 224
    first_crop: int = 224
    statistics: Statistics = "batch"
    precision: PassPrecision = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        within: dict[str, tuple[float, float]] = {
            "epsilon": (0, math.inf),
            "steps": (1, math.inf),
            "replays": (1, math.inf),
            "epochs": (1, math.inf),
            "warmup": (0, self.epochs),
            "batch_size": (1, math.inf),
            "weight_decay": (0, math.inf),
            "crop": (SIDES, math.inf),
            "first_crop": (SIDES, self.crop),
        }
        check_within(self, within)
        for name, most in {"learning_rate": math.inf, "area": 1.0}.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 < value <= most):
                bounds = "> 0" + (f" and <= {most:g}" if math.isfinite(most) else "")
                raise SalientError(f"{name.replace('_', ' ')} of the training", expected=bounds, got=f"{value:g}")
        if not 0 <= self.average < 1:
            raise SalientError("average of the weights", expected=">= 0 and < 1", got=f"{self.average:g}")
        for name, known in {"norm": Norm, "statistics": Statistics, "precision": PassPrecision}.items():
            if getattr(self, name) not in get_args(known):
                given = str(getattr(self, name))
                raise SalientError(f"{name} of the training", expected=", ".join(get_args(known)), got=given)
        if self.replays > 1 and (self.steps > 1 or self.epsilon == 0):
            raise SalientError(
                "the free variant makes one step of an attack each replay",
                expected="1 step and an epsilon > 0",
                got=f"{self.steps} steps and epsilon {self.epsilon:g}",
            )

    def side(self, epoch: int) -> int:
        """Of the crops in an epoch: they grow with the epochs, and have the whole side in the last third and epoch."""
        if 3 * epoch >= 2 * self.epochs or epoch == self.epochs - 1:
            return self.crop
        side = self.first_crop + epoch / (self.epochs * 2 / 3) * (self.crop - self.first_crop)
        return max(self.first_crop, int(side // SIDES * SIDES))

    def radius(self, side: int) -> float:
        """Of the ball for crops of a side."""
        return self.epsilon * side / self.crop if self.norm == "l2" else self.epsilon

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of a step out of all."""
        warm = self.warmup * steps / self.epochs
        if step < warm:
            return self.learning_rate * (step + 1) / (warm + 1)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1.0, steps - warm)))

    def weight(self, step: int) -> float:
        """Of the running mean in a step: less at first, so that the start is soon forgotten."""
        return min(self.average, (1 + step) / (10 + step))
