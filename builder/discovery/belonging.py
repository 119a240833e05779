"""Whether people's answers are about this network: an index alone cannot tell, the network's own ranking can.

The annotated features of a class are its own most important ones [Singla & Feizi 2022], so on any images of the class
the right network ranks nearly all of them near the top, and another network, whose neurons carry other numbers, as few
as chance does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError

NEAR = 20
"""Places of the ranking that count as near the top, but at most a quarter of the features."""
SHARE = 0.8
"""Of the annotated features, what a right network has near the top at least (measured: `benchmarks/belonging.py`)."""
RARE = 1e-3
"""Refused are answers that fewer than one right network in a thousand would give."""


@dataclass(frozen=True)
class Belonging:
    """found: annotated features near the top, of `pairs`. near: places that count. chance: what another network
    has there, as a share."""

    found: int
    pairs: int
    near: int
    chance: float

    @property
    def share(self) -> float:
        return self.found / self.pairs

    @property
    def likely(self) -> bool:
        """Whether a right network could well give this."""
        tail = math.fsum(
            math.comb(self.pairs, k) * SHARE**k * (1.0 - SHARE) ** (self.pairs - k) for k in range(self.found + 1)
        )
        return tail >= RARE


def belonging(importance: NDArray[np.floating], pairs: NDArray[np.integer]) -> Belonging | None:
    """How many annotated features are near the top of their class's ranking.

    importance: (C, F) mean of feature times weight over the class's images; a row that is not finite, or all zeros, is
    of a class without images and does not count. pairs: (C, K) features of each class, -1 where there is none. None
    where there is nothing to go by: no such class, or so few features that chance has half of them near the top.
    """
    features, most = importance.shape[1], pairs.shape[1]
    near = max(min(NEAR, features // 4), most)
    if 2 * near > features:
        return None
    there = np.isfinite(importance).all(axis=1) & (importance != 0).any(axis=1)
    top = np.argsort(-importance[there], axis=1, kind="stable")[:, :near]
    given = pairs[there]
    hits = (given[:, :, None] == top[:, None, :]).any(axis=2) & (given >= 0)
    count = int((given >= 0).sum())
    return Belonging(int(hits.sum()), count, near, near / features) if count else None


def check_belonging(found: Belonging | None) -> None:
    """Raise SalientError if the answers can hardly be about this network."""
    if found is None or found.likely:
        return
    raise SalientError(
        f"the answers are about another network: {found.found} of their {found.pairs} features are among the "
        f"{found.near} most important of their class",
        expected=f"nearly all (another network has {found.chance:.0%} there by chance)",
        got=f"{found.share:.0%}",
        then="give the weights that the answers were made with, or --trust-annotations to go on all the same",
    )
