"""The weight of a guidance loss, chosen on images that are held out of its training, so that methods are compared at
weights that nobody picked by looking at the outcome.

A quarter of the images, by a hash of their ids, is held out. The network is trained on the others once for each weight
of a grid. Of the held-out images the least spurious fifth of each class is looked at, by the spuriosity that the
store's activations give [Moayeri et al. 2023]: what shows a class's cues least is the nearest to images without cues
that can be had without knowing more than the store. The weight with the highest accuracy there, the mean over classes,
is chosen; of equals the smallest.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.localisation.truth import Truth
from salient_imagenet_data.evaluation.mitigation.choices import WEIGHTLESS
from salient_imagenet_data.evaluation.mitigation.finetune import FinetuneConfig, finetune_on
from salient_imagenet_data.evaluation.numbers.estimates import Estimate, class_average
from salient_imagenet_data.evaluation.plan.regions import labels_of
from salient_imagenet_data.evaluation.run.images import ItemBatch, Items
from salient_imagenet_data.evaluation.run.settings import SMALL, Settings
from salient_imagenet_data.folds import numbers_of
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.joining import Joined
from salient_imagenet_data.names import SPURIOUS
from salient_imagenet_data.networks.classifiers import Classifier, network_of
from salient_imagenet_data.networks.pixels import unit_images
from salient_imagenet_data.ranking.spuriosity import check_known, spuriosity

PARTS = 4
"""One of so many parts is held out."""
LEAST = 0.2
"""Share of a class's held-out images that is looked at, those of least spuriosity."""
CRITERION = "accuracy on the least spurious fifth of each class's held-out images, mean over classes"


@dataclass(frozen=True)
class Tried:
    """One weight. least: the criterion. held_out: accuracy on all held-out images, mean over classes."""

    weight: float
    least: Estimate
    held_out: Estimate

    @property
    def words(self) -> str:
        """In one line."""
        return (
            f"weight {self.weight:g}: {self.least.words} on the least spurious, {self.held_out.words} on all held out"
        )


@dataclass(frozen=True)
class Sweep:
    """chosen: the weight. tried: all, ascending. trained_on, held_out: how many images. criterion: in words."""

    chosen: float
    tried: tuple[Tried, ...]
    trained_on: int
    held_out: int
    criterion: str = CRITERION


def held_out(image_ids: Sequence[str]) -> NDArray[np.bool_]:
    """(n,) whether an image is held out. Independent of its fold, which is by another hash."""
    held: NDArray[np.bool_] = numbers_of(f"held out {image_id}" for image_id in image_ids) % np.uint64(PARTS) == 0
    return held


def least_spurious(
    scores: NDArray[np.floating], labels: NDArray[np.integer], share: float = LEAST
) -> NDArray[np.int64]:
    """(m,) positions, ascending, of the share of each class's images that has the least spuriosity, at least one.

    scores: (n,) as of `spuriosity`; a class of NaN has none. labels: (n,). Equal ones go by position.
    """
    chosen = [np.zeros(0, dtype=np.int64)]
    for label in np.unique(labels[~np.isnan(scores)]).tolist():
        mine = np.flatnonzero((labels == label) & ~np.isnan(scores))
        order = mine[np.argsort(scores[mine], kind="stable")]
        chosen.append(order[: max(1, int(share * len(mine)))])
    return np.sort(np.concatenate(chosen))


@dataclass(frozen=True)
class Parts:
    """Images in two parts. training: to train on. testing: held out. labels: (n,) of the latter. least: positions among
    them of the least spurious."""

    training: Joined
    testing: Joined
    labels: NDArray[np.int64]
    least: NDArray[np.int64]


def parted(joined: Joined) -> Parts:
    """Images of a store, parted by `held_out`. Raises SalientError where none is left to train on, or none that is held
    out can be ranked by spuriosity."""
    store = joined.store
    held = held_out(store.rows.image_ids.take(pa.array(joined.rows)).to_pylist())
    training, testing = joined.take(np.flatnonzero(~held)), joined.take(np.flatnonzero(held))
    labels = labels_of(store)[testing.rows]
    check_known(store.activations[testing.rows], store.path)
    scores = spuriosity(store.activations[testing.rows], labels, store.kind_table[SPURIOUS])
    least = least_spurious(scores, labels)
    if not len(training) or not len(least):
        raise SalientError(
            f"{store.path}: no weight can be chosen",
            expected="images to train on, and others held out, of classes with a spurious feature",
            got=f"{len(training)} to train on, {len(testing)} held out, {len(least)} of them ranked",
            then="give the weight instead",
        )
    return Parts(training, testing, labels, least)


def tried_on(
    parts: Parts, network: nn.Module, preprocessing: Preprocessing, weight: float, settings: Settings
) -> Tried:
    """The accuracies on the held-out images of a network that was trained at a weight."""
    network, answers = network.to(settings.device).eval(), []
    items = Items(parts.testing, preprocessing)
    with torch.inference_mode():
        for batch in DataLoader(items, settings.batch_size, num_workers=settings.workers, collate_fn=ItemBatch.of):
            answers.append(network(unit_images(batch.images.to(settings.device))).argmax(dim=1).cpu())
    hits = torch.cat(answers).numpy() == parts.labels
    return Tried(weight, class_average(hits[parts.least], parts.labels[parts.least]), class_average(hits, parts.labels))


def sweep(
    classifier: Classifier,
    joined: Joined,
    config: FinetuneConfig,
    weights: Sequence[float],
    settings: Settings = SMALL,
    *,
    boxes: Truth | None = None,
    report: Callable[[Tried], None] | None = None,
) -> Sweep:
    """Choose the weight of a recipe's loss among some, on a part of the images given. The classifier stays as it is.

    report: called after each weight. Raises SalientError for a loss without a weight, weights that are none, or images
    that will not do, as `parted`.
    """
    grid, parts, tried = check_sweep(config.loss, weights), parted(joined), []
    preprocessing = classifier.preprocessing or joined.store.manifest.preprocessing
    for weight in grid:
        fresh = replace(classifier, model=copy.deepcopy(network_of(classifier)))
        network, _ = finetune_on(fresh, parts.training, replace(config, weight=weight), settings, boxes=boxes)
        tried.append(tried_on(parts, network, preprocessing, weight, settings))
        if report is not None:
            report(tried[-1])
    return Sweep(best_of(tried).weight, tuple(tried), len(parts.training), len(parts.testing))


def best_of(tried: Sequence[Tried]) -> Tried:
    """The one with the highest criterion, of equals that of the smallest weight."""
    return max(tried, key=lambda one: (one.least.value, -one.weight))


def check_sweep(loss: str, weights: Sequence[float]) -> tuple[float, ...]:
    """The weights, ascending, each once. Raises SalientError as `sweep`."""
    if loss in WEIGHTLESS:
        raise SalientError(f"{loss} has no weight to choose", expected="another loss", then="leave the sweep out")
    if not weights or not all(math.isfinite(w) and w >= 0 for w in weights):
        got = ", ".join(f"{w:g}" for w in weights) or "none"
        raise SalientError("weights to choose among", expected="numbers >= 0", got=got)
    return tuple(sorted(set(weights)))
