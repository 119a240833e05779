"""Choosing a setting of a method on images that it was not fitted on, by the worst group, as the papers do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from salient_imagenet_data.evaluation.mitigation.heads.fitting import Data
from salient_imagenet_data.evaluation.numbers.groups import Groups

T = TypeVar("T")


@dataclass(frozen=True)
class Chosen(Generic[T]):
    """A setting, the worst-group accuracy that chose it, and on how many images that was measured."""

    setting: T
    worst: float
    images: int


def why(found: Chosen[T] | None, settings: Sequence[T]) -> str:
    """Why a setting was taken, to stand behind it; "" where there was no other."""
    if found is not None:
        return f", by the worst group, {found.worst:.3f} right, of {found.images} images held out"
    return ", the first, since no group has two images" if len(settings) > 1 else ""


class OfAll:
    """The part of a `HeadMethod` that goes by groups: all images are needed, ranked by spuriosity."""

    ranks = True

    def places(
        self, activations: NDArray[np.floating], labels: NDArray[np.integer], spurious: NDArray[np.bool_], seed: int
    ) -> NDArray[np.int64]:
        """(n,) places of all images."""
        return np.arange(len(labels), dtype=np.int64)


def halves(index: NDArray[np.integer], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two parts of some images, each ascending, drawn at random within each group; the first has the odd image, so that
    every group is in it. index: (n,) number of each image's group."""
    rng = np.random.default_rng(seed)
    first: list[NDArray[np.int64]] = []
    second: list[NDArray[np.int64]] = []
    for group in np.unique(index).tolist():
        mine = rng.permutation(np.flatnonzero(index == group))
        first.append(mine[: (len(mine) + 1) // 2])
        second.append(mine[(len(mine) + 1) // 2 :])
    return np.sort(np.concatenate(first)), np.sort(np.concatenate(second))


def part(data: Data, places: NDArray[np.int64]) -> Data:
    """Some of the images."""
    at = torch.from_numpy(places).to(data.labels.device)
    return Data(
        data.features[at], data.labels[at], data.weight, data.bias, data.scores[places], data.has_cue, data.seed
    )


def choose(
    settings: Sequence[T],
    fit: Callable[[Data, Groups, T], tuple[Tensor, Tensor | None]],
    data: Data,
    groups: Groups,
) -> Chosen[T] | None:
    """The setting whose head, fitted on one half of the images, has the best worst-group accuracy on the other; of
    equals the one with the best mean over groups, then the first. None where there is no choice, or nothing is held
    out."""
    fitted_on, held = halves(groups.index, data.seed)
    held = held[groups.at(held).counted]
    if len(settings) < 2 or not len(held):
        return None
    half, other, index = part(data, fitted_on), part(data, held), groups.at(held).index
    found = []
    for place, setting in enumerate(settings):
        weight, bias = fit(half, groups.at(fitted_on), setting)
        hits = answers(other.features, weight, bias) == other.labels.cpu().numpy()
        means = [float(hits[index == group].mean()) for group in np.unique(index).tolist()]
        found.append((min(means), float(np.mean(means)), -place))
    worst, _, place = max(found)
    return Chosen(settings[-place], worst, len(held))


def answers(features: Tensor, weight: Tensor, bias: Tensor | None) -> NDArray[np.int64]:
    """(n,) the class of the largest logit of a head, in float64."""
    logits = features.double() @ weight.double().to(features.device).T
    if bias is not None:
        logits = logits + bias.double().to(features.device)
    found: NDArray[np.int64] = logits.argmax(dim=1).cpu().numpy()
    return found
