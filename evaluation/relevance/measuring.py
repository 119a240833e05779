"""The images of a class, once through a network and several times back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from salient_imagenet_data.evaluation.relevance.propagation import Propagation, check_conserved
from salient_imagenet_data.evaluation.run.images import ItemBatch, Items
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.joining import Joined
from salient_imagenet_data.networks.pixels import unit_images
from salient_imagenet_data.progress import progress

SIDE = 16
"""Cells along a side of the maps that are compared between images."""
CHECKED = 4
"""Images of a class on which it is checked that relevance is conserved."""


@dataclass(frozen=True)
class Measured:
    """N images of a class. maps: (N, SIDE, SIDE) float32, the class's relevance in the cells of the image, in logits.
    units: (N, F) float32, the relevance of each unit for the class, in logits. own: (N, K, h, w) float32, for each of
    K units where in the image its own activation comes from, on the network's last grid, adding up to that activation.
    conserved: how much of the relevance reaches the image, of the first `CHECKED`."""

    maps: NDArray[np.float32]
    units: NDArray[np.float32]
    own: NDArray[np.float32]
    conserved: float


def measure(
    propagation: Propagation,
    joined: Joined,
    preprocessing: Preprocessing,
    label: int,
    units: tuple[int, ...],
    settings: Settings,
    what: str,
) -> Measured:
    """Of images of one class. units: whose own maps are made too. what: the class's name, shown with the progress.

    Raises SalientError where relevance is not conserved.
    """
    items = Items(joined, preprocessing)
    maps, relevance, own = [], [], []
    first = ItemBatch.of([items[k] for k in range(min(CHECKED, len(items)))])
    share = check_conserved(propagation, unit_images(first.images.to(settings.device)), label)
    with progress((), total=len(items), what=what) as bar:
        for batch in DataLoader(items, settings.batch_size, collate_fn=ItemBatch.of, num_workers=settings.workers):
            images = unit_images(batch.images.to(settings.device))
            weight = propagation.weight[label].expand(len(images), -1)
            with propagation.passed(images) as passed:
                maps.append(pooled(passed.relevance(passed.start(weight)), (SIDE, SIDE)))
                relevance.append((passed.pooled * weight).cpu())
                side = (passed.grid.shape[2], passed.grid.shape[3])
                each = [pooled(passed.relevance(passed.activation(unit)), side) for unit in units]
            own.append(torch.stack(each, dim=1) if each else torch.zeros(len(images), 0, *side))
            bar.update(len(batch))
    return Measured(torch.cat(maps).numpy(), torch.cat(relevance).numpy(), torch.cat(own).numpy(), share)


def pooled(maps: Tensor, side: tuple[int, int]) -> Tensor:
    """(B, S, S) -> (B, *side) float32 on the CPU: sums over cells, which add up to the same where cells divide the
    pixels evenly; where they do not, pixels at an edge count for both cells, and the sum is nearly the same."""
    cells = maps.shape[1] * maps.shape[2] / (side[0] * side[1])
    return (F.adaptive_avg_pool2d(maps[:, None], side)[:, 0] * cells).float().cpu()
