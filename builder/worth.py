"""What a network is worth for masks: how often it is right, and how often still after a short attack.

A map shows where a feature lies only as far as the feature belongs to what the image shows, and people can name what it
shows only in a robust network [Engstrom et al. 2019; Singla and Feizi 2022].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from salient_imagenet_data.builder.attacking import correct, robust_accuracy
from salient_imagenet_data.builder.choices import Norm
from salient_imagenet_data.errors import SalientError, some
from salient_imagenet_data.images.source import ImageSource

CLEAN, KEPT = 0.5, 0.5
"""Bounds below which a warning is given: the share that is right, and what share of it is right after the attack."""
ATTACKED = 2000
"""Images of the short attack, at most."""
MEASURED = 10_000
"""Images of large sets that are held in memory to measure on, at most."""
STEPS = 10


@dataclass(frozen=True)
class Worth:
    """clean: share of `images` that is classified right. robust: of those attacked, at most ATTACKED, the share that is
    right after an attack of radius epsilon in a norm (pixels in [0, 1]). seen: the images are those of the training."""

    clean: float
    robust: float
    epsilon: float
    images: int
    seen: bool
    norm: Norm = "l2"

    def lines(self) -> list[str]:
        """As it is told to a person."""
        of = "training images, which flatters" if self.seen else "test images"
        return [
            f"clean accuracy {self.clean:.4f} on {self.images} {of}",
            f"accuracy under {STEPS}-step {self.norm} attack of radius {self.epsilon:g}: {self.robust:.4f}",
            *self.warnings(),
        ]

    def warnings(self) -> list[str]:
        """A line for each bound that is not reached."""
        found = []
        if self.clean < CLEAN:
            found.append(
                f"warning: right on fewer than {CLEAN:.0%} of the images, so its features say little about the "
                "classes; train longer, with more images or wider"
            )
        if self.robust < KEPT * self.clean:
            found.append(
                f"warning: the attack leaves less than {KEPT:.0%} of what it gets right, so this network is not robust "
                "and people can hardly name what its features show; train with a larger --epsilon, or longer"
            )
        return found


def worth(
    model: nn.Module,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    epsilon: float,
    *,
    seen: bool,
    seed: int = 0,
    attacked: int = ATTACKED,
    batch_size: int = 250,
    norm: Norm = "l2",
) -> Worth:
    """Of any network that takes images in [0, 1], where it is, on crops (N, S, S, 3) uint8 with its own labels (N,)."""
    some = sample(len(images), attacked, seed)
    robust = robust_accuracy(
        model, images[some], labels[some], epsilon, steps=STEPS, seed=seed, batch_size=batch_size, norm=norm
    )
    clean = float(correct(model, images, labels, batch_size).mean())
    return Worth(clean, robust, epsilon, len(images), seen, norm)


def sample(images: int, most: int, seed: int = 0) -> NDArray[np.int64]:
    """Which of so many images an attack is tried on, in order."""
    return np.sort(np.random.default_rng(seed).permutation(images)[:most])


def check_test_classes(test: ImageSource, class_names: tuple[str, ...]) -> NDArray[np.int64]:
    """(classes of the test images,) index of each among the network's, by name.

    Raises SalientError for one that the network does not know.
    """
    place = {name: index for index, name in enumerate(class_names)}
    unknown = [name for name in test.class_names if name not in place]
    if unknown:
        raise SalientError(
            "test images: classes that are not among those of the training images",
            expected=f"some of {', '.join(class_names[:5])}{', ...' if len(class_names) > 5 else ''}",
            got=some(unknown),
            then="name the folders alike",
        )
    return np.array([place[name] for name in test.class_names], dtype=np.int64)
