"""In which order pixels can be masked so that a classifier stays sure of a class: pure functions on tensors.

Backward selection [Carter et al. 2019] masks, one after another, the feature whose loss leaves the class's probability
p highest. Batched Gradient SIS [Carter et al. 2021] masks k features at a time, those with the largest dp/dM of the
mask M, in ceil(n / k) forward and backward passes. A feature is a pixel with its channels, or a square cell of pixels.
Both are done for a whole batch of images at once.

Features are compared by the log odds log p / (1 - p) instead of p: that orders them alike, being monotone in p and its
gradient that of p times a positive number, and it goes on where p is rounded to 1 or 0 and has no gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.networks.classifiers import Model


@dataclass(frozen=True)
class Selected:
    """order: (B, n) int64, cells by row and column in the order of masking. confidence: (B, T + 1) float32, the class's
    probability before each of T steps, and at the end, where all is masked."""

    order: Tensor
    confidence: Tensor


def gradient_selection(
    model: Model, images: Tensor, classes: Tensor, fill: Tensor, *, step: int, cell: int = 1
) -> Selected:
    """Batched Gradient SIS: `step` cells at a time, within a step those of the largest gradient first.

    images: (B, 3, S, S) in [0, 1]; their memory layout is what the model gets. classes: (B,) int64, whose probability
    is to stay. fill: (3,) or (3, 1, 1), what masked pixels become. The last step may be smaller. Raises SalientError
    for a model without a gradient or with logits that are not finite.
    """
    away, masked = _colour(fill) - images, _nothing(images, cell)
    n, pixels = masked.shape[1], _pixels(images, cell)
    shown, flat_fill = composed(images, masked, fill, cell), fill.reshape(1, 3, 1)  # shown: changed where it changes
    order = torch.empty_like(masked, dtype=torch.int64)
    odds = []
    for start in range(0, n, step):
        here, gradient = _odds_and_gradient(model, shown, classes)
        effect = (gradient * away).sum(dim=1, keepdim=True)
        if not bool(torch.isfinite(effect.sum())):
            raise SalientError("the model's gradient holds NaN or infinities", expected="finite numbers")
        if cell > 1:
            effect = F.avg_pool2d(effect, cell)  # by which sums are ordered too
        scores = effect.flatten(1).masked_fill_(masked, -torch.inf)
        chosen = scores.topk(min(step, n - start), dim=1).indices
        order[:, start : start + step] = chosen
        masked.scatter_(1, chosen, True)
        gone = pixels[chosen].flatten(1)[:, None].expand(-1, 3, -1)
        shown.view(len(images), 3, -1).scatter_(2, gone, flat_fill.expand_as(gone))
        odds.append(here)
    with torch.no_grad():
        odds.append(_odds(model, shown, classes))
    return Selected(order, torch.stack(odds, dim=1).sigmoid().float())


def backward_selection(
    model: Model, images: Tensor, classes: Tensor, fill: Tensor, *, cell: int = 1, at_once: int = 256
) -> Selected:
    """Backward selection, exactly: n (n + 1) / 2 forward passes an image of n cells, `at_once` at a time. Of equal ones
    the first cell goes. Arguments and errors as of `gradient_selection`; no gradient is needed."""
    masked = _nothing(images, cell)
    b, n = masked.shape
    order = torch.empty_like(masked, dtype=torch.int64)
    with torch.no_grad():
        odds = [_odds(model, composed(images, masked, fill, cell), classes)]
        for done in range(n):
            left = (~masked).nonzero()  # by image, n - done of each
            parts = []
            for which, cells in (left[start : start + at_once].T for start in range(0, len(left), at_once)):
                tried = masked[which].scatter(1, cells[:, None], True)
                parts.append(_odds(model, composed(images[which], tried, fill, cell), classes[which]))
            table = torch.cat(parts).view(b, n - done)
            best = table.argmax(dim=1, keepdim=True)
            chosen = left[:, 1].view(b, n - done).gather(1, best)
            order[:, done] = chosen[:, 0]
            masked.scatter_(1, chosen, True)
            odds.append(table.gather(1, best)[:, 0])
    return Selected(order, torch.stack(odds, dim=1).sigmoid().float())


def composed(images: Tensor, masked: Tensor, fill: Tensor, cell: int = 1) -> Tensor:
    """Images (B, 3, S, S) with `fill` where masked. masked: (B, n) bool by cell, or (B, S, S). Keeps the layout."""
    side = images.shape[-1] // cell
    where = masked.view(len(images), 1, side, side)
    if cell > 1:
        where = where.repeat_interleave(cell, dim=2).repeat_interleave(cell, dim=3)
    last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
    layout = torch.channels_last if last else torch.contiguous_format
    return torch.where(where, _colour(fill), images).contiguous(memory_format=layout)


def log_odds(logits: Tensor, classes: Tensor) -> Tensor:
    """(B,) log p / (1 - p) of a class each. logits: (B, C), C >= 2."""
    index = classes[:, None]
    rest = logits.scatter(1, index, -torch.inf).logsumexp(dim=1)
    return logits.gather(1, index)[:, 0] - rest


def _odds(model: Model, images: Tensor, classes: Tensor) -> Tensor:
    logits = model(images)
    if not bool(torch.isfinite(logits).all()):
        raise SalientError("model's output holds NaN or infinities", expected="finite logits")
    return log_odds(logits.double() if logits.dtype == torch.float64 else logits.float(), classes)


def _odds_and_gradient(model: Model, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        images = images.detach().requires_grad_(True)
        odds = _odds(model, images, classes)
        if not odds.requires_grad:
            raise SalientError("the model has no gradient", then="use backward selection, which needs none")
        (gradient,) = torch.autograd.grad(odds.sum(), images)
    return odds.detach(), gradient


def _nothing(images: Tensor, cell: int) -> Tensor:
    """(B, n) bool: no cell is masked."""
    return torch.zeros(len(images), (images.shape[-1] // cell) ** 2, dtype=torch.bool, device=images.device)


def _pixels(images: Tensor, cell: int) -> Tensor:
    """(n, cell * cell) int64: the pixels of each cell, by row and column of the image."""
    side = images.shape[-1]
    index = torch.arange(side * side, device=images.device).view(1, 1, side, side).double()
    return F.unfold(index, cell, stride=cell)[0].T.long()


def _colour(fill: Tensor) -> Tensor:
    return fill.reshape(1, 3, 1, 1)
