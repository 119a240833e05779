"""What becomes of a class's probability when pixels go, or come, in the order of a map [Petsiuk et al. 2018].

Deletion: the pixels turn gray, the largest of the map first; the area under the probability against the share of pixels
is small for a map that finds what the model reads. Insertion: they come back to a blurred image; the area is large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.certificates.search import seen
from salient_imagenet_data.evaluation.numbers.estimates import Estimate
from salient_imagenet_data.loaders.corruption.corruptions import corrupt
from salient_imagenet_data.loaders.corruption.records import Blur, Fill
from salient_imagenet_data.loaders.region import DILATED_AT
from salient_imagenet_data.networks.classifiers import Model

BLUR = 10.0
"""Of what insertion begins with, in pixels of a crop of 224."""


@dataclass(frozen=True)
class Curves:
    """Areas under both curves, in [0, 1]: in the order of the saliency map, of the core mask, and of random pixels."""

    deletion: Estimate
    insertion: Estimate
    deletion_core: Estimate
    insertion_core: Estimate
    deletion_random: Estimate
    insertion_random: Estimate


def areas(
    model: Model, images: Tensor, classes: Tensor, maps: Sequence[Tensor], seeds: Sequence[int], steps: int
) -> NDArray[np.float64]:
    """(B, 2 M + 2) areas of deletion and insertion in the order of each of M maps, then of random pixels.

    images: (B, 3, S, S) in [0, 1]. classes: (B,), whose probability is followed. maps: (B, S, S) each, of which equal
    values are ordered at random, by the seeds. steps: at most so many equal steps of the pixels, at least 1. Raises
    SalientError for logits that are not finite.
    """
    if steps < 1:
        raise SalientError("steps of the curves", expected="1 or more", got=str(steps))
    ones = torch.ones_like(images[:, :1])
    gray, blurred = (
        corrupt(images, ones, c, seeds, check_values=False)
        for c in (Fill("gray"), Blur(BLUR * images.shape[-1] / DILATED_AT))
    )
    number = images.shape[2] * images.shape[3]
    chance = torch.stack([torch.randperm(number, generator=torch.Generator().manual_seed(s)) for s in seeds])
    random = chance.to(images.device).float().view_as(ones)[:, 0]
    found = []
    for values in (*maps, random):
        rank = _rank(values.to(images.device), random).view_as(ones)
        for hidden, first in ((gray, False), (blurred, True)):
            p = []
            for step in range(steps + 1):
                touched = (rank < round(step * number / steps)).to(images.dtype)
                p.append(_probability(model, seen(images, hidden, touched if first else 1.0 - touched), classes))
            found.append(np.mean([(before + after) / 2.0 for before, after in pairwise(p)], axis=0))  # trapezoids
    return np.stack(found, axis=1)


def _rank(values: Tensor, among: Tensor) -> Tensor:
    """(B, S * S) how many pixels come before each, from the largest value down; of equal ones by `among`."""
    tied = among.flatten(1).argsort(dim=1)
    order = tied.gather(1, values.flatten(1).gather(1, tied).argsort(dim=1, descending=True, stable=True))
    return order.argsort(dim=1)


def _probability(model: Model, images: Tensor, classes: Tensor) -> NDArray[np.float64]:
    with torch.no_grad():
        logits = model(images).float()
    if not bool(torch.isfinite(logits).all()):
        raise SalientError("model's output holds NaN or infinities", expected="finite logits")
    found: NDArray[np.float64] = logits.softmax(dim=1).gather(1, classes[:, None])[:, 0].double().cpu().numpy()
    return found
