"""A store's maps against people's boxes: by kind, by class and by feature, with another image's maps as the control.

Pointing game [Zhang et al. 2018], its energy-based form [Wang et al. 2020], localisation protocol [Choe et al. 2020].
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.localisation.figures import Localised, Placed, localised, place
from salient_imagenet_data.evaluation.localisation.truth import Truth
from salient_imagenet_data.evaluation.numbers.overlap import auroc
from salient_imagenet_data.imagenet import display_name
from salient_imagenet_data.masks import union_in_crop
from salient_imagenet_data.names import CORE, KINDS, SPURIOUS, Kind
from salient_imagenet_data.ranking.left_out import NOTHING, LeftOut, LeftOutFacts
from salient_imagenet_data.store.reading import Store

MOST_COVER = 0.95
"""Images whose boxes cover more of the crop say nothing about place: every map lies inside."""


@dataclass(frozen=True)
class OfMasks:
    """own: maps of a group against the boxes of their own images. other: another image's maps of the same features
    against them, which is what the features' habitual place gives. None where no map of the group is above 0."""

    own: Localised | None
    other: Localised | None


@dataclass(frozen=True)
class OfFeature:
    """One (class, feature) pair. kind: its answer, None without one. disagrees: the interval of its lift lies on the
    other side of 1 than the answer says: a core feature off the object, or a spurious one on it."""

    class_index: int
    class_name: str
    feature_index: int
    rank: int
    kind: str | None
    figures: OfMasks
    disagrees: bool


@dataclass(frozen=True)
class Localisation:
    """What `localise` finds.

    images: with boxes that were used. without_boxes: rows of the store that have none. covered: images left out since
    boxes cover more than 95 % of the crop. other_class: images whose boxes are all of other classes. outside: images
    whose boxes all lie outside the crop. unknown: images of the truth that the store does not have. auroc: of the
    features' lift as a sign of core, against the answers, None where all answers are alike. left_out: images of the
    store that count for none of this, but for `unknown`; None where nothing was asked for.
    """

    images: int
    without_boxes: int
    covered: int
    other_class: int
    outside: int
    unknown: int
    kinds: dict[Kind, OfMasks]
    classes: dict[str, dict[Kind, OfMasks]]
    features: tuple[OfFeature, ...]
    auroc: float | None
    left_out: LeftOutFacts | None = None

    def to_json(self) -> dict[str, Any]:
        """All of it, JSON-ready."""
        return asdict(self)


def localise(store: Store, truth: Truth, left_out: LeftOut = NOTHING) -> Localisation:
    """Hold the maps of the store's images that have boxes against these. left_out: images that no figure is of, nor
    another's control. Raises SalientError where no image has any."""
    ids = store.rows.image_ids.to_pylist()
    rows, regions, counts = _regions(store, truth, ids, left_out)
    other = _other_rows(store, rows, ids)
    groups: dict[tuple[Any, ...], tuple[list[Placed], list[Placed]]] = defaultdict(lambda: ([], []))
    tables = store.kind_table if store.manifest.annotations_sha256 is not None else None
    features = {(f.class_index, f.rank): f for f in store.features}
    side = store.manifest.preprocessing.crop

    def add(keys: list[tuple[Any, ...]], chosen: NDArray[np.bool_], row: int, region: NDArray[np.bool_]) -> None:
        for which, maps in enumerate((store.maps[row], store.maps[other[row]])):
            found = place(union_in_crop(maps, chosen, side, side), region)
            for key in keys:
                if found is not None:
                    groups[key][which].append(found)

    for row, region in zip(rows.tolist(), regions, strict=True):
        label = int(store.rows.labels[row])
        for slot in range(store.manifest.features_per_class):
            if (label, slot + 1) in features:
                chosen = np.arange(store.manifest.features_per_class) == slot
                add([("feature", label, slot + 1)], chosen, row, region)
        for kind in KINDS if tables is not None else ():
            chosen = tables[kind][label]  # type: ignore[index]
            if chosen.any():
                add([("kind", kind), ("class", label, kind)], chosen, row, region)

    def masks_of(*key: Any) -> OfMasks:
        own, others = groups[key]
        return OfMasks(localised(own), localised(others))

    found = []
    for (label, rank), feature in sorted(features.items()):
        figures = masks_of("feature", label, rank)
        name = store.class_names[label]
        disagrees = _disagrees(feature.kind, figures)
        found.append(OfFeature(label, name, feature.feature_index, rank, feature.kind, figures, disagrees))
    labels = np.unique(store.rows.labels[rows]).tolist()
    classes = {store.class_names[c]: {kind: masks_of("class", c, kind) for kind in KINDS} for c in labels}
    kinds: dict[Kind, OfMasks] = {kind: masks_of("kind", kind) for kind in KINDS}
    return Localisation(len(rows), *counts, kinds, classes, tuple(found), _auroc(found), left_out.facts(ids))


