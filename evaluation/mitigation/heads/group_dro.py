"""Group DRO [Sagawa et al. 2020, arXiv 1911.08731], of a head: the loss of the worst group is made small.

The paper trains a network by steps that shift weight to the group of the largest loss. For a head the same problem,

    min over W of max over groups g of (mean cross entropy of g + adjustment / sqrt(n_g)) + decay / 2 |W - W0|^2,

is convex, so its minimum is found: of the soft maximum t log sum_g exp(loss_g / t), which is above the maximum by at
most t log(number of groups), with t made smaller from search to search. Strong regularisation, on which the paper
insists, is the decay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.mitigation.heads.fitting import DECAY, MOST_STEPS, Data, Fitted, Loss, tune
from salient_imagenet_data.evaluation.mitigation.heads.holding_out import OfAll
from salient_imagenet_data.evaluation.numbers.groups import Rule

SOFTNESS = (1.0, 0.1, 0.01)
"""t, search by search."""
ADJUSTMENT = 0.0
"""The paper's C without adjustment; with it, it tries 1 to 5."""


@dataclass(frozen=True)
class GroupDRO(OfAll):
    """rule: the groups. adjustment: for how little a small group says of its loss. decay: as of `fit_head`."""

    rule: Rule = Rule()  # noqa: RUF009 - frozen
    adjustment: float = ADJUSTMENT
    decay: float = DECAY

    def __post_init__(self) -> None:
        if not 0.0 <= self.adjustment < math.inf:
            raise SalientError("adjustment", expected="a number, at least 0", got=str(self.adjustment))

    def fit(self, data: Data) -> Fitted:
        """On all images; a class without a cue is one group."""
        numbers, place = np.unique(data.groups(self.rule).index, return_inverse=True)
        group = torch.from_numpy(place).to(data.labels.device)
        head = data.features, data.labels, data.weight, data.bias
        fitted = tune(*head, softened(data.labels, group, self.adjustment), self.decay, MOST_STEPS)
        worst = []
        for weight, bias in ((data.weight, data.bias), (fitted.weight, fitted.bias)):
            logits = F.linear(data.features, weight.to(group.device), None if bias is None else bias.to(group.device))
            worst.append(float(group_losses(logits.double(), data.labels, group).max()))
        note = f"loss of the worst of {len(numbers)} groups {worst[0]:.4f} -> {worst[1]:.4f}"
        return replace(fitted, note=note)


def group_losses(logits: Tensor, labels: Tensor, group: Tensor) -> Tensor:
    """(G,) mean cross entropy of each group. logits: (n, C); labels, group: (n,), every number below G there."""
    sizes = torch.bincount(group)
    sums = torch.zeros(len(sizes), dtype=logits.dtype, device=logits.device)
    return sums.index_add(0, group, F.cross_entropy(logits, labels, reduction="none")) / sizes


def softened(labels: Tensor, group: Tensor, adjustment: float = ADJUSTMENT) -> tuple[Loss, ...]:
    """The soft maximum of the groups' losses, softer to harder."""
    extra = adjustment / torch.bincount(group).double().sqrt()

    def at(t: float) -> Loss:
        return lambda logits: t * torch.logsumexp((group_losses(logits, labels, group) + extra) / t, dim=0)

    return tuple(at(t) for t in SOFTNESS)
