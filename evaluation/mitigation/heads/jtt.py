"""Just train twice [Liu et al. 2021, arXiv 2107.09044], of a head: the images that it has wrong weigh more.

The paper trains a network, keeps what it has wrong, and trains another with those images repeated. Here the first
network is the one that is there, with its own head, and only its head is trained again. No group is needed for that;
groups choose how much more the errors weigh, as in the paper.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.mitigation.heads.fitting import DECAY, Data, Fitted, fit_head
from salient_imagenet_data.evaluation.mitigation.heads.holding_out import OfAll, answers, choose, why
from salient_imagenet_data.evaluation.numbers.groups import Groups, Rule

UPWEIGHTS = (4.0, 6.0, 20.0, 50.0, 100.0)
"""To choose from: 4, 6, 50 and 100 are those of the paper's code for its four data sets, 20 is between them."""


@dataclass(frozen=True)
class JTT(OfAll):
    """upweights: how often an error counts, to choose from. rule: the groups that choose. decay: as of `fit_head`."""

    upweights: tuple[float, ...] = UPWEIGHTS
    rule: Rule = Rule()  # noqa: RUF009 - frozen
    decay: float = DECAY

    def __post_init__(self) -> None:
        if not self.upweights or not all(1.0 <= w < math.inf for w in self.upweights):
            expected = "one or more numbers, each at least 1"
            raise SalientError("how often an error counts", expected=expected, got=str(self.upweights))

    def fit(self, data: Data) -> Fitted:
        """Of several weights the best on images held out. Raises SalientError where the head has nothing wrong."""
        wrong = errors(data)
        if not wrong.any():
            raise SalientError(
                "nothing to train twice on",
                expected="images that the network has wrong",
                got=f"0 of {len(wrong)}",
                then="use images that it was not trained on",
            )
        found = choose(self.upweights, self._half, data, data.groups(self.rule))
        upweight = self.upweights[0] if found is None else found.setting
        fitted = upweighted(data, wrong, upweight, self.decay)
        count = f"{int(wrong.sum())} of {len(wrong)} images are wrong and count {upweight:g} times"
        return replace(fitted, note=count + why(found, self.upweights))

    def _half(self, half: Data, groups: Groups, upweight: float) -> tuple[Tensor, Tensor | None]:
        fitted = upweighted(half, errors(half), upweight, self.decay)
        return fitted.weight, fitted.bias


def errors(data: Data) -> NDArray[np.bool_]:
    """(n,) bool: the images that the head that is there has wrong."""
    found: NDArray[np.bool_] = answers(data.features, data.weight, data.bias) != data.labels.cpu().numpy()
    return found


def upweighted(data: Data, wrong: NDArray[np.bool_], upweight: float, decay: float) -> Fitted:
    """`fit_head` where every wrong image counts `upweight` times, every other once."""
    weights = torch.from_numpy(np.where(wrong, upweight, 1.0)).to(data.features.device)
    return fit_head(data.features, data.labels, data.weight, data.bias, decay, weights=weights)
