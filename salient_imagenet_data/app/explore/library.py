"""What the pages of exploring stand on: a store, its pictures, and what else was given to hold beside it."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.app.explore.beside import Beside
from salient_imagenet_data.app.explore.boxes import Boxes
from salient_imagenet_data.app.explore.predicted import Model
from salient_imagenet_data.app.gallery import Gallery
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.relevance.table import Flag
from salient_imagenet_data.imagenet import display_names
from salient_imagenet_data.names import SPURIOUS
from salient_imagenet_data.ranking.spuriosity import spuriosity
from salient_imagenet_data.store.features import Feature
from salient_imagenet_data.store.reading import Store


@dataclass(frozen=True)
class Ends:
    """Rows of a class and their spuriosity, highest first and lowest first; both end before the middle, so that no
    image is in both."""

    most: tuple[tuple[int, float], ...]
    least: tuple[tuple[int, float], ...]


@dataclass
class Library:
    """place: of the store, as pages call it. beside: another store. boxes: people's. flags: of features by class and
    number, whether their map is where their relevance comes from. models: with their predictions.
    look: finds the images, where that takes long, and gives the galleries of the store and of the other one that have
    them; until then, and where it fails, which `trouble` tells, maps are shown alone."""

    gallery: Gallery
    place: str
    beside: Beside | None = None
    boxes: Boxes | None = None
    flags: Mapping[tuple[int, int], Flag] = field(default_factory=dict)
    models: Sequence[Model] = ()
    look: Callable[[], tuple[Gallery, Gallery | None]] | None = None
    trouble: str = ""
    begun: bool = False

    def __post_init__(self) -> None:
        self.galleries = [self.gallery, *([self.beside.gallery] if self.beside else [])]
        """All whose pictures a page shows, or one that is open still."""

    @property
    def store(self) -> Store:
        return self.gallery.joined.store

    @property
    def photographs(self) -> bool:
        """Whether there are any."""
        return len(self.gallery.joined) > 0

    @property
    def annotated(self) -> bool:
        """Whether features are core or spurious."""
        return self.store.manifest.annotations_sha256 is not None

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Class names to show."""
        return display_names(self.store.class_names)

    @cached_property
    def features(self) -> dict[int, tuple[Feature, ...]]:
        """Features by class index, most important first."""
        found: defaultdict[int, list[Feature]] = defaultdict(list)
        for feature in self.store.features:
            found[feature.class_index].append(feature)
        return {index: tuple(sorted(some, key=lambda f: f.rank)) for index, some in found.items()}

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Images by class index."""
        return tuple(np.bincount(self.store.rows.labels, minlength=len(self.names)).tolist())

    def id_of(self, row: int) -> str:
        """The id of a row's image."""
        return str(self.store.rows.image_ids[row].as_py())

    def begin(self) -> None:
        """Once, beside the pages: `warm`. It does not keep the process from ending."""
        if not self.begun:
            self.begun = True
            threading.Thread(target=self.warm, daemon=True).start()

    def warm(self) -> None:
        """Read what pages of classes and images stand on, a second for a million images, and find the images: the first
        page waits for neither."""
        _ = self.store.activations, self.store.peaks, self.store.rows[0]
        if self.look is None:
            return
        try:
            own, other = self.look()
        except (SalientError, OSError) as error:
            self.trouble = str(error)
        else:
            self.galleries += [own, *([other] if other else [])]
            self.gallery = own
            if self.beside and other:
                self.beside.gallery = other
        self.look = None

    def rows_of(self, class_index: int) -> NDArray[np.int64]:
        """Rows of a class, ascending."""
        return np.flatnonzero(self.store.rows.labels == class_index)

    def order_of(self, feature: Feature) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows of a feature's class and its activations there, highest first; ties go by row, unknown ones last."""
        rows = self.rows_of(feature.class_index)
        values = self.store.activations[rows, feature.slot]
        order = np.argsort(-values, kind="stable")
        return rows[order], values[order]

    def spuriosity_of(self, class_index: int) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
        """Rows of a class and the spuriosity of each, least first; None where no feature of it is spurious, or the
        activations are not known."""
        if not (self.annotated and self.store.has(SPURIOUS)[class_index]):
            return None
        rows = self.rows_of(class_index)
        chosen = self.store.kind_table[SPURIOUS][class_index][None]
        scores = spuriosity(self.store.activations[rows], np.zeros(len(rows), dtype=np.int64), chosen)
        order = np.argsort(scores, kind="stable")
        return None if np.isnan(scores).any() else (rows[order], scores[order])

    def ends_of(self, class_index: int, most: int) -> Ends | None:
        """The most and the least spurious images of a class."""
        found = self.spuriosity_of(class_index)
        if found is None:
            return None
        pairs = list(zip(found[0].tolist(), found[1].tolist(), strict=True))
        count = min(most, len(pairs) // 2)
        return Ends(tuple(pairs[::-1][:count]), tuple(pairs[:count]))

    def class_at(self, index: int) -> int:
        """A class index. Raises SalientError for one that the store does not have."""
        if not 0 <= index < len(self.names):
            raise SalientError("no such class in this store", expected=f"0 to {len(self.names) - 1}", got=str(index))
        return index

    def feature_at(self, class_index: int, feature_index: int) -> Feature:
        """A feature. Raises SalientError for a pair that the store does not have."""
        for feature in self.features.get(class_index, ()):
            if feature.feature_index == feature_index:
                return feature
        raise SalientError("no such pair in this store", got=f"class {class_index}, feature {feature_index}")

    def row_at(self, row: int) -> int:
        """A row. Raises SalientError for one that the store does not have."""
        if not 0 <= row < len(self.store):
            raise SalientError("no such image in this store", expected=f"row 0 to {len(self.store) - 1}", got=str(row))
        return row
