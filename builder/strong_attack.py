"""AutoAttack [Croce and Hein 2020]: four attacks without a setting, by its authors' own package.

What its targeted attacks leave right is close to what a network can be said to hold; ten steps of plain projected
gradient descent leave more.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from salient_imagenet_data.builder.choices import Norm
from salient_imagenet_data.errors import not_installed
from salient_imagenet_data.networks.pixels import unit_images

TARGETS = 9
"""Wrong classes that the targeted attacks aim at, one by one, where there are so many."""
FEWEST = 4
"""Classes that the loss of the targeted attacks needs."""
NAMES: dict[Norm, str] = {"l2": "L2", "linf": "Linf"}


def check_autoattack() -> None:
    """Raises SalientError where the package is not installed."""
    try:
        import pyautoattack  # noqa: F401
    except ImportError as error:
        raise not_installed("pyautoattack", "--autoattack") from error


def autoattack_accuracy(
    model: nn.Module,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    classes: int,
    epsilon: float,
    norm: Norm = "l2",
    *,
    seed: int = 0,
    batch_size: int = 64,
) -> float:
    """Share of crops (N, S, S, 3) uint8 that a model over images in [0, 1], with so many classes, still gets right
    after all of the standard attacks; with fewer than four classes after those that are not targeted."""
    from pyautoattack import AutoAttack

    device = next(model.parameters()).device
    chosen = AutoAttack(model, norm=NAMES[norm], eps=epsilon, seed=seed, device=str(device), version="standard")
    for targeted in (chosen.apgd_targeted, chosen.fab):
        targeted.n_target_classes = min(TARGETS, classes - 1)
    if classes < FEWEST:
        chosen.attacks_to_run = ["apgd-ce", "fab", "square"]
    x = unit_images(torch.from_numpy(images))
    y = torch.from_numpy(labels)
    changed, _ = chosen.run_standard_evaluation(x, y, batch_size=batch_size)
    hits = 0
    with torch.inference_mode():
        for start in range(0, len(x), batch_size):
            part = slice(start, start + batch_size)
            hits += int((model(changed[part].to(device)).argmax(dim=1).cpu() == y[part]).sum())
    return hits / len(images)
