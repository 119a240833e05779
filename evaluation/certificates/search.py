"""Masks of one size that make a class as probable as they can: pure functions on tensors.

What counts is the best of many masks that hold the same values as a given one, put elsewhere: the largest log odds of
any of some classes. Such masks are the corners of a polytope, on which a linear function is largest where the values
lie in the function's order. So the search is Frank and Wolfe's [1956]: from the mean of all such masks, sort by the
gradient, try the corner, and go there by 2 / (t + 2) of the way. Masks are smooth, as a store's: the gradient is summed
in the cells of a coarse grid and interpolated before it is sorted.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.sufficiency.selection import log_odds
from salient_imagenet_data.loaders.controls import field_places, moved
from salient_imagenet_data.networks.classifiers import Model


def searched(
    model: Model, images: Tensor, hidden: Tensor, masks: Tensor, allowed: Tensor, *, steps: int, grid: int
) -> Tensor:
    """(B, 1, S, S) masks with the values of `masks`, the best found of these and one a step.

    images: (B, 3, S, S) in [0, 1]. hidden: the same with all pixels hidden; between the two lies what the model sees.
    masks: (B, 1, S, S) in [0, 1]. allowed: (B, C) bool, the classes of which one is to become probable, at least one
    of an image and not all. grid: cells a side. Takes `steps` passes forward and back, and one pass more than these
    forward. Raises SalientError for a model without a gradient, or with numbers that are not finite.
    """
    best, odds = masks, _best_odds(model, seen(images, hidden, masks), allowed)
    relaxed = masks.mean(dim=(2, 3), keepdim=True).expand_as(masks)
    for step in range(steps):
        slope = _slope(model, images, hidden, relaxed, allowed)
        corner = moved(masks, field_places(F.adaptive_avg_pool2d(slope, grid), masks.shape[2:]))
        there = _best_odds(model, seen(images, hidden, corner), allowed)
        better = there > odds
        best, odds = torch.where(better[:, None, None, None], corner, best), torch.where(better, there, odds)
        relaxed = torch.lerp(relaxed, corner, 2.0 / (step + 2.0))
    return best


def seen(images: Tensor, hidden: Tensor, masks: Tensor) -> Tensor:
    """Images where the masks are 1, and what hides them where they are 0, in the images' memory layout."""
    last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
    layout = torch.channels_last if last else torch.contiguous_format
    return torch.lerp(hidden, images, masks).contiguous(memory_format=layout)


def _best_odds(model: Model, images: Tensor, allowed: Tensor) -> Tensor:
    with torch.no_grad():
        return _odds(model(images), allowed)


def _odds(logits: Tensor, allowed: Tensor) -> Tensor:
    """(B,) log odds of the likeliest class that is allowed."""
    if not bool(torch.isfinite(logits).all()):
        raise SalientError("model's output holds NaN or infinities", expected="finite logits")
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return log_odds(logits, logits.masked_fill(~allowed, -torch.inf).argmax(dim=1))


def _slope(model: Model, images: Tensor, hidden: Tensor, masks: Tensor, allowed: Tensor) -> Tensor:
    """(B, 1, S, S) gradient of the log odds with respect to the masks."""
    with torch.enable_grad():
        masks = masks.detach().clone().requires_grad_(True)
        odds = _odds(model(seen(images, hidden, masks)), allowed)
        if not odds.requires_grad:
            raise SalientError("the model has no gradient", then="search with 0 steps, which needs none")
        (gradient,) = torch.autograd.grad(odds.sum(), masks)
    if not bool(torch.isfinite(gradient.sum())):
        raise SalientError("the model's gradient holds NaN or infinities", expected="finite numbers")
    return gradient
