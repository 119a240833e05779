"""Which units have more relevance in a cluster of images than in the others, or less: what to look at first. Pure
functions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

DRAWS = 200
"""Clusters of the same size, drawn at random, that a unit is held against."""
LEAST = 3
"""Images that a cluster must have, and leave, for units to be nominated."""
MATTERS = 0.01
"""Of all positive relevance of the class, what a unit must have more in the cluster."""


@dataclass(frozen=True)
class Nominated:
    """unit: its number. inside, outside: its mean relevance in the cluster and in the class's other images, in logits.
    effect: their difference in standard deviations, negative for a unit that the cluster lacks. chance: the effect that
    the best of all units exceeds in one of twenty random clusters of that size."""

    unit: int
    inside: float
    outside: float
    effect: float
    chance: float


def nominated(
    relevance: NDArray[np.floating], chosen: NDArray[np.bool_], most: int = 3, seed: int = 0
) -> tuple[Nominated, ...]:
    """At most so many units, by how much more relevance they have inside, in logits: of those that speak for the class
    there, with an effect beyond chance, and a difference that matters.

    relevance: (N, F) of the class's images. chosen: (N,) those of the cluster. None where the cluster or the rest is of
    fewer than `LEAST` images.
    """
    inside, outside = int(chosen.sum()), int((~chosen).sum())
    if min(inside, outside) < LEAST:
        return ()
    values = relevance.astype(np.float64)
    rng = np.random.default_rng(seed)
    drawn = np.stack([rng.permutation(chosen) for _ in range(DRAWS)])
    chance = float(np.quantile(effects(values, drawn).max(axis=1), 0.95))
    (effect,) = effects(values, chosen[None])
    means, rest = values[chosen].mean(axis=0), values[~chosen].mean(axis=0)
    good = (effect > chance) & (means > 0) & (means - rest > MATTERS * np.maximum(values.mean(axis=0), 0.0).sum())
    order = np.argsort(-np.where(good, means - rest, -np.inf), kind="stable")[:most]
    return tuple(
        Nominated(int(unit), float(means[unit]), float(rest[unit]), float(effect[unit]), chance)
        for unit in order
        if good[unit]
    )


def lacking(
    relevance: NDArray[np.floating], chosen: NDArray[np.bool_], most: int = 3, seed: int = 0
) -> tuple[Nominated, ...]:
    """At most so many units that have less relevance in a cluster than in the class's other images: those that would be
    nominated for the others. Where a cluster is of the few images without a cue, they are of the cue."""
    others = nominated(relevance, ~chosen, most, seed)
    return tuple(replace(n, inside=n.outside, outside=n.inside, effect=-n.effect) for n in others)


def effects(values: NDArray[np.float64], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(A, F) of values (N, F) and A choices (A, N) of equally many: the mean of the chosen minus that of the others, in
    standard deviations of both about their means [Cohen's d]; 0 where nothing varies."""
    weights = chosen.astype(np.float64)
    inside = weights.sum(axis=1, keepdims=True)
    outside = chosen.shape[1] - inside
    total, squares = values.sum(axis=0), (values**2).sum(axis=0)
    sums = weights @ values
    means, rest = sums / inside, (total - sums) / outside
    within = np.maximum(squares - inside * means**2 - outside * rest**2, 0.0) / max(chosen.shape[1] - 2, 1)
    # What is left by rounding where nothing varies is no deviation.
    spread = np.sqrt(np.where(within > 1e-12 * np.maximum(squares / chosen.shape[1], 1e-300), within, 0.0))
    result: NDArray[np.float64] = np.divide(means - rest, spread, out=np.zeros_like(means), where=spread > 0)
    return result
