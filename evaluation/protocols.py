"""Evaluation protocols, named: which images, which masks, how averaged.

"iclr2022" [Singla & Feizi 2022, section 5]: noise on the union of the spurious masks gives core accuracy, over
the classes that have one; noise on the core masks gives spurious accuracy. The images of a (class, feature) pair
are its top images; an image counts once, with the masks of the features that it is a top image of. An image
whose class has no such feature does not count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.names import CORE, KINDS, SPURIOUS
from salient_imagenet_data.store import Store

ACCURACY_OF = {SPURIOUS: "core_accuracy", CORE: "spurious_accuracy"}
"""Noise on one kind of pixels leaves the other: the accuracy that is left is named after what is left."""


@dataclass(frozen=True)
class Region:
    """Where noise goes. chosen: (N, K) bool, by store row, the maps that are united; rows without one do not count."""

    name: str
    chosen: NDArray[np.bool_]

    @property
    def rows(self) -> NDArray[np.int64]:
        """Store rows that count."""
        return np.flatnonzero(self.chosen.any(axis=1))


def iclr2022(store: Store, *, single_features: bool = False) -> list[Region]:
    """Regions of the protocol: core and spurious, and with `single_features` one for each rank of feature."""
    labels = np.array([r.label for r in store.rows], dtype=np.int64)
    in_top = np.array([r.in_top for r in store.rows], dtype=np.bool_)
    regions = [Region(kind, store.kind_table[kind][labels] & in_top) for kind in KINDS]
    if single_features:
        for slot in range(in_top.shape[1]):
            chosen = np.zeros_like(in_top)
            chosen[:, slot] = in_top[:, slot]
            regions.append(Region(f"rank_{slot + 1}", chosen))
    return regions
