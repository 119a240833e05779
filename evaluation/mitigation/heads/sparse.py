"""The minimum of a smooth convex function plus an l1 penalty, by OWL-QN [Andrew & Gao 2007].

That is L-BFGS on one side of 0 at a time: each step stays in the orthant that the slope points into, and what would
cross 0 stops there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from salient_imagenet_data.errors import SalientError

FLAT, MOST_STEPS, MEMORY, HALVINGS = 1e-3, 5000, 10, 40
"""The largest slope that counts as the minimum; steps to get there; past steps that tell the
curvature; how often a step is halved."""
ENOUGH = 1e-4
"""Of the decrease that the slope promises, the part that a step must bring."""


def sparse_minimum(
    at: Callable[[Tensor], tuple[Tensor, Tensor]], start: Tensor, threshold: Tensor, flat: float = FLAT
) -> tuple[Tensor, int]:
    """Where f(w) + sum of threshold * |w| is least, and the steps to get there.

    at: w -> f(w) and its slope. start: where the search begins. threshold: at least 0, as start or broadcast to it.
    Raises SalientError where the slope is not below `flat` after `MOST_STEPS`, or no step goes down.
    """
    w, penalty = start.clone(), threshold.expand_as(start)
    value, slope = at(w)
    past: deque[tuple[Tensor, Tensor]] = deque(maxlen=MEMORY)
    for steps in range(MOST_STEPS):
        leaning = steepest(w, slope, penalty)
        if float(leaning.abs().max()) <= flat:
            return w, steps
        way = -curved(leaning, past)
        way = torch.where(way * leaning < 0, way, 0.0)
        if not past:
            way = way / leaning.norm().clamp_min(1.0)
        side = torch.where(w == 0, -leaning.sign(), w.sign())
        before = value + (penalty * w.abs()).sum()
        for _ in range(HALVINGS):
            there = w + way
            there = torch.where((penalty > 0) & (there.sign() != side), 0.0, there)
            value, new = at(there)
            if value + (penalty * there.abs()).sum() <= before + ENOUGH * (leaning * (there - w)).sum():
                break
            way = way / 2.0
        else:
            if not past:
                break
            past.clear()  # what was learnt of the curvature is of no use here
            value, slope = at(w)
            continue
        moved, turned = there - w, new - slope
        if float((moved * turned).sum()) > 1e-14:
            past.append((moved, turned))
        w, slope = there, new
    raise SalientError(
        "the head was not fitted",
        expected=f"a slope below {flat:g} within {MOST_STEPS} steps",
        got=f"{float(steepest(w, slope, penalty).abs().max()):.1g}",
        then="use a smaller C (--penalty)",
    )


def steepest(w: Tensor, slope: Tensor, penalty: Tensor) -> Tensor:
    """The slope with the penalty's, as near 0 as can be where w is 0: all 0 at the minimum, and only there."""
    at_zero = slope.sign() * (slope.abs() - penalty).clamp_min(0.0)
    return torch.where(w == 0, at_zero, slope + penalty * w.sign())


def curved(slope: Tensor, past: deque[tuple[Tensor, Tensor]]) -> Tensor:
    """The slope over the curvature that past steps (moved, turned) tell, by L-BFGS' two loops [Nocedal 1980]."""
    way, shares = slope.clone(), []
    for moved, turned in reversed(past):
        share = (moved * way).sum() / (moved * turned).sum()
        way = way - share * turned
        shares.append(share)
    if past:
        moved, turned = past[-1]
        way = way * (moved * turned).sum() / turned.square().sum()
    for (moved, turned), share in zip(past, reversed(shares), strict=True):
        way = way + (share - (turned * way).sum() / (moved * turned).sum()) * moved
    return way
