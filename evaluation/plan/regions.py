"""Where corruptions go: regions of a store's images, by name, and those that the protocols are made of."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.loaders.region import OUTSIDE_CORE, Region
from salient_imagenet_data.names import CORE, KINDS, SPURIOUS

if TYPE_CHECKING:
    from salient_imagenet_data.store.reading import Store

ACCURACY_OF: dict[str, str] = {SPURIOUS: "core_accuracy", CORE: "spurious_accuracy"}
"""Noise on one kind of pixels leaves the other: the accuracy that is left is named after what is left."""
INSIDE, OUTSIDE = "core_dilated15", "not_core_dilated15"
"""The two regions of "corm2022"."""
FOREGROUND, BACKGROUND = "foreground", "background"
"""The two regions of "rival2022"."""
UNION = Region("core")
"""The union of some maps as it is."""


@dataclass(frozen=True)
class RegionOfStore:
    """A region of a store's images, as conditions name it. chosen: (N, K) bool, by store row, the maps whose union is
    the mask; rows without one do not count. region: what is made of it, whose core and spurious mask are both that
    union; its dilation is at a crop of 224 pixels. single: of one feature, which has no box and no controls."""

    name: str
    chosen: NDArray[np.bool_]
    region: Region = UNION
    single: bool = False

    @property
    def rows(self) -> NDArray[np.int64]:
        """Store rows that count."""
        return np.flatnonzero(self.chosen.any(axis=1))

    def at(self, crop: int) -> Region:
        """The region at a crop of so many pixels."""
        return self.region.at(crop)


def region_of_rank(rank: int) -> str:
    """Name of the region of the features of one rank, from 1."""
    return f"rank_{rank}"


def rank_of(region: str) -> int | None:
    """The rank of a region of single features; None for any other region's name."""
    found = re.fullmatch(r"rank_([1-9]\d{0,8})", region)
    return int(found[1]) if found else None


def labels_of(store: Store) -> NDArray[np.int64]:
    """(N,) class index of each row."""
    return store.rows.labels.astype(np.int64)


def top_images(store: Store) -> list[RegionOfStore]:
    """Core and spurious, on the top images of the features."""
    labels, in_top = labels_of(store), store.rows.in_top
    return [RegionOfStore(kind, store.kind_table[kind][labels] & in_top, Region(kind)) for kind in KINDS]


def single_features(store: Store) -> list[RegionOfStore]:
    """One for each rank of feature, on the top images."""
    in_top, regions = store.rows.in_top, []
    for slot in range(in_top.shape[1]):
        chosen = np.zeros_like(in_top)
        chosen[:, slot] = in_top[:, slot]
        regions.append(RegionOfStore(region_of_rank(slot + 1), chosen, single=True))
    return regions


def dilated_core(store: Store) -> list[RegionOfStore]:
    """The dilated core masks over their peak, and what is outside them."""
    core = store.kind_table[CORE][labels_of(store)]
    inside = replace(OUTSIDE_CORE, name="core")
    return [RegionOfStore(INSIDE, core, inside), RegionOfStore(OUTSIDE, core, OUTSIDE_CORE)]


def core_and_rest(store: Store) -> list[RegionOfStore]:
    """The core masks, and what is outside them."""
    core = foreground(store)
    return [core, replace(core, name=BACKGROUND, region=Region("not_core"))]


def foreground(store: Store) -> RegionOfStore:
    """The core masks as they are."""
    return RegionOfStore(FOREGROUND, store.kind_table[CORE][labels_of(store)])


def boxed(region: RegionOfStore) -> RegionOfStore:
    """The bounding box of a region [Moayeri et al. 2022]: where corrupting it must not leave the object's outline."""
    return replace(region, name=f"{region.name}_box", region=replace(region.region, box=True))
