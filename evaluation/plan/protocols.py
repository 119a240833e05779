"""Evaluation protocols, named: which images, which masks, how averaged.

"iclr2022" [Singla & Feizi 2022, section 5]: noise on the union of the spurious masks gives core accuracy, over
the classes that have one; noise on the core masks gives spurious accuracy. The images of a (class, feature) pair
are its top images; an image counts once, with the masks of the features that it is a top image of. An image
whose class has no such feature does not count.

"corm2022" [Singla, Moayeri, Feizi 2022]: c is the union of the core masks of the image's class, dilated and divided
by its maximum. Noise on 1 - c and on c, on every image whose class has a core feature; class-averaged.

"rival2022" [Moayeri et al. 2022, arXiv 2201.10766]: foreground is the union of the core masks as it is, background
1 minus it. Noise on either, on every image whose class has a core feature; class-averaged.

"spuriosity2023" [Moayeri et al. 2023]: no noise; the most and the least spurious images of each class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.numbers.spuriosity import Ends, ends, spuriosity
from salient_imagenet_data.evaluation.plan.condition import CONTROLS, Condition, Control
from salient_imagenet_data.evaluation.plan.regions import (
    RATIOS,
    Region,
    boxed,
    corm2022,
    iclr2022,
    labels_of,
    rank_of,
    rival2022,
)
from salient_imagenet_data.folds import WHOLE, Fold
from salient_imagenet_data.loaders.corruption.records import corruption_of
from salient_imagenet_data.names import SPURIOUS
from salient_imagenet_data.store.reading import Store

MOST_TRIALS = 10


def rows_in(store: Store, fold: Fold) -> NDArray[np.int64]:
    """Store rows of a fold, ascending. Raises SalientError where there are none."""
    if fold == WHOLE:
        return np.arange(len(store))
    rows = np.flatnonzero(fold.holds(store.rows.image_ids.to_pylist()))
    if not len(rows):
        raise SalientError(
            f"fold {fold} of {store.path}: no images",
            expected="some",
            got=f"0 of {len(store)}",
            then="make fewer folds",
        )
    return rows


def spuriosity_ends(store: Store, rows: NDArray[np.int64]) -> Ends:
    """The most and least spurious of some rows, of every class with a spurious feature."""
    labels = labels_of(store)[rows]
    found = ends(spuriosity(store.activations[rows], labels, store.kind_table[SPURIOUS]), labels)
    return Ends(rows[found.top], rows[found.bottom], found.labels)


ProtocolName = Literal["iclr2022", "corm2022", "rival2022", "spuriosity2023"]
PROTOCOLS: tuple[ProtocolName, ...] = ("iclr2022", "corm2022", "rival2022", "spuriosity2023")


@dataclass(frozen=True)
class Plan:
    """What one evaluation runs. rows: the store rows of the clean condition, ascending; every region's are among them.

    conditions: without the clean one, in the order of running. Regions by name. fold: of the store's images.
    """

    protocols: tuple[ProtocolName, ...]
    rows: NDArray[np.int64]
    regions: dict[str, Region]
    conditions: tuple[Condition, ...] = field(default=())
    fold: Fold = WHOLE


def make_plan(
    store: Store,
    protocols: Sequence[str] = ("iclr2022",),
    corruptions: Sequence[str] = ("noise_0.25",),
    *,
    controls: bool = True,
    single_features: bool = False,
    boxes: bool = False,
    trials: int = 1,
    fold: Fold = WHOLE,
) -> Plan:
    """Regions and conditions of the protocols. corruptions: names, as in a condition's. boxes: also the bounding box of
    every region that is not a complement or a single feature. trials: of what is random, under "corm2022" and
    "rival2022", whose ratio is then of the mean accuracies. fold: no other images.

    Controls are run on the protocol's own regions, not on single features. Raises SalientError for a protocol that is
    not known or where no image counts.
    """
    makers: dict[str, Callable[[], list[Region]]] = {
        "iclr2022": lambda: iclr2022(store, single_features=single_features),
        "corm2022": lambda: corm2022(store),
        "rival2022": lambda: rival2022(store),
        "spuriosity2023": list,
    }
    unknown = [p for p in protocols if p not in makers]
    if unknown or not protocols:
        raise SalientError("protocol is not known", expected=f"one of {', '.join(PROTOCOLS)}", got=", ".join(unknown))
    in_fold = rows_in(store, fold)
    here = np.zeros((len(store), 1), dtype=np.bool_)
    here[in_fold] = True
    of_fold = (replace(r, chosen=r.chosen & here) for p in dict.fromkeys(protocols) for r in makers[p]())
    regions = {r.name: r for r in of_fold if len(r.rows)}
    if not 1 <= trials <= MOST_TRIALS:
        raise SalientError("trials", expected=f"1 to {MOST_TRIALS}", got=str(trials))
    if boxes:
        plain = [r for r in regions.values() if not r.complement and rank_of(r.name) is None]
        regions |= {box.name: box for box in map(boxed, plain)}
    counted = [region.rows for region in regions.values()]
    if "spuriosity2023" in protocols:
        found = spuriosity_ends(store, in_fold)
        counted += [found.top, found.bottom]
    rows = np.unique(np.concatenate(counted)) if counted else np.zeros(0, dtype=np.int64)
    if not len(rows):
        raise SalientError(f"{store.path}: nothing to evaluate", expected="core or spurious features", got="none")
    conditions = [
        Condition(corruption, name, control, trial)
        for name in regions
        for control in _controls(name, controls)
        for corruption in corruptions
        for trial in range(1, 1 + (trials if name in RATIOS and corruption_of(corruption).random else 1))
    ]
    return Plan(tuple(p for p in PROTOCOLS if p in protocols), rows, regions, tuple(conditions), fold)


def _controls(region: str, wanted: bool) -> tuple[Control, ...]:
    return ("", *CONTROLS) if wanted and rank_of(region) is None else ("",)
