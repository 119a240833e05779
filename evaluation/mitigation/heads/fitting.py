"""Tuning a linear head: what the methods of `retrain_head` share.

Every method sees the same: features of images, their labels and spuriosity, and the head that is there. A head that is
tuned starts there and is held there, and the minimum is unique: neither the order of images nor a learning rate plays a
part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.numbers.groups import Groups, Rule, groups_of

DECAY = 1e-3
MOST_STEPS = 500
SLOPE = 1e-6
"""The largest derivative of the objective at which L-BFGS stops."""
FLAT = 1e-4
"""The largest derivative of the objective that counts as its minimum; times the decay, its least curvature, above 1."""


@dataclass(frozen=True)
class Fitted:
    """A head, on the CPU. weight: (C, F); bias: (C,) or None. steps: of the search for the minimum. loss: mean cross
    entropy, before and after. images: how many it was fitted on. note: what else was found, "" for nothing."""

    weight: Tensor
    bias: Tensor | None
    steps: int
    loss: tuple[float, float]
    images: int
    note: str = ""


@dataclass(frozen=True)
class Data:
    """What a head is fitted on. features: (n, F) float32; labels: (n,) int64, on one device, as weight (C, F) and bias
    (C,) or None, the head that is there. scores: (n,) spuriosity, NaN in a class without a spurious feature; has_cue:
    (C',) bool by class of the store. seed: of all that is drawn."""

    features: Tensor
    labels: Tensor
    weight: Tensor
    bias: Tensor | None
    scores: NDArray[np.float64]
    has_cue: NDArray[np.bool_]
    seed: int = 0

    def groups(self, rule: Rule) -> Groups:
        """The groups of the images. Raises SalientError where no class has a spurious feature."""
        found = groups_of(self.scores, self.labels.cpu().numpy(), self.has_cue, rule)
        if not found.counted.any():
            raise SalientError("no groups", expected="a class with a spurious feature", got="none")
        return found


class HeadMethod(Protocol):
    """How a head is fitted anew."""

    @property
    def ranks(self) -> bool:
        """Whether it goes by spuriosity."""
        ...

    def places(
        self, activations: NDArray[np.floating], labels: NDArray[np.integer], spurious: NDArray[np.bool_], seed: int
    ) -> NDArray[np.int64]:
        """Of n images those whose features are needed, ascending. activations: (n, K) of the class's own features;
        labels: (n,); spurious: (C, K) bool."""

    def fit(self, data: Data) -> Fitted:
        """A head for the features of these images."""


Loss = Callable[[Tensor], Tensor]
"""Logits (n, C) float64 -> a number, convex in them."""


def fit_head(
    features: Tensor,
    labels: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    decay: float = DECAY,
    most_steps: int = MOST_STEPS,
    weights: Tensor | None = None,
) -> Fitted:
    """Tune a linear head from where it is: the minimum of

        mean cross entropy + decay / 2 * (s^2 |W - W0|^2 + |b - b0|^2),  s^2 = mean of squared features,

    as `tune` finds it. features: (n, F) float32; labels: (n,) int64; weight: (C, F) and bias: (C,) float32, or None for
    a head without. weights: (n,) of the images in the mean, or None: all alike.
    """
    share = None if weights is None else weights.double() / weights.double().sum()

    def loss(logits: Tensor) -> Tensor:
        if share is None:
            return F.cross_entropy(logits, labels)
        return share @ F.cross_entropy(logits, labels, reduction="none")

    return tune(features, labels, weight, bias, (loss,), decay, most_steps)


def tune(
    features: Tensor,
    labels: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    losses: tuple[Loss, ...],
    decay: float = DECAY,
    most_steps: int = MOST_STEPS,
) -> Fitted:
    """The minimum of the last of some convex losses + decay / 2 * (s^2 |W - W0|^2 + |b - b0|^2), s^2 = mean of squared
    features; each search but the first starts from the minimum of the loss before. Reckoned in float64: in float32 the
    line search loses its way in the rounding of the loss before the slope is near 0.

    Raises SalientError for a decay that is not above 0, or where L-BFGS does not get there in `most_steps` for a loss.
    """
    if not decay > 0:
        raise SalientError("decay", expected="a number > 0, which makes the minimum unique", got=str(decay))
    x = features.double()
    scale = x.square().mean().sqrt().clamp_min(1e-12)
    x, start = x / scale, weight.double() * scale
    if bias is not None:
        x, start = torch.cat([x, torch.ones_like(x[:, :1])], dim=1), torch.cat([start, bias.double()[:, None]], dim=1)
    before = F.cross_entropy(x @ start.T, labels).item()
    change, steps = torch.zeros_like(start), 0
    for loss in losses:
        change, more = _minimum(x, start, change, loss, decay, most_steps)
        steps += more
    found = start + change
    after = F.cross_entropy(x @ found.T, labels).item()
    inputs = features.shape[1]
    found[:, :inputs] /= scale
    found = found.to(weight.dtype).cpu()
    fitted = found[:, :inputs].contiguous(), None if bias is None else found[:, inputs].contiguous()
    return Fitted(*fitted, steps, (before, after), len(labels))


def _minimum(x: Tensor, start: Tensor, change: Tensor, loss: Loss, decay: float, most_steps: int) -> tuple[Tensor, int]:
    """The change of the head at the minimum, searched from `change`, and the number of steps."""
    change = change.clone().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [change],
        max_iter=most_steps,
        max_eval=4 * most_steps,
        tolerance_grad=SLOPE,
        tolerance_change=0.0,  # only a slope says that it is the minimum
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        objective = loss(x @ (start + change).T) + decay / 2 * change.square().sum()
        objective.backward()  # type: ignore[no-untyped-call]
        return objective

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    closure()
    assert change.grad is not None
    steps, slope = int(optimiser.state[change]["n_iter"]), float(change.grad.abs().max())
    if not slope <= FLAT * max(1.0, decay):
        raise SalientError(
            "the head was not fitted",
            expected=f"a gradient below {FLAT:g} within {most_steps} steps",
            got=f"{slope:.1g} after {steps}",
            then="use a larger decay",
        )
    return change.detach(), steps
