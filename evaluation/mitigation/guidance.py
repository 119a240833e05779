"""Losses that make a classifier look at the core: terms to add to the classification loss.

Of attributions A, with A+ = max(A, 0), on a region M [Rao et al. 2023, "Studying how to efficiently and effectively
guide models with explanations"]; soft masks weigh pixels where the paper's boxes count them:

    energy    1 - sum(A+ M) / sum(A+)
    l1        mean |A+ / max(A+) - M|
    ppce      mean over M of -log(A+ / max(A+))
    rrr_star  sum((1 - M) (A / max|A|)^2)

Of gradients and features, with o = 1 - M [Viviano et al. 2021, "Saliency is a possible red herring"]:

    rrr        sum((o d/dx sum_k log p_k)^2) [Ross et al. 2017]
    grad_mask  sum |o d(y_label - y_rival)/dx|, the rival the highest other logit: |y_0 - y_1| of two classes
    act_diff   ||h(x~) - h(x)||_2 of the head's inputs h, x~ = x with the pixels of o > 0.5 permuted among themselves
    adversarial  how well a discriminator, which learns beside the network, tells h(x) from h(x~) (`adversary`)

`corm` is no loss: half of the images are classified with Gaussian noise (sigma 0.25) on 1 - c, c being M dilated and
divided by its peak as in the protocol "corm2022": core risk minimisation [Singla, Moayeri, Feizi 2022]. `none` is the
same training without guidance, the control of all others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.mitigation.adversary import Adversary
from salient_imagenet_data.evaluation.mitigation.choices import LOSSES
from salient_imagenet_data.evaluation.mitigation.heads.retrain import features_and_logits, head_of
from salient_imagenet_data.evaluation.saliency.attributions import attributions, twice_differentiable
from salient_imagenet_data.evaluation.saliency.methods import Method
from salient_imagenet_data.loaders.controls import region_masks
from salient_imagenet_data.loaders.corruption.corruptions import corrupt
from salient_imagenet_data.loaders.corruption.records import GaussianNoise, Shuffle
from salient_imagenet_data.loaders.region import OUTSIDE_CORE

TINY = 1e-12
"""Denominators are at least this: maps of zeros give a loss, and no gradient, instead of NaN."""
FLOOR = 1e-6
"""`ppce` takes A+ / max(A+) to be at least this: the logarithm of 0 has no gradient to learn from."""


class Guide(Protocol):
    """What `guidance` makes."""

    def __call__(
        self, images: Tensor, labels: Tensor, masks: Tensor, known: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits (B, C) and the loss of each image (B,), both with gradients.

        images: (B, 3, S, S) in [0, 1]. labels: (B,). masks: M, (B, 1, S, S) in [0, 1]. known: (B, 1, S, S), False or 0
        where nothing is known of a pixel: there nothing is asked of the network, and no pixel is changed.
        """
        ...


@dataclass(frozen=True)
class _Batch:
    """images: (B, 3, S, S). labels: (B,). known, inside, outside: (B, 1, S, S), the latter M and 1 - M where known."""

    images: Tensor
    labels: Tensor
    known: Tensor
    inside: Tensor
    outside: Tensor


def energy(maps: Tensor, masks: Tensor) -> Tensor:
    """maps (B, H, W) signed, masks (B, H, W) in [0, 1] -> (B,) in [0, 1]."""
    positive = maps.clamp_min(0.0)
    return 1.0 - (positive * masks).sum(dim=(1, 2)) / positive.sum(dim=(1, 2)).clamp_min(TINY)


def l1(maps: Tensor, masks: Tensor) -> Tensor:
    """maps (B, H, W) signed, masks (B, H, W) in [0, 1] -> (B,) in [0, 1]."""
    return (_scaled(maps.clamp_min(0.0)) - masks).abs().mean(dim=(1, 2))


