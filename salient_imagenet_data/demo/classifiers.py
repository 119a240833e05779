"""The demo's two classifiers: plain accuracy, on scenes whose cues say nothing, and with noise on core or spurious."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.images.source import ImageSource
from salient_imagenet_data.store.reading import Store

if TYPE_CHECKING:
    from salient_imagenet_data.evaluation.numbers.estimates import Estimate
    from salient_imagenet_data.networks.robust import ImageClassifier
    from salient_imagenet_data.networks.smallnet import SmallNetModel

SIGMAS = (0.25, 0.5)
"""Noise levels. 0.25 is the paper's, for photographs; these scenes are plainer, and 0.5 tells more."""
PROTOCOLS = ("iclr2022", "spuriosity2023")
"""Noise on core and spurious pixels, and the spurious gap."""

Crops = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images in the store's crop frame, (N, crop, crop, 3), and their labels, (N,)."""


@dataclass(frozen=True)
class Masked:
    """Accuracy with noise, and clean of the same images; class averages."""

    accuracy: Estimate
    clean_accuracy: Estimate


@dataclass(frozen=True)
class Figures:
    """What the demo says of a classifier. clean: accuracy on the store's scenes. decorrelated: on scenes whose cue says
    nothing about the class. spurious_gap: accuracy on each class's images that show most of its spurious features,
    minus that on those that show least; None without such features. core, spurious: by noise level, the evaluation's
    core and spurious accuracy."""

    weights_sha256: str
    clean: Estimate
    decorrelated: Estimate
    spurious_gap: Estimate | None
    core: dict[str, Masked]
    spurious: dict[str, Masked]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def figures_of(
    model: SmallNetModel | ImageClassifier,
    weights_sha256: str,
    store: Store,
    source: ImageSource,
    crops: Crops,
    decorrelated: Crops,
    sigmas: tuple[float, ...] = SIGMAS,
) -> Figures:
    """The figures of a classifier. source: the store's images. crops: all of them, of which the evaluation
    reads only those that its conditions are of. decorrelated: others, of the same classes."""
    from salient_imagenet_data.evaluation.evaluate import evaluate
    from salient_imagenet_data.evaluation.plan.plan import Conditions

    result = evaluate(model, store, source, Conditions(PROTOCOLS, sigmas, controls=False))

    def masked(left: str) -> dict[str, Masked]:
        found = {f"{sigma:g}": result.left(left, sigma) for sigma in sigmas}
        return {sigma: Masked(c.accuracy, c.clean_accuracy) for sigma, c in found.items() if c is not None}

    return Figures(
        weights_sha256,
        accuracy(model, crops),
        accuracy(model, decorrelated),
        result.spurious_gap,
        masked("core_accuracy"),
        masked("spurious_accuracy"),
    )


def accuracy(model: SmallNetModel | ImageClassifier, crops: Crops) -> Estimate:
    """Plain accuracy over all crops, with Wilson's interval."""
    from salient_imagenet_data.builder.attacking import correct
    from salient_imagenet_data.evaluation.numbers.estimates import wilson

    hits = correct(model, *crops)
    return wilson(int(hits.sum()), len(hits))