def _regions(
    store: Store, truth: Truth, ids: list[str], left_out: LeftOut
) -> tuple[NDArray[np.int64], list[NDArray[np.bool_]], tuple[int, int, int, int, int]]:
    rows, regions, covered, other_class, outside = [], [], 0, 0, 0
    here = np.flatnonzero(~left_out.holds(ids)).tolist()
    known = [row for row in here if ids[row] in truth]
    unknown = len(truth) - sum(image_id in truth for image_id in ids)
    for row in known:
        record = store.rows[row]
        if not record.size_known:
            raise SalientError(
                f"{record.image_id}: the store does not hold the image's size, so boxes cannot be placed",
                then="import again with --images",
            )
        name = store.class_names[record.label]
        if not truth.names(record.image_id, name):
            other_class += 1
            continue
        region = truth.region(record.image_id, name, (record.width, record.height), store.manifest.preprocessing)
        if region.mean() > MOST_COVER:
            covered += 1
        elif not region.any():
            outside += 1
        else:
            rows.append(row)
            regions.append(region)
    if not rows:
        raise SalientError(
            f"no image of {store.path} has boxes that say where it is",
            expected=f"ids such as {ids[0]}, and classes such as {store.class_names[0]}",
            got=f"{len(truth)} images with boxes, of which the store has {len(known)}: {covered} almost wholly "
            f"covered, {other_class} with boxes of other classes alone, {outside} with none inside the crop",
        )
    counts = (len(here) - len(known), covered, other_class, outside, unknown)
    return np.array(rows, dtype=np.int64), regions, counts


def _other_rows(store: Store, rows: NDArray[np.int64], ids: list[str]) -> dict[int, int]:
    """For each row another of its class, the next on a ring ordered by a hash of the id; itself where it is alone."""
    other: dict[int, int] = {}
    labels = store.rows.labels
    for label in np.unique(labels[rows]).tolist():
        mine = np.flatnonzero(labels == label).tolist()
        ring = sorted(mine, key=lambda row: hashlib.blake2b(ids[row].encode(), digest_size=8).digest())
        other |= dict(zip(ring, [*ring[1:], ring[0]], strict=True))
    return other


def _disagrees(kind: str | None, figures: OfMasks) -> bool:
    if kind is None or figures.own is None:
        return False
    lift = figures.own.lift
    return lift.high < 1.0 if kind == CORE else lift.low > 1.0


def _auroc(features: list[OfFeature]) -> float | None:
    known = [(f.figures.own.lift.value, f.kind == CORE) for f in features if f.kind is not None and f.figures.own]
    if not known:
        return None
    value = auroc(np.array([lift for lift, _ in known]), np.array([core for _, core in known]))
    return None if np.isnan(value) else value


def doubtful_first(found: Localisation) -> dict[tuple[int, int], str]:
    """The lift, in words, of each (class index, feature index), those first that a person should look at first.

    First by how far the lift speaks against the answer: a core feature's off the object, a spurious one's on it, and
    without an answer as for core. Features that no image with boxes shows stand last, in their own order.
    """

    def doubt(feature: OfFeature) -> float:
        if feature.figures.own is None:
            return np.inf
        lift = feature.figures.own.lift.value - 1.0
        return -lift if feature.kind == SPURIOUS else lift

    return {
        (f.class_index, f.feature_index): f"lift {f.figures.own.lift.words}" if f.figures.own else "no boxes"
        for f in sorted(found.features, key=doubt)
    }


def lines(found: Localisation) -> str:
    """The figures in lines of text: counts, kinds with their control, features whose answer and lift disagree."""
    left_out = f"{found.covered} left out whose boxes cover more than {MOST_COVER:.0%} of the crop"
    if found.other_class:
        left_out += f", {found.other_class} whose boxes are of other classes"
    if found.outside:
        left_out += f", {found.outside} whose boxes lie outside it"
    if found.unknown:
        left_out += f"; {found.unknown} images with boxes are not in the store"
    rows = [f"{found.images} images with boxes; {left_out}"]
    if found.left_out is not None:
        rows.append(found.left_out.words)
    head = ("maps", "images", "boxes", "mass inside", "lift", "pointing", "IoU")
    rows.append(f"{head[0]:<38} {head[1]:>6} {head[2]:>6}  " + " ".join(f"{words:<22}" for words in head[3:]).rstrip())
    for kind, masks in found.kinds.items():
        for words, figures in ((f"{kind} masks", masks.own), ("  another image's", masks.other)):
            if figures is not None:
                rows.append(_row(words, figures))
    if found.auroc is not None:
        rows.append(f"lift as a sign of core, against the answers: AUROC {found.auroc:.3f}")
    for feature in found.features:
        if feature.disagrees and feature.figures.own is not None:
            where = "off the object" if feature.kind == CORE else "on the object"
            name = f"{display_name(feature.class_name)} rank {feature.rank}, feature {feature.feature_index}"
            rows.append(f"{name}: called {feature.kind}, lies {where} (lift {feature.figures.own.lift.words})")
    if not any(masks.own for masks in found.kinds.values()):
        for f in found.features:
            if f.figures.own:
                rows.append(_row(f"{display_name(f.class_name)} rank {f.rank}", f.figures.own))
    return "\n".join(rows)


def _row(words: str, f: Localised) -> str:
    cells = " ".join(f"{e.words:<22}" for e in (f.mass, f.lift, f.pointing, f.iou))
    return f"{words[:38]:<38} {f.images:>6} {f.cover:6.3f}  {cells}".rstrip()