def ppce(maps: Tensor, masks: Tensor) -> Tensor:
    """maps (B, H, W) signed, masks (B, H, W) in [0, 1] -> (B,) >= 0; 0 for an empty mask."""
    surprise = -_scaled(maps.clamp_min(0.0)).clamp_min(FLOOR).log()
    return (surprise * masks).sum(dim=(1, 2)) / masks.sum(dim=(1, 2)).clamp_min(TINY)


def rrr_star(maps: Tensor, masks: Tensor) -> Tensor:
    """maps (B, H, W) signed, masks (B, H, W) in [0, 1] -> (B,) >= 0: a sum over pixels."""
    return ((1.0 - masks) * _scaled(maps) ** 2).sum(dim=(1, 2))


def _scaled(maps: Tensor) -> Tensor:
    return maps / maps.abs().amax(dim=(1, 2), keepdim=True).clamp_min(TINY)


ON_MAPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "energy": energy,
    "l1": l1,
    "ppce": ppce,
    "rrr_star": rrr_star,
}
CORM_SIGMA, CORM_SHARE = 0.25, 0.5


@dataclass(frozen=True)
class Looking:
    """Where the losses on attributions look. layer: as of `attributions`."""

    method: Method
    layer: str


def guidance(
    name: str, model: nn.Module, looking: Looking | None = None, *, generator: torch.Generator | None = None
) -> Guide:
    """The guide of a loss: one call gives a batch's logits and its losses, both with gradients.

    model: over images in [0, 1], in evaluation mode, so that images do not mix. looking: for the losses on
    attributions. generator: on the CPU, for the random numbers of `act_diff`, `adversarial` and `corm`. The guide of
    `adversarial` keeps its discriminator from one call to the next: each call teaches it first, so take the gradient of
    one before the next. Raises SalientError for an unknown name, or where what a loss needs is not given.
    """
    if name not in LOSSES:
        raise SalientError("guidance loss is not known", expected=", ".join(LOSSES), got=name)
    made: Callable[[_Batch], tuple[Tensor, Tensor]]
    if name in ON_MAPS:
        if looking is None:
            raise SalientError(f"{name}: needs to know where to look", expected="Looking(method, layer)")
        made = partial(_on_maps, model, ON_MAPS[name], looking)
    elif name in DRAWING:
        if generator is None:
            raise SalientError(f"{name}: draws random numbers", expected="a generator")
        made = DRAWING[name](model, generator)
    else:
        made = partial({"none": _none, "rrr": _rrr, "grad_mask": _grad_mask}[name], model)

    def guide(images: Tensor, labels: Tensor, masks: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
        # The loaders' images and masks are tensors of types of their own, whose kind has no place in a graph.
        images, masks = images.as_subclass(Tensor), masks.as_subclass(Tensor)
        known = torch.ones_like(masks) if known is None else known.to(masks.dtype)
        return made(_Batch(images, labels, known, masks * known, (1.0 - masks) * known))

    return guide


def _none(model: nn.Module, batch: _Batch) -> tuple[Tensor, Tensor]:
    logits = model(batch.images)
    return logits, logits.new_zeros(len(logits))


def _on_maps(
    model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], looking: Looking, batch: _Batch
) -> tuple[Tensor, Tensor]:
    maps, logits = attributions(model, batch.images, batch.labels, looking.method, looking.layer, differentiable=True)
    maps = _full(maps)  # half precision has no number as small as TINY
    return logits, loss(maps * batch.known[:, 0], batch.inside[:, 0])


def _full(values: Tensor) -> Tensor:
    """In single precision where they are in half."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _rrr(model: nn.Module, batch: _Batch) -> tuple[Tensor, Tensor]:
    logits, slope = _slope(model, batch.images, lambda y: y.log_softmax(dim=1).sum())
    return logits, ((batch.outside * slope) ** 2).sum(dim=(1, 2, 3))


def _grad_mask(model: nn.Module, batch: _Batch) -> tuple[Tensor, Tensor]:
    def contrast(logits: Tensor) -> Tensor:
        own = nn.functional.one_hot(batch.labels, logits.shape[1]).bool()
        return (logits[own] - logits.masked_fill(own, -torch.inf).amax(dim=1)).sum()

    logits, slope = _slope(model, batch.images, contrast)
    return logits, (batch.outside * slope).abs().sum(dim=(1, 2, 3))


def _slope(model: nn.Module, images: Tensor, value: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Logits, and the differentiable gradient (B, 3, S, S) of a number made of them with respect to the images."""
    inputs = images.detach().requires_grad_(True)
    with twice_differentiable():
        logits = model(inputs)
        (slope,) = torch.autograd.grad(value(logits), inputs, create_graph=True)
    return logits, slope


