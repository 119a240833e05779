"""Pairs that were found before, in another store: found on the training images, carried to the validation set.

Features found on a class's training images are its features on any other images of the class, so a build with known
pairs ranks nothing, and each image goes through the network once.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.annotation.verdicts import Annotations
from salient_imagenet_data.errors import SalientError, some
from salient_imagenet_data.imagenet import display_names, wnid_of_words
from salient_imagenet_data.networks.robust import RobustModel
from salient_imagenet_data.store.features import Basis, Feature
from salient_imagenet_data.store.reading import Store

FILE = ("file_sha256", "read_as", "because")
"""What a manifest says of the file of an autoencoder (`sparse.Sparse.to_json`)."""
UNKNOWN = "unknown"
"""Weights of a store that was imported."""


@dataclass(frozen=True)
class Known:
    """features: of the classes here, under their numbers here, with what people said of them. annotations_sha256,
    majority: of the answers, as in the manifest they are from. left_out: classes there that are not here. proven: the
    network is the one they were found with, by its hash. record: what is kept of where they are from. basis: what the
    features are made of, None for neurons. file: what that manifest says of the file of an autoencoder."""

    features: tuple[Feature, ...]
    annotations_sha256: str | None
    majority: int
    left_out: tuple[str, ...]
    proven: bool
    record: dict[str, Any]
    basis: Basis | None = None
    file: dict[str, Any] = field(default_factory=dict)

    def pairs(self, classes: int) -> NDArray[np.int64]:
        """(C, K) features of each class by rank, -1 where there is none."""
        found = np.full((classes, max(f.rank for f in self.features)), -1, dtype=np.int64)
        for f in self.features:
            found[f.class_index, f.slot] = f.feature_index
        return found

    def judged(self, rows: Iterable[Feature]) -> tuple[Feature, ...]:
        """What people said, beside the importance measured here: rows of these pairs."""
        said = {(f.class_index, f.feature_index): f for f in self.features}
        return tuple(
            dataclasses.replace(said[row.class_index, row.feature_index], importance=row.importance) for row in rows
        )

    def line(self) -> str:
        """Which classes were left out, in one line; empty for none."""
        if not self.left_out:
            return ""
        return (
            f"{len(self.left_out)} classes of {self.record['store']} are not here: {some(display_names(self.left_out))}"
        )


def known_pairs(store: Store, model: RobustModel, class_names: tuple[str, ...], weights_sha256: str) -> Known:
    """The pairs of a store for images of some of its classes, by name.

    model, weights_sha256: what the images go through. Raises SalientError if none of the classes is there, or a
    feature is none of this network.
    """
    index = {wnid_of_words(name): i for i, name in enumerate(class_names)} | {n: i for i, n in enumerate(class_names)}
    places = [index.get(name, index.get(wnid_of_words(name))) for name in store.class_names]
    features = tuple(
        dataclasses.replace(f, class_index=place, class_name=class_names[place], importance=None)
        for f in store.features
        if (place := places[f.class_index]) is not None
    )
    if not features:
        raise SalientError(
            f"{store.path}: no pairs of these classes",
            expected=f"classes such as {some(display_names(class_names)[:3])}",
            got=some(display_names(store.class_names)[:3]),
        )
    numbers, neurons, basis = np.array([f.feature_index for f in features]), model.weight.shape[1], store.basis
    if (basis is None and numbers.max() >= neurons) or (basis is not None and basis.neurons != neurons):
        raise SalientError(
            f"{store.path}: features of another network",
            expected=f"numbers below {neurons}" if basis is None else f"combinations of {neurons} neurons",
            got=str(numbers.max() if basis is None else basis.neurons),
            then="give the weights that the store was built with",
        )
    manifest, mine = store.manifest, model.details.get("network_sha256")
    same = weights_sha256 == manifest.weights_sha256 or (
        mine is not None and mine == manifest.network.get("network_sha256")
    )
    left_out = tuple(name for name, place in zip(store.class_names, places, strict=True) if place is None)
    record = {
        "store": store.path.name,
        "split": manifest.split,
        "images": manifest.images,
        "made_of": manifest.made_of,
        "features_sha256": hashlib.sha256(store.features_bytes).hexdigest(),
    }
    said = manifest.network.get("basis", {})
    file = {key: said[key] for key in FILE if key in said}
    basis = None if basis is None else basis.only(numbers)
    return Known(features, manifest.annotations_sha256, manifest.majority, left_out, same, record, basis, file)


def check_known(known: Known, store_weights: str, weights_sha256: str) -> None:
    """Raise SalientError if the pairs were found with another network, where that can be told."""
    if known.proven or store_weights == UNKNOWN:
        return
    raise SalientError(
        f"the pairs of {known.record['store']} were found with another network, whose features have other numbers",
        expected=f"weights with sha256 {store_weights[:12]}...",
        got=f"{weights_sha256[:12]}...",
        then="give the weights that store was built with, or --trust-annotations to go on all the same",
    )


def annotated_pairs(annotations: Annotations, majority: int, classes: int) -> NDArray[np.int64]:
    """(C, K) features of each of C classes by rank, -1 where there is no answer. majority: answers that decide."""
    verdicts = annotations.verdicts(majority)
    pairs = np.full((classes, max(v.feature_rank for v in verdicts)), -1, dtype=np.int64)
    for v in verdicts:
        pairs[v.class_index, v.feature_rank - 1] = v.feature_index
    return pairs


def check_range(annotations: Annotations, classes: int, features: int) -> None:
    """Raise SalientError for answers about classes, features or ranks that a model of so many does not have."""
    for row, answer in enumerate(annotations.answers, start=1):
        if answer.feature_index >= features or answer.class_index >= classes:
            raise SalientError(
                f"annotations, row {row}: class {answer.class_index}, feature {answer.feature_index} not in this model",
                expected=f"class below {classes}, feature below {features}",
                then="were they made for another model?",
            )
        if answer.feature_rank > features:
            raise SalientError(
                f"annotations, row {row}: rank {answer.feature_rank} of a feature",
                expected=f"1 to {features}, as many as the model has",
            )
