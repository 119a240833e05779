"""A head tuned on the images of each class that show its spurious features least [Moayeri et al. 2023]."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.mitigation.choices import CHOICES, Choice
from salient_imagenet_data.evaluation.mitigation.heads.fitting import DECAY, Data, Fitted, fit_head
from salient_imagenet_data.ranking.spuriosity import MOST, ends, spuriosity


def choose_rows(
    activations: NDArray[np.floating],
    labels: NDArray[np.integer],
    spurious: NDArray[np.bool_],
    choice: Choice,
    most: int = MOST,
    seed: int = 0,
) -> NDArray[np.int64]:
    """(m,) rows to fit a head on, ascending: k = min(most, n // 2) of each class, at least one.

    activations: (n, K) of the class's own features; labels: (n,); spurious: (C, K) bool. Equal spuriosity goes by row.
    A class without a spurious feature has no ranking: k of its images are drawn at random, so that it keeps its place
    among the classes. "random" draws k of every class. Raises SalientError for another choice.
    """
    if choice not in CHOICES:
        raise SalientError("which images is not known", expected=", ".join(CHOICES), got=choice)
    found, rng = ends(spuriosity(activations, labels, spurious), labels, most), np.random.default_rng(seed)
    ranked = {"least": found.bottom, "most": found.top, "random": np.zeros(0, dtype=np.int64)}[choice]
    chosen, done = [ranked], set(labels[ranked].tolist())
    for label in np.unique(labels).tolist():
        mine = rng.permutation(np.flatnonzero(labels == label))  # for each class, so that none hangs on another's
        if label not in done:
            chosen.append(mine[: max(1, min(most, len(mine) // 2))])
    return np.sort(np.concatenate(chosen))


@dataclass(frozen=True)
class Spuriosity:
    """choice: which end of each class, or as many at random, the control. most: images of a class. decay: how strongly
    the head is held where it was."""

    choice: Choice = "least"
    most: int = MOST
    decay: float = DECAY

    @property
    def ranks(self) -> bool:
        """Whether images are ranked by spuriosity."""
        return self.choice != "random"

    def places(
        self, activations: NDArray[np.floating], labels: NDArray[np.integer], spurious: NDArray[np.bool_], seed: int
    ) -> NDArray[np.int64]:
        """Those of `choose_rows`."""
        return choose_rows(activations, labels, spurious, self.choice, self.most, seed)

    def fit(self, data: Data) -> Fitted:
        """`fit_head` on all of them."""
        return fit_head(data.features, data.labels, data.weight, data.bias, self.decay)
