"""What is found of a class, as records with one way to JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.evaluation.relevance.agreement import Agreement
from salient_imagenet_data.evaluation.relevance.choices import By, Rules
from salient_imagenet_data.evaluation.relevance.clustering import Clustering
from salient_imagenet_data.evaluation.relevance.measuring import Measured
from salient_imagenet_data.evaluation.relevance.nominating import Nominated
from salient_imagenet_data.evaluation.score.records import to_json
from salient_imagenet_data.ranking.left_out import LeftOutFacts
from salient_imagenet_data.store.features import Feature

BEYOND_CHANCE = 0.05
"""A gap that single clouds have more rarely says that there are several sorts of images."""


@dataclass(frozen=True)
class Asked:
    """rules: of the propagation. by: what clusters are made of. clusters: how many; None: as the largest gap says.
    per_class: images of each class, at most. units: how many of the strongest are listed."""

    rules: Rules = "epsilon_plus_flat"
    by: By = "units"
    clusters: int | None = None
    per_class: int = 100
    units: int = 10


@dataclass(frozen=True)
class OfCluster:
    """items: of the class's images, those nearest to the cluster's middle first. mean_map: (SIDE, SIDE) of the class's
    relevance, each image's divided by its length first. nominated, lacking: units to look at first, which have more
    relevance here than in the others, and less."""

    items: tuple[int, ...]
    mean_map: NDArray[np.float64]
    nominated: tuple[Nominated, ...]
    lacking: tuple[Nominated, ...]


@dataclass(frozen=True)
class OfClass:
    """label, name: of the class. rows: (N,) of the store, image_ids: of these. measured: on these images. clustering:
    None for too few images. agreements: by slot of the store's features; none where the network is not the store's.
    features: of the class in the store, by number, where the network is its own."""

    label: int
    name: str
    rows: tuple[int, ...]
    image_ids: tuple[str, ...]
    measured: Measured
    clustering: Clustering | None
    clusters: tuple[OfCluster, ...]
    agreements: dict[int, Agreement]
    features: dict[int, Feature]

    @property
    def ranked(self) -> list[Feature]:
        """The features with an agreement, by rank."""
        return sorted((f for f in self.features.values() if f.slot in self.agreements), key=lambda f: f.rank)

    def strongest(self, most: int) -> list[tuple[int, float]]:
        """Units by their mean relevance in logits, the most first: what features are ranked by."""
        means = self.measured.units.mean(axis=0, dtype=np.float64)
        return [(int(unit), float(means[unit])) for unit in np.argsort(-means, kind="stable")[:most]]

    @property
    def sorts(self) -> str:
        """How many sorts of images the maps show, in words."""
        if self.clustering is None:
            return f"{len(self.image_ids)} images are too few to look for clusters"
        found, chance = len(self.clusters), self.clustering.chance
        if chance is None:
            return f"{found} clusters, as was asked"
        if chance > BEYOND_CHANCE:
            return f"no clusters beyond chance (p = {chance:.2f} of a single cloud); these {found} are for looking only"
        return f"{found} clusters (p = {chance:.2f} of a single cloud)"

    def called(self, unit: int) -> str:
        """A unit for people: its number, and what the store says of it."""
        feature = self.features.get(unit)
        if feature is None:
            return f"unit {unit}"
        more = ", ".join(part for part in (feature.kind, feature.name) if part)
        return f"unit {unit} (rank {feature.rank}{', ' + more if more else ''})"

    def to_json(self, asked: Asked) -> dict[str, Any]:
        c = self.clustering
        return {
            "class_index": self.label,
            "class": self.name,
            "images": len(self.image_ids),
            "conserved": self.measured.conserved,
            "units": [{"unit": u, "relevance": r} | self._in_store(u) for u, r in self.strongest(asked.units)],
            "agreement": [
                {"unit": f.feature_index, "rank": f.rank, "kind": f.kind} | self.agreements[f.slot].to_json()
                for f in self.ranked
            ],
            "sorts": self.sorts,
            "eigenvalues": None if c is None else list(c.eigenvalues),
            "gap": None if c is None else c.gap,
            "chance": None if c is None else c.chance,
            "clusters": [
                {
                    "images": [self.image_ids[item] for item in one.items],
                    "mean_map": np.round(one.mean_map, 5).tolist(),
                    "nominated": [asdict(n) | self._in_store(n.unit) for n in one.nominated],
                    "lacking": [asdict(n) | self._in_store(n.unit) for n in one.lacking],
                }
                for one in self.clusters
            ],
        }

    def _in_store(self, unit: int) -> dict[str, Any]:
        feature = self.features.get(unit)
        return {} if feature is None else {"rank": feature.rank, "kind": feature.kind, "name": feature.name}


@dataclass(frozen=True)
class Relevance:
    """network: what is recorded of it. store, store_sha256: its name and its manifest's hash. fold, seed: which images,
    and of what is drawn. left_out: of the fold's images, None where nothing was asked for. own: whether the
    network is the one the store was built with. notes: what a person should know."""

    network: dict[str, Any]
    store: str
    store_sha256: str
    fold: str
    left_out: LeftOutFacts | None
    seed: int
    own: bool
    notes: tuple[str, ...]
    asked: Asked
    classes: tuple[OfClass, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "network": self.network,
            "store": self.store,
            "store_sha256": self.store_sha256,
            "fold": self.fold,
            "left_out": to_json(self.left_out),
            "seed": self.seed,
            "own": self.own,
            "notes": list(self.notes),
            "asked": asdict(self.asked),
            "classes": [one.to_json(self.asked) for one in self.classes],
        }
