"""People's boxes beside the masks: what lies where, by feature and in one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.evaluation.localisation.figures import place
from salient_imagenet_data.evaluation.localisation.localise import OfFeature, doubtful_first, localise
from salient_imagenet_data.evaluation.localisation.truth import Truth
from salient_imagenet_data.store.reading import Store


@dataclass(frozen=True)
class Drawn:
    """A box as a picture of the crop shows it, in thousandths of its side."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Inside:
    """One map against the boxes of its image. mass: share of it inside. lift: that over the share of the crop that the
    boxes are, 1 for a map that says nothing."""

    mass: float
    lift: float


class Boxes:
    """Raises SalientError where no image of the store has a box."""

    def __init__(self, store: Store, truth: Truth) -> None:
        self.store, self.truth = store, truth
        self.found = localise(store, truth)
        self.features: dict[tuple[int, int], OfFeature] = {
            (f.class_index, f.feature_index): f for f in self.found.features
        }

    @property
    def doubtful(self) -> dict[tuple[int, int], str]:
        """The lift in words, by class index and feature index, those first whose answer it speaks against most."""
        return doubtful_first(self.found)

    def region(self, row: int) -> NDArray[np.bool_] | None:
        """Where people say that the object of an image is, (crop, crop) bool; None where they do not, or outside the
        crop only."""
        record, m = self.store.rows[row], self.store.manifest
        if record.image_id not in self.truth or not record.size_known:
            return None
        size = (record.width, record.height)
        region = self.truth.region(record.image_id, m.class_names[record.label], size, m.preprocessing)
        return region if region.any() else None

    def drawn(self, row: int) -> list[Drawn]:
        """The boxes of an image's class, as far as the crop shows them. None of outlines, which are no boxes."""
        record = self.store.rows[row]
        name, across, down = self.store.manifest.class_names[record.label], 1.0, 1.0
        if self.truth.fractions:
            across, down = float(record.width), float(record.height)
        found = []
        for box in self.truth.boxes.get(record.image_id, ()) if record.size_known else ():
            left, right = ((v * across - record.box.left) / record.box.width for v in (box.left, box.right))
            top, bottom = ((v * down - record.box.top) / record.box.height for v in (box.top, box.bottom))
            left, top, right, bottom = (1000 * min(max(v, 0.0), 1.0) for v in (left, top, right, bottom))
            if box.of(name) and right > left and bottom > top:
                found.append(Drawn(left, top, right - left, bottom - top))
        return found


def inside(soft: NDArray[np.float32], region: NDArray[np.bool_] | None) -> Inside | None:
    """How much of a map (S, S) lies on the region (S, S); None for a map of zeros, or without a region."""
    found = None if region is None else place(soft, region)
    return None if found is None else Inside(found.mass, found.mass / found.cover)
