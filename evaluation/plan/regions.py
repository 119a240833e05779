"""Where corruptions go: the regions of the protocols."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.names import CORE, KINDS, SPURIOUS
from salient_imagenet_data.store.reading import Store

ACCURACY_OF = {SPURIOUS: "core_accuracy", CORE: "spurious_accuracy"}
"""Noise on one kind of pixels leaves the other: the accuracy that is left is named after what is left."""
DILATION, DILATED_AT = 15, 224
"""Iterations of the plus-shaped maximum filter of "corm2022", at a crop of so many pixels."""
INSIDE, OUTSIDE = "core_dilated15", "not_core_dilated15"
"""The two regions of "corm2022"."""
FOREGROUND, BACKGROUND = "foreground", "background"
"""The two regions of "rival2022"."""
LEFT_OF: dict[str, str] = {
    SPURIOUS: ACCURACY_OF[SPURIOUS],
    CORE: ACCURACY_OF[CORE],
    OUTSIDE: "acc(C)",
    INSIDE: "acc(S)",
}
"""The same for every region whose protocol has a name for what is left."""
RATIOS = (INSIDE, OUTSIDE, FOREGROUND, BACKGROUND)
"""Regions that come in pairs, for a ratio of accuracies."""


@dataclass(frozen=True)
class Region:
    """Where a corruption goes. chosen: (N, K) bool, by store row, the maps that are united; rows without one do not
    count. dilation: iterations of the maximum filter at 224 pixels, then division by the maximum. complement: 1 minus
    that. box: the bounding box of the pixels of at least half the maximum instead."""

    name: str
    chosen: NDArray[np.bool_]
    dilation: int = 0
    complement: bool = False
    box: bool = False

    @property
    def rows(self) -> NDArray[np.int64]:
        """Store rows that count."""
        return np.flatnonzero(self.chosen.any(axis=1))

    def iterations(self, crop: int) -> int:
        """Iterations of the maximum filter for a crop of another size than 224."""
        return iterations(self.dilation, crop)


def region_of_rank(rank: int) -> str:
    """Name of the region of the features of one rank, from 1."""
    return f"rank_{rank}"


def rank_of(region: str) -> int | None:
    """The rank of a region of single features; None for any other region's name."""
    found = re.fullmatch(r"rank_([1-9]\d{0,8})", region)
    return int(found[1]) if found else None


def iterations(dilation: int, crop: int) -> int:
    """Of the maximum filter for a crop of so many pixels, where there are `dilation` at 224."""
    return round(dilation * crop / DILATED_AT)


def labels_of(store: Store) -> NDArray[np.int64]:
    """(N,) class index of each row."""
    return store.rows.labels.astype(np.int64)


def iclr2022(store: Store, *, single_features: bool = False) -> list[Region]:
    """Regions of the protocol: core and spurious, and with `single_features` one for each rank of feature."""
    labels, in_top = labels_of(store), store.rows.in_top
    regions = [Region(kind, store.kind_table[kind][labels] & in_top) for kind in KINDS]
    if single_features:
        for slot in range(in_top.shape[1]):
            chosen = np.zeros_like(in_top)
            chosen[:, slot] = in_top[:, slot]
            regions.append(Region(region_of_rank(slot + 1), chosen))
    return regions


def corm2022(store: Store) -> list[Region]:
    """Regions of the protocol: the dilated core masks, and what is outside them."""
    chosen = store.kind_table[CORE][labels_of(store)]
    return [Region(INSIDE, chosen, DILATION), Region(OUTSIDE, chosen, DILATION, complement=True)]


def rival2022(store: Store) -> list[Region]:
    """Regions of the protocol: the core masks, and what is outside them."""
    core = foreground(store)
    return [core, replace(core, name=BACKGROUND, complement=True)]


def foreground(store: Store) -> Region:
    """The core masks as they are."""
    return Region(FOREGROUND, store.kind_table[CORE][labels_of(store)])


def boxed(region: Region) -> Region:
    """The bounding box of a region [Moayeri et al. 2022]: where corrupting it must not leave the object's outline."""
    return replace(region, name=f"{region.name}_box", box=True)
