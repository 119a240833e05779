"""Relevance of a network's units, from the grid that its head stands on to the image, by zennit's rules.

Of class c and unit j with map a_j (h x w) and weight w_cj: R_j = r_j w_cj = mean_p a_j(p) w_cj, exactly, since the head
is linear on the mean; it is what features are ranked by. At the grid a place has a_j(p) w_cj / (h w) of it. Below, the
z+ rule [Bach et al. 2015; Montavon et al. 2017] hands on what a place has to its inputs in proportion to their positive
contributions, biases left out, so that sums stay; the flat rule [Lapuschkin et al. 2019] shares it evenly at the first
layer; at depthwise convolutions see `_plus_with_bias`. What is asked of one unit is propagated alone: relevance
conditioned on a concept, CRP [Achtibat et al. 2023]. The rules are linear in what is handed on, so that the map of a
unit for another class is the same times a number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from salient_imagenet_data.errors import SalientError, not_installed
from salient_imagenet_data.evaluation.relevance.canonical import Body, Sum, body_of
from salient_imagenet_data.evaluation.relevance.choices import Rules
from salient_imagenet_data.networks.robust import ImageClassifier
from salient_imagenet_data.networks.smallnet import SmallNetModel

LOST = 0.05
"""Share of the relevance that may be lost or gained on its way."""


@dataclass(frozen=True)
class Passed:
    """Images that went through once. grid: (B, F, h, w), without gradients."""

    grid: Tensor
    _output: Tensor
    _input: Tensor

    @property
    def pooled(self) -> Tensor:
        """(B, F), the head's input."""
        return self.grid.mean(dim=(2, 3))

    def relevance(self, start: Tensor) -> Tensor:
        """Relevance at the grid (B, F, h, w) -> at the image (B, S, S), signed, over the colours summed."""
        (found,) = torch.autograd.grad(self._output, self._input, start, retain_graph=True)
        return found.sum(dim=1).detach()

    def start(self, weight: Tensor) -> Tensor:
        """What all units have at the grid, by the weights (B, F) of each image's class: adds up to its logit, less the
        head's bias."""
        return self.grid * weight[:, :, None, None] / (self.grid.shape[2] * self.grid.shape[3])

    def activation(self, unit: int) -> Tensor:
        """What one unit has at the grid of its own pooled value; times its weight it is its share of `start`."""
        alone = torch.zeros_like(self.grid)
        alone[:, unit] = self.grid[:, unit] / (self.grid.shape[2] * self.grid.shape[3])
        return alone


class Propagation:
    """A network that relevance is propagated through. weight: (C, F), of its head. Raises SalientError for one that it
    cannot be, and where zennit is not installed."""

    def __init__(self, model: SmallNetModel | ImageClassifier, rules: Rules = "epsilon_plus_flat") -> None:
        self.name, self.weight = model.architecture, model.weight
        self.body: Body = body_of(model)
        self._composite = _composite(rules, self.body.layers)

    def to(self, device: str) -> Propagation:
        """The same on a device."""
        self.body.layers.to(device)
        self.weight = self.weight.to(device)
        return self

    @contextmanager
    def passed(self, images: Tensor) -> Iterator[Passed]:
        """Some images (B, 3, S, S) in [0, 1] on their way; relevance is asked of what this gives, inside."""
        with self._composite.context(self.body.layers) as layers, torch.enable_grad():
            output = layers(images)
            assert self.body.start.seen is not None
            yield Passed(output.detach(), output, self.body.start.seen)


def check_conserved(propagation: Propagation, images: Tensor, label: int) -> float:
    """How much of what a class has at the grid comes out at the image, summed over images: 1 if all does.

    Of positive shares alone, so that what is lost of one sign is not made up for by the other. Raises SalientError
    where it is further than `LOST` from 1.
    """
    with propagation.passed(images) as passed:
        start = passed.start(propagation.weight[label].expand(len(images), -1)).clamp_min(0.0)
        share = float(passed.relevance(start).sum() / start.detach().sum())
    if not abs(share - 1.0) <= LOST:
        raise SalientError(
            f"{propagation.name}: relevance is not conserved on its way to the image",
            expected=f"a share of {1 - LOST:g} to {1 + LOST:g}",
            got=f"{share:.3g}",
            then="its maps would say little; use another network",
        )
    return share


def _composite(rules: Rules, layers: nn.Module) -> Any:
    """Zennit's composite for the steps of a network. Raises SalientError where zennit is not installed."""
    try:
        from zennit.composites import EpsilonPlus, EpsilonPlusFlat, MixedComposite, NameMapComposite
        from zennit.rules import Norm
    except ModuleNotFoundError as error:
        raise not_installed("zennit", "relevance") from error
    depthwise = [
        name for name, m in layers.named_modules() if isinstance(m, nn.Conv2d) and m.groups == m.in_channels > 1
    ]
    kind = {"epsilon_plus_flat": EpsilonPlusFlat, "epsilon_plus": EpsilonPlus}[rules]
    plain = kind(zero_params="bias", layer_map=[((Sum,), Norm())])
    return MixedComposite([NameMapComposite([(depthwise, _plus_with_bias())]), plain])


def _plus_with_bias() -> Any:
    """The z+ rule, with what a positive bias gave shared evenly over the inputs of each place [Bach et al. 2015].

    For depthwise convolutions: a place of theirs sees one channel, and after a linear bottleneck nothing in it may be
    positive but the bias, where z+ would have nobody to hand its relevance to.
    """
    from zennit.core import BasicHook, ParamMod, Stabilizer
    from zennit.rules import ClampMod

    stable = Stabilizer.ensure(1e-6)

    def only(kept: str, value: Callable[[Tensor], Tensor]) -> Any:
        return ParamMod(lambda tensor, name: value(tensor) if name == kept else torch.zeros_like(tensor))

    def shares(relevance: Tensor, outputs: list[Tensor]) -> list[Tensor]:
        positive, negative, inputs, bias = outputs
        each = relevance / stable(positive + negative + bias)
        return [each, each, each * bias / inputs, torch.zeros_like(each)]

    return BasicHook(
        input_modifiers=[lambda x: x.clamp(min=0), lambda x: x.clamp(max=0), torch.ones_like, torch.zeros_like],
        param_modifiers=[
            ClampMod(min=0.0, zero_params="bias"),
            ClampMod(max=0.0, zero_params="bias"),
            only("weight", torch.ones_like),
            only("bias", lambda bias: bias.clamp(min=0)),
        ],
        output_modifiers=[lambda output: output] * 4,
        gradient_mapper=shares,
        reducer=lambda inputs, gradients: inputs[0] * gradients[0] + inputs[1] * gradients[1] + gradients[2],
    )
