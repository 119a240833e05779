"""Which images of a training carry a mask, and which one: the union of their core maps, or people's boxes.

A share of the images is enough for guidance by attributions [Rao et al. 2023, down to 1 %]. Which images are in it is
decided by a hash of their ids, so that it does not depend on the order of a source, and of two shares of one seed the
smaller lies in the larger.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.localisation.truth import Truth
from salient_imagenet_data.evaluation.plan.regions import FOREGROUND, foreground, labels_of
from salient_imagenet_data.evaluation.run.images import Item, Items
from salient_imagenet_data.folds import numbers_of
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.joining import Joined
from salient_imagenet_data.store.reading import Store


@dataclass(frozen=True)
class Annotation:
    """Of a training's images. masks: "core" or "boxes". images: all. with_mask: those that have one, that is a core
    feature of their class, or a box of their class inside the crop. used: those whose mask guides. fraction, seed: of
    `share_of`. elsewhere: images with boxes that are none of the training's."""

    masks: str
    images: int
    with_mask: int
    used: int
    fraction: float
    seed: int
    elsewhere: int = 0

    @property
    def words(self) -> str:
        """In one line."""
        what = "people's boxes" if self.masks == "boxes" else "core masks"
        told = f"guided by the {what} of {self.used} images, of {self.with_mask} that have one and {self.images} in all"
        return f"{told}; {self.elsewhere} images with boxes are not among them" if self.elsewhere else told


def share_of(
    image_ids: list[str], labels: NDArray[np.integer], have: NDArray[np.bool_], fraction: float, seed: int
) -> NDArray[np.bool_]:
    """(n,) the images that carry their mask: of each class's m images that have one, the fraction * m nearest whole
    number, at least one, of least hash of seed and id. labels: (n,). have: (n,). Raises SalientError for a fraction
    that is not above 0 and at most 1."""
    check_fraction(fraction)
    if fraction == 1.0:
        return have.copy()
    numbers = numbers_of(f"{seed} {image_id}" for image_id in image_ids)
    chosen = np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels[have]).tolist():
        mine = np.flatnonzero(have & (labels == label))
        wanted = max(1, math.floor(fraction * len(mine) + 0.5))
        chosen[mine[np.argsort(numbers[mine], kind="stable")[:wanted]]] = True
    return chosen


def check_fraction(fraction: float) -> None:
    """Raises SalientError for what is no share of the images."""
    if not 0 < fraction <= 1:
        raise SalientError("annotated fraction", expected="a number above 0 and at most 1", got=f"{fraction:g}")


def annotated(
    joined: Joined, preprocessing: Preprocessing, fraction: float, seed: int, boxes: Truth | None = None
) -> tuple[Items, Annotation]:
    """Images in a preprocessing, those that are annotated with their mask as `FOREGROUND`, and how many these are.

    boxes: instead of the core masks. A box counts that names the image's class, or none. Raises SalientError where no
    image has a mask, or a store does not know the size of an image that has boxes.
    """
    store, rows = joined.store, joined.rows
    ids, labels = store.rows.image_ids.take(pa.array(rows)).to_pylist(), labels_of(store)[rows]
    if boxes is None:
        region = foreground(store)
        have = np.asarray(region.chosen[rows].any(axis=1))
        if not have.any():
            raise _nothing(store, "images with a core feature", "none")
        used = share_of(ids, labels, have, fraction, seed)
        here = np.zeros((len(store), 1), dtype=np.bool_)
        here[rows[used]] = True
        items = Items(joined, preprocessing, [replace(region, chosen=region.chosen & here)])
        return items, Annotation("core", len(rows), int(have.sum()), int(used.sum()), fraction, seed)
    known = [i in boxes for i in ids]
    inside = [has and _region(store, boxes, row, preprocessing).any() for has, row in zip(known, rows, strict=True)]
    have = np.array(inside, dtype=np.bool_)
    if not have.any():
        wanted = (
            f"ids such as {ids[0]}, and boxes of {store.class_names[int(labels[0])]} or of no class inside the crop"
        )
        raise _nothing(store, wanted, f"{len(boxes)} images with boxes, {sum(known)} of them among these")
    used = share_of(ids, labels, have, fraction, seed)
    counts = len(rows), int(have.sum()), int(used.sum())
    told = Annotation("boxes", *counts, fraction, seed, len(boxes) - sum(known))
    return Boxed(joined, preprocessing, boxes, used), told


def _nothing(store: Store, expected: str, got: str) -> SalientError:
    return SalientError(f"{store.path}: no image has a mask to guide by", expected=expected, got=got)


class Boxed(Items):
    """Images with people's boxes in place of core masks. used: (n,) of which."""

    def __init__(self, joined: Joined, preprocessing: Preprocessing, boxes: Truth, used: NDArray[np.bool_]) -> None:
        super().__init__(joined, preprocessing)
        self.boxes, self.used = boxes, used

    def __getitem__(self, position: int) -> Item:
        item = super().__getitem__(position)
        if not self.used[position]:
            return item
        region = _region(self.joined.store, self.boxes, item.row, self.preprocessing)
        return replace(item, masks={FOREGROUND: torch.from_numpy(region.astype(np.float32))})


def _region(store: Store, boxes: Truth, row: int, preprocessing: Preprocessing) -> NDArray[np.bool_]:
    """(crop, crop) where an image's boxes are, of its class."""
    record = store.rows[int(row)]
    if not record.size_known:
        raise SalientError(
            f"{record.image_id}: the store does not hold the image's size, so boxes cannot be placed",
            then="import again with --images",
        )
    size = record.width, record.height
    return boxes.region(record.image_id, store.class_names[record.label], size, preprocessing)
