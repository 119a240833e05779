"""Which features matter for which class, and which images show them. Pure functions on arrays.

Importance of feature j for class i [Singla & Feizi 2022, section 3.1]: the mean over the class's images of
r_j(x) * W_ij, with r the pooled features and W the head. The class's images are those predicted as i, or
those labelled i.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.names import PCA
from salient_imagenet_data.store.features import Basis


@dataclass(frozen=True)
class Ranking:
    """features: (C, K) int64, most important first. importance: (C, K) float64, of those features.

    A class without an image in its group has no ranking: features -1, importance NaN.
    """

    features: NDArray[np.int64]
    importance: NDArray[np.float64]


@dataclass(frozen=True)
class GroupSums:
    """Sums of pooled features of some images. groups: (G,) those that have an image. counts: (G,). sums: (G, F)."""

    groups: NDArray[np.int64]
    counts: NDArray[np.int64]
    sums: NDArray[np.float64]


class RunningSums:
    """Sums in float64 of pooled features by the group of each image, a batch at a time; nothing else is kept."""

    def __init__(self, features: int) -> None:
        self._features = features
        self._sums: dict[int, NDArray[np.float64]] = {}
        self._counts: dict[int, int] = {}

    def add(self, features: NDArray[np.floating], groups: NDArray[np.integer]) -> None:
        """Features (B, F) of images in groups (B,), -1 for none."""
        for group in np.unique(groups[groups >= 0]).tolist():
            mine = features[groups == group]
            self._sums[group] = self._sums.get(group, 0.0) + mine.sum(axis=0, dtype=np.float64)
            self._counts[group] = self._counts.get(group, 0) + len(mine)

    def total(self) -> GroupSums:
        """The sums of all that was added."""
        groups = sorted(self._sums)
        sums = np.array([self._sums[g] for g in groups], dtype=np.float64).reshape(-1, self._features)
        counts = np.array([self._counts[g] for g in groups], dtype=np.int64)
        return GroupSums(np.array(groups, dtype=np.int64), counts, sums)


def class_means(parts: Iterable[GroupSums], classes: int, features: int) -> NDArray[np.float64]:
    """Mean pooled features of each group over all parts, (C, F) float64; NaN for an empty group."""
    sums, counts = np.zeros((classes, features)), np.zeros(classes, dtype=np.int64)
    for part in parts:
        sums[part.groups] += part.sums
        counts[part.groups] += part.counts
    with np.errstate(invalid="ignore"):
        result: NDArray[np.float64] = sums / counts[:, None]
    return result


def rank(means: NDArray[np.float64], weight: NDArray[np.floating], top: int) -> Ranking:
    """The `top` features of each class: means (C, F) and head weight (C, F). Equal importances go by feature index."""
    importance = means * weight.astype(np.float64)
    features = np.argsort(-importance, axis=1, kind="stable")[:, :top]
    empty: NDArray[np.bool_] = np.asarray(np.isnan(means).all(axis=1))
    chosen = np.take_along_axis(importance, features, axis=1)
    return Ranking(np.where(empty[:, None], -1, features), np.where(empty[:, None], np.nan, chosen))


def known_ranking(
    basis: Basis, features: NDArray[np.int64], activations: NDArray[np.floating], labels: NDArray[np.integer]
) -> Ranking:
    """Known features (C, K) of a basis with their importance here. Of components it is what they vary by, the standard
    deviation of activations (N, K) over the images labelled as the class, labels (N,); of latents it is not known,
    since a store does not keep their decoder."""
    spread = np.full(features.shape, np.nan)
    for label in np.unique(labels) if basis.kind == PCA else ():
        spread[label] = activations[labels == label].std(axis=0, dtype=np.float64)
    return Ranking(features, np.where(features >= 0, spread, np.nan))


def top_images(activations: NDArray[np.floating], labels: NDArray[np.integer], count: int) -> NDArray[np.bool_]:
    """Whether an image is among the `count` of its class that activate a feature most.

    activations: (N, K), of the K features of the image's own class. Equal activations go by row. Returns (N, K) bool.
    """
    result = np.zeros(activations.shape, dtype=np.bool_)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        order = np.argsort(-activations[rows], axis=0, kind="stable")[:count]
        for slot in range(activations.shape[1]):
            result[rows[order[:, slot]], slot] = True
    return result
