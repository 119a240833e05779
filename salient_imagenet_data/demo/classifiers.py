"""The demo's two classifiers: plain accuracy, on scenes whose cues say nothing, and with noise on core or spurious."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from salient_imagenet_data.geometry import Preprocessing
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
    decorrelated: ImageSource,
    sigmas: tuple[float, ...] = SIGMAS,
) -> Figures:
    """The figures of a classifier. source: the store's images. decorrelated: others, of the same classes."""
    from salient_imagenet_data.evaluation.evaluate import evaluate
    from salient_imagenet_data.evaluation.plan.plan import Conditions

    preprocessing = store.manifest.preprocessing
    result = evaluate(model, store, source, Conditions(PROTOCOLS, sigmas, controls=False))

    def masked(left: str) -> dict[str, Masked]:
        found = {f"{sigma:g}": result.left(left, sigma) for sigma in sigmas}
        return {sigma: Masked(c.accuracy, c.clean_accuracy) for sigma, c in found.items() if c is not None}

    return Figures(
        weights_sha256,
        accuracy(model, source, preprocessing),
        accuracy(model, decorrelated, preprocessing),
        result.spurious_gap,
        masked("core_accuracy"),
        masked("spurious_accuracy"),
    )


def accuracy(model: SmallNetModel | ImageClassifier, source: ImageSource, preprocessing: Preprocessing) -> Estimate:
    """Plain accuracy over all images, which are held in memory, with Wilson's interval."""
    from salient_imagenet_data.builder.attacking import correct
    from salient_imagenet_data.builder.train import load_images
    from salient_imagenet_data.evaluation.numbers.estimates import wilson

    pixels, labels, _ = load_images(source, preprocessing, 1 << 30)
    return wilson(int(correct(model, pixels, labels).sum()), len(pixels))
