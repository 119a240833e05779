"""Another store beside the one that is looked into: the same images, its maps and masks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.app.gallery import Gallery
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import to_crop_frame
from salient_imagenet_data.imagenet import wnid_of_words
from salient_imagenet_data.masks import dequantise
from salient_imagenet_data.names import KINDS, OFFICIAL_RELEASE, Kind
from salient_imagenet_data.store.comparing import THRESHOLDS, agreement, check_frames, same_bases
from salient_imagenet_data.store.features import Feature
from salient_imagenet_data.store.reading import Store

HALF = THRESHOLDS.index(0.5)


@dataclass(frozen=True)
class Agreed:
    """How far two masks of one image agree: intersection over union at half of the peak, and the correlation over
    pixels; None where there is no such value."""

    iou: float | None
    correlation: float | None


class Beside:
    """gallery: of the other store. place: as pages call it. Raises SalientError where the masks of both cannot be held
    against each other."""

    def __init__(self, own: Store, gallery: Gallery, place: str) -> None:
        self.own, self.gallery, self.place = own, gallery, place
        check_frames(own, self.store)
        if not self._class_of:
            raise SalientError(
                f"{place}: no class in common with {own.path}", got=", ".join(self.store.class_names[:5])
            )

    @property
    def store(self) -> Store:
        return self.gallery.joined.store

    @cached_property
    def same_network(self) -> bool:
        """Whether a feature's number means the same in both. A release is taken for what it says it is."""
        hashes = {store.manifest.weights_sha256 for store in (self.own, self.store)}
        one = len(hashes) == 1 or any(_is_release(store) for store in (self.own, self.store))
        return one and same_bases(self.own, self.store)

    @cached_property
    def _class_of(self) -> dict[int, int]:
        theirs = {wnid_of_words(name): index for index, name in enumerate(self.store.class_names)}
        found = ((index, theirs.get(wnid_of_words(name))) for index, name in enumerate(self.own.class_names))
        return {index: other for index, other in found if other is not None}

    def features_of(self, class_index: int) -> tuple[Feature, ...]:
        """The other store's features of a class of ours, most important first."""
        other = self._class_of.get(class_index)
        return tuple(sorted((f for f in self.store.features if f.class_index == other), key=lambda f: f.rank))

    def row_of(self, row: int) -> int | None:
        """Its row of the image of a row of ours; None where it has no such image, or calls it another class."""
        try:
            found = self.store.rows.find(self.own.rows.image_ids[row].as_py())
        except SalientError:
            return None
        same = int(self.store.rows.labels[found]) == self._class_of.get(int(self.own.rows.labels[row]))
        return found if same else None

    def of_feature(self, row: int, other: int, slots: tuple[int, int]) -> Agreed | None:
        """How far one map of ours agrees with one of theirs; None where either does not know it."""
        if not (knows(self.own, row, slots[0]) and knows(self.store, other, slots[1])):
            return None
        return _agreed(_map(self.own, row, slots[0]), _map(self.store, other, slots[1]))

    def of_kind(self, row: int, other: int, kind: Kind) -> Agreed | None:
        """How far the masks of a kind agree; None where a store has none."""
        masks = [store.mask(at, kind) for store, at in ((self.own, row), (self.store, other)) if _annotated(store)]
        if len(masks) < 2 or masks[0] is None or masks[1] is None:
            return None
        return _agreed(masks[0], masks[1])

    @property
    def annotated(self) -> bool:
        """Whether its features are core or spurious."""
        return _annotated(self.store)

    def kinds(self) -> tuple[Kind, ...]:
        """Of which it has masks."""
        return KINDS if self.annotated else ()


def knows(store: Store, row: int, slot: int) -> bool:
    """Whether a store knows the map of an image: a release has those of its top images only."""
    return not _is_release(store) or bool(store.rows.in_top[row, slot])


def _is_release(store: Store) -> bool:
    return bool(store.manifest.origin.get("kind") == OFFICIAL_RELEASE)


def _annotated(store: Store) -> bool:
    return store.manifest.annotations_sha256 is not None


def _map(store: Store, row: int, slot: int) -> NDArray[np.float32]:
    size = store.manifest.preprocessing.crop
    return to_crop_frame(dequantise(store.maps[row, slot]), size, size)


def _agreed(a: NDArray[np.float32], b: NDArray[np.float32]) -> Agreed:
    values = agreement(a[None], b[None])[0]
    iou, correlation = (None if np.isnan(v) else float(v) for v in (values[HALF], values[-2]))
    return Agreed(iou, correlation)
