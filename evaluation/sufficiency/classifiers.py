"""The two ways that Carter et al. [2021] found to make sufficient subsets larger, as classifiers: ensembles and input
dropout.

Each averages probabilities and returns their logarithms, which are logits of the same probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.networks.classifiers import Classifier

MASKS = 4
"""Dropout masks whose probabilities are averaged, the same for every image, so that the classifier is a function."""


class Ensemble(nn.Module):
    """The mean probability of several networks over the same images."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] -> (B, C) log probabilities."""
        return _mean([network(images) for network in self.networks])


class InputDropout(nn.Module):
    """The mean probability of a network over images in which each pixel is dropped with a probability, for fixed masks.

    fill: (3,) the colour of a dropped pixel. The masks are drawn from the seed.
    """

    kept: Tensor
    fill: Tensor

    def __init__(
        self,
        network: nn.Module,
        probability: float,
        side: int,
        fill: Sequence[float],
        *,
        masks: int = MASKS,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.network = network
        generator = torch.Generator().manual_seed(seed)
        kept = torch.rand(masks, 1, side, side, generator=generator) >= probability
        self.register_buffer("kept", kept, persistent=False)
        self.register_buffer("fill", torch.tensor(fill).reshape(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] -> (B, C) log probabilities."""
        return _mean([self.network(torch.where(kept, images, self.fill.to(images.dtype))) for kept in self.kept])


def check_members(count: int) -> None:
    """Raise SalientError for fewer than two."""
    if count < 2:
        raise SalientError("ensemble", expected="two or more models", got=str(count))


def check_probability(probability: float) -> None:
    """Raise SalientError for one that is not inside (0, 1)."""
    if not 0.0 < probability < 1.0:
        raise SalientError("input dropout", expected="a probability above 0 and below 1", got=f"{probability:g}")


def ensemble_of(classifiers: Sequence[Classifier]) -> Classifier:
    """Several classifiers as one. Raises SalientError for fewer than two, functions, or classifiers that want their
    images differently."""
    check_members(len(classifiers))
    first = classifiers[0]
    other = next((c for c in classifiers if c.preprocessing != first.preprocessing), None)
    if other is not None:
        raise SalientError(
            f"ensemble: {other.name} wants its images otherwise than {first.name}",
            expected=str(first.preprocessing),
            got=str(other.preprocessing),
        )
    network = Ensemble([_network(c) for c in classifiers]).eval()
    details = {"spec": "ensemble", "of": [c.recorded for c in classifiers]}
    like = all(c.channels_last for c in classifiers)
    return Classifier(f"ensemble of {len(classifiers)}", network, first.preprocessing, details, like)


def with_input_dropout(
    classifier: Classifier, probability: float, side: int, fill: Sequence[float], seed: int = 0
) -> Classifier:
    """A classifier that drops input pixels where it is used. side: of its crop. Raises SalientError for a probability
    that is not inside (0, 1), or a function."""
    check_probability(probability)
    network = InputDropout(_network(classifier), probability, side, fill, seed=seed).eval()
    dropped = {"probability": probability, "masks": MASKS, "fill": list(fill), "seed": seed}
    details = {**classifier.details, "input_dropout": dropped}
    return replace(classifier, model=network, details=details)


def _network(classifier: Classifier) -> nn.Module:
    if not isinstance(classifier.model, nn.Module):
        raise SalientError(f"{classifier.name}: expected a network", got=type(classifier.model).__name__)
    return classifier.model


def _mean(logits: Sequence[Tensor]) -> Tensor:
    """(B, C) logarithm of the mean of the probabilities that logits give."""
    log_p = torch.stack([each.float().log_softmax(dim=1) for each in logits])
    return log_p.logsumexp(dim=0) - math.log(len(logits))
