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
    act_diff   ||h(x~) - h(x)||_2 of the head's inputs h, x~ = x with the pixels outside M permuted among themselves

`corm` is no loss: half of the images are classified with Gaussian noise (sigma 0.25) on 1 - M, core risk minimisation
[Singla, Moayeri, Feizi 2022]. `none` is the same training without guidance, the control of all others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.attributions import Method, attributions
from salient_imagenet_data.evaluation.heads import features_and_logits
from salient_imagenet_data.loaders.corruptions import GaussianNoise, Shuffle, corrupt

TINY = 1e-12
"""Denominators are at least this: maps of zeros give a loss, and no gradient, instead of NaN."""
FLOOR = 1e-6
"""`ppce` takes A+ / max(A+) to be at least this: the logarithm of 0 has no gradient to learn from."""

Guide = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Images (B, 3, S, S) in [0, 1], labels (B,), masks (B, 1, S, S) in [0, 1] -> logits (B, C) and the loss (B,)."""


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
    return ((1.0 - masks) * (maps / maps.abs().amax(dim=(1, 2), keepdim=True).clamp_min(TINY)) ** 2).sum(dim=(1, 2))


def _scaled(positive: Tensor) -> Tensor:
    return positive / positive.amax(dim=(1, 2), keepdim=True).clamp_min(TINY)


ON_MAPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "energy": energy,
    "l1": l1,
    "ppce": ppce,
    "rrr_star": rrr_star,
}
LOSSES = ("none", *ON_MAPS, "rrr", "grad_mask", "act_diff", "corm")
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
    attributions. generator: on the CPU, for the random numbers of `act_diff` and `corm`. Raises SalientError for an
    unknown name, or where what a loss needs is not given.
    """
    if name not in LOSSES:
        raise SalientError("guidance loss is not known", expected=", ".join(LOSSES), got=name)
    made: Guide
    if name in ON_MAPS:
        if looking is None:
            raise SalientError(f"{name}: needs to know where to look", expected="Looking(method, layer)")
        made = partial(_on_maps, model, ON_MAPS[name], looking)
    elif name in ("act_diff", "corm"):
        if generator is None:
            raise SalientError(f"{name}: draws random numbers", expected="a generator")
        made = partial(_act_diff if name == "act_diff" else _corm, model, generator)
    else:
        made = partial({"none": _none, "rrr": _rrr, "grad_mask": _grad_mask}[name], model)
    # The loaders' images and masks are tensors of types of their own, whose kind has no place in a graph.
    return lambda images, labels, masks: made(images.as_subclass(Tensor), labels, masks.as_subclass(Tensor))


def _none(model: nn.Module, images: Tensor, labels: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    logits = model(images)
    return logits, logits.new_zeros(len(logits))


def _on_maps(
    model: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    looking: Looking,
    images: Tensor,
    labels: Tensor,
    masks: Tensor,
) -> tuple[Tensor, Tensor]:
    maps, logits = attributions(model, images, labels, looking.method, looking.layer, differentiable=True)
    return logits, loss(maps, masks[:, 0])


def _rrr(model: nn.Module, images: Tensor, labels: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    inputs = images.detach().requires_grad_(True)
    logits = model(inputs)
    (gradient,) = torch.autograd.grad(logits.log_softmax(dim=1).sum(), inputs, create_graph=True)
    return logits, (((1.0 - masks) * gradient) ** 2).sum(dim=(1, 2, 3))


def _grad_mask(model: nn.Module, images: Tensor, labels: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    inputs = images.detach().requires_grad_(True)
    logits = model(inputs)
    own = nn.functional.one_hot(labels, logits.shape[1]).bool()
    contrast = logits[own] - logits.masked_fill(own, -torch.inf).amax(dim=1)
    (gradient,) = torch.autograd.grad(contrast.sum(), inputs, create_graph=True)
    return logits, ((1.0 - masks) * gradient).abs().sum(dim=(1, 2, 3))


def _act_diff(
    model: nn.Module, generator: torch.Generator, images: Tensor, labels: Tensor, masks: Tensor
) -> tuple[Tensor, Tensor]:
    outside = (masks < 0.5).to(images.dtype)
    shuffled = corrupt(images, outside, Shuffle(), _seeds(len(images), generator))
    features, logits = features_and_logits(model, torch.cat([images, shuffled]))
    own, other = features.chunk(2)
    return logits[: len(images)], torch.linalg.vector_norm(other - own, dim=1)


def _corm(
    model: nn.Module, generator: torch.Generator, images: Tensor, labels: Tensor, masks: Tensor
) -> tuple[Tensor, Tensor]:
    drawn = (torch.rand(len(images), 1, 1, 1, generator=generator) < CORM_SHARE).to(masks)
    noisy = corrupt(images, (1.0 - masks) * drawn, GaussianNoise(CORM_SIGMA), _seeds(len(images), generator))
    return _none(model, noisy, labels, masks)


def _seeds(count: int, generator: torch.Generator) -> list[int]:
    seeds: list[int] = torch.randint(0, 1 << 62, (count,), generator=generator).tolist()
    return seeds