class _Permuted:
    """Logits (B, C), and the features (B, F) of a batch's images and of the same images with the pixels outside the
    core permuted among themselves."""

    def __init__(self, model: nn.Module, generator: torch.Generator) -> None:
        self.model, self.generator = model, generator
        self.head: nn.Linear | None = None

    def __call__(self, batch: _Batch) -> tuple[Tensor, Tensor, Tensor]:
        if self.head is None:
            _, self.head = head_of(self.model, batch.images[:2])
        outside = _moved(batch).to(batch.images.dtype)
        shuffled = corrupt(batch.images, outside, Shuffle(), _seeds(len(outside), self.generator))
        features, logits = features_and_logits(self.model, self.head, torch.cat([batch.images, shuffled]))
        own, other = features.chunk(2)
        return logits[: len(outside)], own, other


def _moved(batch: _Batch) -> Tensor:
    """(B, 1, S, S) bool: pixels that are permuted."""
    return batch.outside > 0.5


def _act_diff(model: nn.Module, generator: torch.Generator) -> Callable[[_Batch], tuple[Tensor, Tensor]]:
    permuted = _Permuted(model, generator)

    def loss(batch: _Batch) -> tuple[Tensor, Tensor]:
        logits, own, other = permuted(batch)
        return logits, torch.linalg.vector_norm(other - own, dim=1)

    return loss


def _adversarial(model: nn.Module, generator: torch.Generator) -> Callable[[_Batch], tuple[Tensor, Tensor]]:
    permuted, (seed,) = _Permuted(model, generator), _seeds(1, generator)
    adversary: Adversary | None = None

    def loss(batch: _Batch) -> tuple[Tensor, Tensor]:
        nonlocal adversary
        logits, own, other = permuted(batch)
        own, other = _full(own), _full(other)
        # Of an image in which nothing is permuted both are the same: it teaches nothing, and nothing is asked of it.
        differ = _moved(batch).flatten(1).any(dim=1).to(own.device)
        found = own.new_zeros(len(own))
        if differ.any():
            if adversary is None:
                adversary = Adversary(own.shape[1], own, seed)
            adversary.learn(own[differ], other[differ])
            found = found.index_put((differ.nonzero()[:, 0],), adversary.deceived(own[differ], other[differ]))
        return logits, found

    return loss


def _corm(model: nn.Module, generator: torch.Generator) -> Callable[[_Batch], tuple[Tensor, Tensor]]:
    return partial(_noisy, model, generator)


def _noisy(model: nn.Module, generator: torch.Generator, batch: _Batch) -> tuple[Tensor, Tensor]:
    wide = OUTSIDE_CORE.at(batch.inside.shape[-1])
    where = region_masks(batch.inside, batch.inside, wide).to(batch.inside) * batch.known
    drawn = (torch.rand(len(where), 1, 1, 1, generator=generator) < CORM_SHARE).to(where)
    noisy = corrupt(batch.images, where * drawn, GaussianNoise(CORM_SIGMA), _seeds(len(where), generator))
    return _none(model, replace(batch, images=noisy))


def _seeds(count: int, generator: torch.Generator) -> list[int]:
    seeds: list[int] = torch.randint(0, 1 << 62, (count,), generator=generator).tolist()
    return seeds


DRAWING: dict[str, Callable[[nn.Module, torch.Generator], Callable[[_Batch], tuple[Tensor, Tensor]]]] = {
    "act_diff": _act_diff,
    "adversarial": _adversarial,
    "corm": _corm,
}
"""Losses that draw random numbers."""
