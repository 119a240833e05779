"""The ground of a study on a store of the user's own, where nobody knows the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.score.records import to_json
from salient_imagenet_data.evaluation.study.ground import Ground, Part, Start, check_masks
from salient_imagenet_data.folds import Fold
from salient_imagenet_data.images.layout.names import Layout
from salient_imagenet_data.joining import images_of
from salient_imagenet_data.names import MANIFEST
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.networks.opening import Opener, open_networks
from salient_imagenet_data.ranking.left_out import NOTHING, LeftOut
from salient_imagenet_data.store.manifest import file_sha256
from salient_imagenet_data.store.reading import Store


@dataclass(frozen=True)
class StoreOpening:
    """Opens a store, its images and networks, each seed of each network a start.

    models, weights, architecture, outputs, names: as of `open_networks`. train_fold, test_fold: of the store's images,
    methods train on the one and measures look at the other. left_out: images of the store that are in
    neither. A network that knows more classes than the store answers among the store's.
    """

    store: str
    images: str
    models: Sequence[str] = ()
    weights: Sequence[str] = ()
    architecture: str | None = None
    outputs: Sequence[str] = ()
    names: Sequence[str] | None = None
    layout: Layout | None = None
    seeds: int = 1
    train_fold: Fold = Fold(1, 2)  # noqa: RUF009 - frozen
    test_fold: Fold = Fold(2, 2)  # noqa: RUF009 - frozen
    left_out: LeftOut = NOTHING

    def __post_init__(self) -> None:
        first, second = self.train_fold, self.test_fold
        larger, smaller = max(first.of, second.of), min(first.of, second.of)
        if larger % smaller or (first.number - second.number) % smaller == 0:
            raise SalientError(
                "folds to train on and to measure on",
                expected="parts that share no image, of numbers of parts of which one divides the other",
                got=f"{first} and {second}",
            )

    @property
    def about(self) -> Mapping[str, Any]:
        """The store's state, the folds, and what is left out of them."""
        store = Store(self.store)
        return {
            "store": store.path.name,
            "store_sha256": file_sha256(store.path / MANIFEST),
            "train_fold": str(self.train_fold),
            "test_fold": str(self.test_fold),
            "left_out": to_json(self.left_out.facts(store.rows.image_ids.to_pylist())),
        }

    def __call__(self) -> Ground:
        store = Store(self.store)
        check_masks(store)
        source = images_of(store, self.images, layout=self.layout)
        openers = open_networks(
            store, self.models, self.weights, self.architecture, names=self.names, outputs=self.outputs
        )
        many = self.seeds > 1
        starts = tuple(
            Start(f"{name} seed {seed}" if many else name, seed, partial(_among, opener))
            for name, opener in openers.items()
            for seed in range(self.seeds)
        )
        training, testing = (Part(store, source, fold, self.left_out) for fold in (self.train_fold, self.test_fold))
        return Ground(training, testing, starts)


def _among(opener: Opener) -> Classifier:
    return opener().among("store")
