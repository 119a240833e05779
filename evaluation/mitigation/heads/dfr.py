"""Deep feature reweighting, DFR [Kirichenko et al. 2023, arXiv 2204.02937]: a new head on as many images of each group.

Features are standardised, as many images of every group as the smallest has are drawn, a logistic regression with an l1
penalty is fitted on them from nothing, and that several times, with other draws; the head is the mean of all. How
strong the penalty is, is chosen on half of the images by the worst group. The paper's code fits one class against the
rest with liblinear, for two classes; here it is one softmax over all of them, whose bias is not penalised.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.mitigation.heads.fitting import Data, Fitted
from salient_imagenet_data.evaluation.mitigation.heads.holding_out import OfAll, choose, part, why
from salient_imagenet_data.evaluation.mitigation.heads.sparse import FLAT, sparse_minimum
from salient_imagenet_data.evaluation.numbers.groups import Groups, Rule

PENALTIES = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)
"""scikit-learn's C, the inverse of the penalty, to choose from: those of the paper's code."""
DRAWS = 10
"""Heads that are averaged, as the paper does."""


@dataclass(frozen=True)
class DFR(OfAll):
    """rule: the groups. penalties: C, to choose from. draws: heads that are averaged."""

    rule: Rule = Rule()  # noqa: RUF009 - frozen
    penalties: tuple[float, ...] = PENALTIES
    draws: int = DRAWS

    def __post_init__(self) -> None:
        if not self.penalties or not all(0.0 < c < math.inf for c in self.penalties) or self.draws < 1:
            expected = "one or more numbers above 0, and at least one draw"
            raise SalientError("penalty", expected=expected, got=f"{self.penalties}, {self.draws} draws")

    def fit(self, data: Data) -> Fitted:
        """Raises SalientError where an output of the head has no image: nothing would keep it in place."""
        outputs, seen = len(data.weight), len(torch.unique(data.labels))
        if seen < outputs:
            raise SalientError(
                "dfr fits a head from nothing",
                expected=f"images of each of its {outputs} outputs",
                got=f"of {seen}",
                then="use --classes store, or a larger part of the images",
            )
        groups = data.groups(self.rule)
        found = choose(self.penalties, self._half, data, groups)
        c = self.penalties[0] if found is None else found.setting
        weight, bias, steps, images = averaged(data, groups, c, self.draws)
        size, count = int(groups_sizes(groups).min()), len(groups_sizes(groups))
        note = f"C {c:g}{why(found, self.penalties)}; {self.draws} draws of {size} images of each of {count} groups"
        before, after = (
            float(F.cross_entropy(_logits(data.features, w, b), data.labels))
            for w, b in ((data.weight, data.bias), (weight, bias))
        )
        kept = weight.to(data.weight.dtype).cpu(), None if bias is None else bias.to(data.weight.dtype).cpu()
        return Fitted(*kept, steps, (before, after), images, note)

    def _half(self, half: Data, groups: Groups, c: float) -> tuple[Tensor, Tensor | None]:
        return averaged(half, groups, c, 1)[:2]  # one draw, as the paper's code


def groups_sizes(groups: Groups) -> NDArray[np.int64]:
    """Images of each group that has any, a class without a cue being one."""
    sizes: NDArray[np.int64] = np.unique(groups.index, return_counts=True)[1]
    return sizes


def balanced(index: NDArray[np.integer], rng: np.random.Generator) -> NDArray[np.int64]:
    """(m,) places, ascending, of as many images of each group as the smallest has, drawn without replacement."""
    least = int(np.unique(index, return_counts=True)[1].min())
    drawn = [rng.permutation(np.flatnonzero(index == group))[:least] for group in np.unique(index).tolist()]
    return np.sort(np.concatenate(drawn))


def averaged(data: Data, groups: Groups, c: float, draws: int) -> tuple[Tensor, Tensor | None, int, int]:
    """The mean head of some draws, for features as they are: weight (C, F) and bias (C,) or None, float64; steps of all
    searches; images of a draw. Features are standardised by all images, which a head without a bias does not centre."""
    x = data.features.double()
    mean = x.mean(dim=0) if data.bias is not None else torch.zeros_like(x[0])
    spread = (x - x.mean(dim=0)).square().mean(dim=0).sqrt()
    spread = torch.where(spread > 0, spread, torch.ones_like(spread))
    rng, classes = np.random.default_rng(data.seed), len(data.weight)
    weight, bias, steps, images = x.new_zeros(classes, x.shape[1]), x.new_zeros(classes), 0, 0
    for _ in range(draws):
        places = balanced(groups.index, rng)
        half = part(data, places)
        z = (half.features.double() - mean) / spread
        w, b, more = sparse_head(z, half.labels, classes, c, with_bias=data.bias is not None)
        weight, bias, steps, images = weight + w / draws, bias + b / draws, steps + more, len(places)
    weight = weight / spread
    return weight, (bias - weight @ mean if data.bias is not None else None), steps, images


def sparse_head(
    x: Tensor, labels: Tensor, classes: int, c: float, *, with_bias: bool = True, flat: float = FLAT
) -> tuple[Tensor, Tensor, int]:
    """The head, weight (C, F) and bias (C,), that minimises C * sum of cross entropies + sum of |W|, and steps taken.

    x: (n, F) float64; labels: (n,). flat: as of `sparse_minimum`. On 8,000 scenes a tenth of the usual changes at most
    0.6 % of the answers, and the accuracy by 0.001. Raises SalientError where the search does not get there.
    """
    n, features = x.shape
    inputs = torch.cat([x, torch.ones_like(x[:, :1])], dim=1) if with_bias else x
    threshold = torch.full((inputs.shape[1],), 1.0 / (c * n), dtype=x.dtype, device=x.device)
    threshold[features:] = 0.0
    target = F.one_hot(labels, classes).to(x.dtype)

    def at(head: Tensor) -> tuple[Tensor, Tensor]:
        logits = inputs @ head.T
        return F.cross_entropy(logits, labels), (logits.softmax(dim=1) - target).T @ inputs / n

    head, steps = sparse_minimum(at, x.new_zeros(classes, inputs.shape[1]), threshold, flat)
    return head[:, :features], head[:, features] if with_bias else x.new_zeros(classes), steps


def _logits(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    logits = features.double() @ weight.double().T
    return logits if bias is None else logits + bias.double()
