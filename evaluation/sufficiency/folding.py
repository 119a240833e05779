"""Fewer passes over memory for a network that is asked thousands of times: batch normalisation inside convolutions.

A batch normalisation that is not training is a multiple and a sum for each channel, which the weights of the
convolution before it can hold: the same function up to the rounding of floats, without a pass forward and one backward.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from salient_imagenet_data.networks.classifiers import Model

Pair = tuple[nn.Conv2d, nn.BatchNorm2d]
TOLERANCE = 1e-4
"""Of the largest logit, by which logits may differ: far more than float32 rounds to, far less than any other cause."""


@contextmanager
def folded(model: Model, images: Tensor) -> Iterator[int]:
    """While it lasts a network's batch normalisations are part of the convolutions before them; then it is as it was.
    Yields how many.

    images: (B, 3, S, S) to try it on. One is folded where it is given the output of one convolution, each time that
    either of the two runs. If logits then differ by more than `TOLERANCE`, because something else sees that output too,
    none is.
    """
    if not isinstance(model, nn.Module):
        yield 0
        return
    names = {module: name for name, module in model.named_modules()}
    pairs, logits = _pairs(model, images)
    try:
        for conv, norm in pairs:
            model.set_submodule(names[conv], fuse_conv_bn_eval(conv, norm))
            model.set_submodule(names[norm], nn.Identity())
        if pairs and not _alike(model, images, logits):
            _unfold(model, names, pairs)
            pairs = []
        yield len(pairs)
    finally:
        _unfold(model, names, pairs)


def _pairs(model: nn.Module, images: Tensor) -> tuple[list[Pair], Tensor]:
    """Convolutions, each with the normalisation that is given its output whenever either runs; and the logits."""
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # with the tensor itself, so that an id is that of one
    runs: list[nn.Module] = []
    found: list[Pair] = []

    def seen(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        runs.append(module)
        if isinstance(module, nn.Conv2d):
            made[id(output)] = module, output
        elif isinstance(module, nn.BatchNorm2d) and given and id(given[0]) in made:
            found.append((made[id(given[0])][0], module))

    hooks = [m.register_forward_hook(seen) for m in model.modules() if type(m) is nn.Conv2d or _fixed(m)]
    try:
        with torch.no_grad():
            logits = model(images)
    finally:
        for hook in hooks:
            hook.remove()
    always = [pair for pair in dict.fromkeys(found) if {runs.count(module) for module in pair} == {found.count(pair)}]
    return always if isinstance(logits, Tensor) else [], logits


def _fixed(module: nn.Module) -> bool:
    """Whether it is a batch normalisation by what it has seen, not by the batch."""
    return type(module) is nn.BatchNorm2d and not module.training and module.running_mean is not None


def _alike(model: nn.Module, images: Tensor, logits: Tensor) -> bool:
    with torch.no_grad():
        return bool((model(images) - logits).abs().max() <= TOLERANCE * logits.abs().max())


def _unfold(model: nn.Module, names: dict[nn.Module, str], pairs: list[Pair]) -> None:
    for module in (module for pair in pairs for module in pair):
        model.set_submodule(names[module], module)
