"""What one evaluation runs: conditions on regions of some of a store's images. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.plan.condition import CONTROLS, Condition, Control
from salient_imagenet_data.evaluation.plan.protocols import has_box, protocols_of
from salient_imagenet_data.evaluation.plan.regions import RegionOfStore, boxed, labels_of
from salient_imagenet_data.folds import WHOLE, Fold
from salient_imagenet_data.loaders.corruption.records import corruption_of
from salient_imagenet_data.names import SPURIOUS
from salient_imagenet_data.ranking.left_out import NOTHING, LeftOut, LeftOutFacts
from salient_imagenet_data.ranking.spuriosity import Ends, check_known, ends, spuriosity
from salient_imagenet_data.store.reading import Store

MOST_TRIALS = 10


def rows_in(store: Store, fold: Fold, left_out: LeftOut = NOTHING) -> NDArray[np.int64]:
    """Store rows of a fold that count, ascending. Raises SalientError where there are none."""
    if fold == WHOLE and not left_out:
        return np.arange(len(store))
    ids = store.rows.image_ids.to_pylist()
    rows = np.flatnonzero(fold.holds(ids) & ~left_out.holds(ids))
    if not len(rows):
        raise SalientError(
            f"fold {fold} of {store.path}: no images",
            expected="some",
            got=f"0 of {len(store)}",
            then="make fewer folds" + (", or leave out less" if left_out else ""),
        )
    return rows


def left_out_in(store: Store, fold: Fold, left_out: LeftOut) -> LeftOutFacts | None:
    """What is left out of a fold of a store's images; None where nothing is asked for."""
    return left_out.facts(store.rows.image_ids.take(rows_in(store, fold)).to_pylist()) if left_out else None


def spuriosity_ends(store: Store, rows: NDArray[np.int64]) -> Ends:
    """The most and least spurious of some rows, of every class with a spurious feature."""
    labels = labels_of(store)[rows]
    found = ends(spuriosity(store.activations[rows], labels, store.kind_table[SPURIOUS]), labels)
    return Ends(rows[found.top], rows[found.bottom], found.labels)


@dataclass(frozen=True)
class Plan:
    """What one evaluation runs. rows: the store rows of the clean condition, ascending; every region's are among them.

    protocols: names. conditions: without the clean one, in the order of running. Regions by name. fold: of the store's
    images.
    """

    protocols: tuple[str, ...]
    rows: NDArray[np.int64]
    regions: dict[str, RegionOfStore]
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
    left_out: LeftOut = NOTHING,
) -> Plan:
    """Regions and conditions of the protocols. corruptions: names, as in a condition's; two of one corruption count
    once. boxes: also the bounding box of every region that is not a complement or a single feature. trials: of what is
    random, where the protocol gives a ratio, which is then of the mean accuracies. fold: no other images. left_out: of
    the scores; these images are answered like the others, and so are those that become the most and the least spurious
    without them, so that one file of predictions gives the scores with and without them.

    Controls are run on the protocol's own regions, not on single features. Raises SalientError for a protocol that is
    not known or where no image counts.
    """
    chosen, in_fold = protocols_of(protocols), rows_in(store, fold)
    names = dict.fromkeys(corruption_of(name).name for name in corruptions)
    here = np.zeros((len(store), 1), dtype=np.bool_)
    here[in_fold] = True
    made = [region for protocol in chosen for region in protocol.regions_of(store, single=single_features)]
    regions = {r.name: r for r in (replace(r, chosen=r.chosen & here) for r in made) if len(r.rows)}
    if not 1 <= trials <= MOST_TRIALS:
        raise SalientError("trials", expected=f"1 to {MOST_TRIALS}", got=str(trials))
    if boxes:
        regions |= {box.name: box for box in map(boxed, filter(has_box, list(regions.values())))}
    counted = [region.rows for region in regions.values()]
    if any(protocol.ends or protocol.every for protocol in chosen) and store.has(SPURIOUS).any():
        check_known(store.activations[in_fold], store.path)
    if any(protocol.ends for protocol in chosen):
        for out in {NOTHING, left_out}:
            found = spuriosity_ends(store, rows_in(store, fold, out))
            counted += [found.top, found.bottom]
    if any(protocol.every for protocol in chosen) and store.has(SPURIOUS).any():
        counted.append(in_fold)
    rows = np.unique(np.concatenate(counted)) if counted else np.zeros(0, dtype=np.int64)
    if not len(rows):
        raise SalientError(f"{store.path}: nothing to evaluate", expected="core or spurious features", got="none")
    tried = {region for p in chosen if p.ratio is not None for region in (p.ratio.inside, p.ratio.outside)}
    conditions = [
        Condition(name, region.name, control, trial)
        for region in regions.values()
        for control in _controls(region, controls)
        for name in names
        for trial in range(1, 1 + (trials if region.name in tried and corruption_of(name).random else 1))
    ]
    return Plan(tuple(protocol.name for protocol in chosen), rows, regions, tuple(conditions), fold)


def _controls(region: RegionOfStore, wanted: bool) -> tuple[Control, ...]:
    return ("", *CONTROLS) if wanted and not region.single else ("",)


@dataclass(frozen=True)
class Conditions:
    """What is run. protocols: names. sigmas: levels of Gaussian noise on the [0, 1] scale. corruptions: others, by
    name. controls: also on area-matched random regions and other images' masks. single_features: also one feature at
    a time. boxes: also the regions' bounding boxes. trials: of what is random, where the protocol gives a ratio."""

    protocols: Sequence[str] = ("iclr2022",)
    sigmas: Sequence[float] = (0.25,)
    corruptions: Sequence[str] = ()
    controls: bool = True
    single_features: bool = False
    boxes: bool = False
    trials: int = 1

    def plan(self, store: Store, fold: Fold = WHOLE, left_out: LeftOut = NOTHING) -> Plan:
        """The plan for a store, or a fold of its images. left_out: of the scores. Raises SalientError for levels, names
        or a store that will not do."""
        if not self.sigmas or not all(0 < sigma <= 1 for sigma in self.sigmas):
            expected = "one or more numbers above 0 and at most 1, the span of an image's values"
            raise SalientError(
                "noise levels", expected=expected, got=", ".join(f"{s:g}" for s in self.sigmas) or "none"
            )
        names = [f"noise_{sigma:g}" for sigma in self.sigmas] + list(self.corruptions)
        return make_plan(
            store,
            self.protocols,
            names,
            controls=self.controls,
            single_features=self.single_features,
            boxes=self.boxes,
            trials=self.trials,
            fold=fold,
            left_out=left_out,
        )


USUAL = Conditions()
"""Noise of the paper's level under its protocol, with controls."""
