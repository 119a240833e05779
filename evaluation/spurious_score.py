"""The spurious score of a classifier [Neuhaus et al. 2023]: does it take a class's spurious feature for the class?

For a class k there are images of it, and images that show its spurious feature without it. The score of a class is how
well p_k, the probability that the classifier gives k, tells the first from the second: 1 where every image of the class
has more than every other. The paper calls it an area under the ROC curve, its code computes the average precision, the
images of the class being the ones to find; both are given, each averaged over classes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from salient_imagenet_data.builder.units.batching import batches
from salient_imagenet_data.errors import ImageError, SalientError, some
from salient_imagenet_data.evaluation.numbers.bootstrap import estimate
from salient_imagenet_data.evaluation.numbers.estimates import Estimate
from salient_imagenet_data.evaluation.numbers.overlap import auroc
from salient_imagenet_data.evaluation.run.settings import DEFAULT, Settings
from salient_imagenet_data.evaluation.saliency.alignment import average_precision
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.imagenet import display_names, wnid_of_words
from salient_imagenet_data.images.source import ImageSource, labels_of
from salient_imagenet_data.networks.classifiers import Classifier, checked_logits
from salient_imagenet_data.networks.pixels import unit_images
from salient_imagenet_data.progress import progress

DRAWS = 1_000
"""Bootstrap draws of the images of either side of a class."""


@dataclass(frozen=True)
class OfClass:
    """images: of the class; spurious: of its spurious feature without it. probability, probability_spurious: mean p_k
    on either. called, called_spurious: share of either that is classified as k."""

    class_name: str
    images: int
    spurious: int
    auroc: float
    average_precision: float
    probability: float
    probability_spurious: float
    called: float
    called_spurious: float


@dataclass(frozen=True)
class SpuriousScore:
    """auroc, average_precision: means over classes, with percentile bootstraps over the images of either side of each.
    broken: images that could not be decoded, left out. settings: what was asked among which outputs."""

    model: dict[str, Any]
    auroc: Estimate
    average_precision: Estimate
    classes: tuple[OfClass, ...]
    broken: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def spurious_score(
    classifier: Classifier,
    images: ImageSource,
    spurious: ImageSource,
    *,
    settings: Settings = DEFAULT,
    report: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> SpuriousScore:
    """The score of a classifier whose outputs are the classes of `images` first, as `open_network` puts them.

    spurious: images by the class whose spurious feature they show, some of the classes of `images`, matched by name;
    only images of these classes are looked at. Images that cannot be decoded are left out and told. Raises SalientError
    for a class of the one that the other does not have, or that has no readable image on a side.
    """
    places = class_places(images.class_names, spurious.class_names)
    own_labels, labels = labels_of(images).astype(np.int64), places[labels_of(spurious)]
    rows = np.flatnonzero(np.isin(own_labels, labels))
    classifier = classifier.to(settings.device).among(settings.classes)
    if classifier.preprocessing is None:
        classifier = replace(classifier, preprocessing=Preprocessing())
        report(f"{classifier.name}: does not say how it wants images (attribute `preprocessing`): {Preprocessing()}")
    here = _answers(classifier, images, rows, own_labels[rows], settings)
    there = _answers(classifier, spurious, np.arange(len(spurious)), labels, settings)
    broken = len(rows) + len(spurious) - len(here) - len(there)
    if broken:
        report(f"{broken} images cannot be decoded and are left out")
    found, drawn = [], []
    for place, name in sorted(zip(places.tolist(), display_names(spurious.class_names), strict=True)):
        own, other = here.of(place), there.of(place)
        for side, answers in (("of the class", own), ("of its spurious feature", other)):
            if not len(answers):
                raise SalientError(f"class {name!r}: no readable image {side}", expected="at least one")
        both = np.concatenate([own.probability, other.probability])
        truth = np.arange(len(both)) < len(own)
        found.append(
            OfClass(
                name,
                len(own),
                len(other),
                auroc(both, truth),
                average_precision(both, truth),
                *(float(answers.probability.mean()) for answers in (own, other)),
                *(float(answers.called.mean()) for answers in (own, other)),
            )
        )
        drawn.append(resampled_scores(own.probability, other.probability, seed=place))
    means = np.mean(drawn, axis=0)
    kept = np.concatenate([here.labels, there.labels])
    return SpuriousScore(
        classifier.recorded,
        estimate(float(np.mean([c.auroc for c in found])), means[:, 0], kept),
        estimate(float(np.mean([c.average_precision for c in found])), means[:, 1], kept),
        tuple(found),
        broken,
    )


def resampled_scores(
    own: NDArray[np.floating], other: NDArray[np.floating], *, draws: int = DRAWS, seed: int = 0
) -> NDArray[np.float64]:
    """(draws, 2) AUROC and average precision of scores of either side (n,) and (m,), drawn anew with replacement."""
    rng, n, m = np.random.default_rng(seed), len(own), len(other)
    mine, theirs = (rng.multinomial(k, np.full(k, 1.0 / k), size=draws) for k in (n, m))  # how often each is drawn
    higher = (own[:, None] > other) + 0.5 * (own[:, None] == other)
    area = ((mine @ higher) * theirs).sum(axis=1) / (n * m)
    scores = np.concatenate([own, other])
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)
    hits = np.cumsum(np.concatenate([mine, 0 * theirs], axis=1)[:, order], axis=1)[:, last]
    seen = np.cumsum(np.concatenate([mine, theirs], axis=1)[:, order], axis=1)[:, last]
    gains = np.diff(hits, axis=1, prepend=0)
    precision = (gains * hits / np.maximum(seen, 1)).sum(axis=1) / n
    return np.stack([area, precision], axis=1)


def class_places(names: tuple[str, ...], some_of_them: tuple[str, ...]) -> NDArray[np.int64]:
    """Index of each of some classes among all, by name or by ImageNet's id of that name. Raises SalientError for one
    that is not there."""
    index = {wnid_of_words(name): i for i, name in enumerate(names)} | {name: i for i, name in enumerate(names)}
    places = [index.get(name, index.get(wnid_of_words(name))) for name in some_of_them]
    lost = [name for name, place in zip(some_of_them, places, strict=True) if place is None]
    if lost:
        raise SalientError(
            "images of spurious features: classes that are not among those of the images",
            expected=f"classes such as {some(display_names(names)[:3])}",
            got=some(lost),
            then="name each folder after the class whose spurious feature its images show",
        )
    return np.array(places, dtype=np.int64)


@dataclass(frozen=True)
class _Answers:
    """Of n images: labels: (n,) the class k that is asked for; probability: (n,) p_k; called: (n,) it is the answer."""

    labels: NDArray[np.int64]
    probability: NDArray[np.float64]
    called: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, label: int) -> _Answers:
        mine = self.labels == label
        return _Answers(self.labels[mine], self.probability[mine], self.called[mine])


def _answers(
    classifier: Classifier, source: ImageSource, rows: NDArray[np.integer], asked: NDArray[np.int64], settings: Settings
) -> _Answers:
    """What the classifier says of each readable image. asked: (n,) the class of each of the rows (n,)."""
    assert classifier.preprocessing is not None
    of_row = dict(zip(rows.tolist(), asked.tolist(), strict=True))
    failed: list[tuple[int, ImageError]] = []
    labels, probability, called = [np.zeros(0, np.int64)], [np.zeros(0)], [np.zeros(0, np.bool_)]
    with torch.inference_mode(), progress((), total=len(rows), what=classifier.name) as bar:
        for batch in batches(
            source,
            rows.tolist(),
            classifier.preprocessing,
            settings.batch_size,
            failed,
            threads=max(1, settings.workers),
        ):
            output = classifier.model(unit_images(batch.images.permute(0, 2, 3, 1).to(settings.device)))
            logits = checked_logits(output, len(batch.indices), classifier.outputs(output.shape[-1])).double().cpu()
            mine = np.array([of_row[index] for index in batch.indices.tolist()], dtype=np.int64)
            labels.append(mine)
            probability.append(logits.softmax(dim=1).numpy()[np.arange(len(mine)), mine])
            called.append(logits.argmax(dim=1).numpy() == mine)
            bar.update(len(mine))
    return _Answers(np.concatenate(labels), np.concatenate(probability), np.concatenate(called))


def table(scores: list[SpuriousScore]) -> str:
    """For people: of each model its means, then its classes from the least score."""
    lines = []
    for score in scores:
        lines += [
            f"{score.model['name']}: spurious score over {len(score.classes)} classes",
            f"  AUROC {score.auroc.words}, average precision {score.average_precision.words}",
            f"  {'class':<28} {'images':>6} {'spurious':>8} {'AUROC':>6} {'AP':>6}   p_k: own, spurious   called k",
        ]
        for c in sorted(score.classes, key=lambda c: c.auroc):
            name = c.class_name if len(c.class_name) <= 28 else c.class_name[:27] + "…"
            lines.append(
                f"  {name:<28} {c.images:>6} {c.spurious:>8} {c.auroc:>6.3f} {c.average_precision:>6.3f}"
                f"   {c.probability:>8.3f} {c.probability_spurious:>9.3f} {c.called:>8.3f} {c.called_spurious:>6.3f}"
            )
    return "\n".join(lines)
