"""How much of what people called spurious another method finds, by region and by words.

By region: a claim finds a spurious feature of its class if the mean intersection over union of its regions with the
feature's maps, cut at half of their peak, over the feature's top images is at least a half. Top images count that any
claim of the class speaks about; a claim without a region there has 0. Recall is over the spurious features of the
classes that have claims with regions, precision over these claims.

The control are the same claims assigned to other classes: the regions of a claim, by image id, laid on the other
class's images in the order of their ids, and round again where there are more of these.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError, some
from salient_imagenet_data.evaluation.claims.reading import Claim
from salient_imagenet_data.evaluation.claims.wording import InWords, in_words
from salient_imagenet_data.evaluation.numbers.bootstrap import value_average
from salient_imagenet_data.evaluation.numbers.estimates import Estimate, wilson
from salient_imagenet_data.geometry import to_crop_frame
from salient_imagenet_data.imagenet import wnid_of_words
from salient_imagenet_data.masks import dequantise
from salient_imagenet_data.names import SPURIOUS
from salient_imagenet_data.store.features import Feature
from salient_imagenet_data.store.reading import Store

LEVEL, MATCH = 0.5, 0.5
"""Of a map's peak, from which on a pixel is in it; mean intersection over union from which on a claim finds a
feature."""
OTHERS = 20
"""Classes at most that a class's claims are assigned to in the control."""
Packed = NDArray[np.uint8]
"""A region of the crop, a bit a pixel."""


@dataclass(frozen=True)
class FeatureFound:
    """A spurious feature. iou: the best claim's mean one over `images` top images. found: whether that is enough.
    chance: share of other classes whose claims would find it; None where there is no other class."""

    class_name: str
    feature_index: int
    rank: int
    name: str | None
    iou: float
    images: int
    found: bool
    chance: float | None


@dataclass(frozen=True)
class ClaimFound:
    """A claim with regions. right: whether it finds a spurious feature of its class. chance: the share of other classes
    of which it would find one; None where there is no other class."""

    class_name: str
    words: str
    right: bool
    chance: float | None


@dataclass(frozen=True)
class OfClass:
    """recall: None where people called nothing spurious; precision: None where no claim has a region."""

    class_name: str
    recall: Estimate | None
    precision: Estimate | None


@dataclass(frozen=True)
class Discovery:
    """What `score_discovery` finds.

    recall, precision: None where there is nothing to count. chance_recall, chance_precision: the same claims assigned
    to other classes. recall_beyond, precision_beyond: how much more their own classes give, with a bootstrap over
    features (claims). not_covered: spurious features none of whose top images any claim speaks about, left out.
    not_asked: spurious features of classes without regions. unknown_classes: of claims that are left out.
    unknown_images: regions on images that the store does not have in that class, left out. words: by words, for people
    to judge.
    """

    claims: int
    with_regions: int
    recall: Estimate | None
    chance_recall: Estimate | None
    recall_beyond: Estimate | None
    precision: Estimate | None
    chance_precision: Estimate | None
    precision_beyond: Estimate | None
    not_covered: int
    not_asked: int
    unknown_classes: tuple[str, ...]
    unknown_images: int
    classes: tuple[OfClass, ...]
    features: tuple[FeatureFound, ...]
    found_claims: tuple[ClaimFound, ...]
    words: InWords

    def to_json(self) -> dict[str, Any]:
        """All of it, JSON-ready."""
        return asdict(self)


@dataclass(frozen=True)
class _OfClass:
    """covered: rows that any claim speaks about, by image id. claims: with regions. regions: of each claim, by row.
    features: spurious ones, with the rows of their top images that are covered and these images' maps."""

    label: int
    covered: tuple[int, ...]
    claims: tuple[Claim, ...]
    regions: tuple[dict[int, Packed], ...]
    features: tuple[tuple[Feature, tuple[int, ...], NDArray[np.uint8]], ...]


def score_discovery(store: Store, claims: Sequence[Claim]) -> Discovery:
    """Hold claims against a store with answers. Raises SalientError where it has none, or none of the claims'
    classes."""
    spurious = store.kind_table[SPURIOUS]
    by_label, unknown = _by_label(store, claims)
    tables, outside, not_covered = {}, 0, 0
    called = defaultdict[int, list[Feature]](list)
    for feature in store.features:
        if feature.kind == SPURIOUS:
            called[feature.class_index].append(feature)
    by_class = np.argsort(store.rows.labels, kind="stable")
    ends = np.searchsorted(store.rows.labels[by_class], np.arange(len(store.class_names) + 1))
    for label, mine in sorted(by_label.items()):
        rows = by_class[ends[label] : ends[label + 1]]
        of_class, lost, bare = _class_of(store, label, rows.tolist(), called[label], mine)
        outside, not_covered = outside + lost, not_covered + bare
        if of_class.claims:
            tables[label] = of_class
    others = _others(store, sorted(tables))
    found_by: dict[int, list[NDArray[np.bool_]]] = {label: [] for label in tables}  # on it, other classes' claims
    finding: dict[int, list[NDArray[np.bool_]]] = {label: [] for label in tables}  # by it, on other classes
    for label, table in tables.items():
        for other in others[label]:
            hits = _overlaps(tables[other], table, moved=True) >= MATCH
            found_by[label].append(np.asarray(hits.any(axis=0)))
            finding[other].append(np.asarray(hits.any(axis=1)))
    features, found_claims, classes = list[FeatureFound](), list[ClaimFound](), list[OfClass]()
    for label, table in tables.items():
        own = _overlaps(table, table, moved=False)
        finds = np.array(found_by[label])
        found = [_feature(one, float(own[:, n].max()), _mean(finds, n)) for n, one in enumerate(table.features)]
        finds = np.array(finding[label])
        right = [bool(hits.any()) for hits in own >= MATCH]
        name = store.class_names[label]
        judged = [ClaimFound(name, c.words, right[n], _mean(finds, n)) for n, c in enumerate(table.claims)]
        classes.append(OfClass(name, _share([f.found for f in found]), _share([c.right for c in judged])))
        features += found
        found_claims += judged
    asked = np.zeros(len(store.class_names), dtype=np.bool_)
    asked[list(tables)] = True
    return Discovery(
        len(claims),
        len(found_claims),
        _share([f.found for f in features]),
        *_chance([f.found for f in features], [f.chance for f in features]),
        _share([c.right for c in found_claims]),
        *_chance([c.right for c in found_claims], [c.chance for c in found_claims]),
        not_covered,
        int(spurious[~asked].sum()),
        unknown,
        outside,
        tuple(classes),
        tuple(features),
        tuple(found_claims),
        in_words(store, by_label),
    )


def _by_label(store: Store, claims: Sequence[Claim]) -> tuple[dict[int, list[Claim]], tuple[str, ...]]:
    """Claims by class, and the names of classes that the store has not."""
    ids = {wnid_of_words(name): label for label, name in enumerate(store.class_names)}
    exact = {name: label for label, name in enumerate(store.class_names)}
    by_label: defaultdict[int, list[Claim]] = defaultdict(list)
    unknown = dict[str, None]()
    for claim in claims:
        label = exact.get(claim.class_name, ids.get(wnid_of_words(claim.class_name)))
        if label is None:
            unknown[claim.class_name] = None
        else:
            by_label[label].append(claim)
    if not by_label:
        raise SalientError(
            "the claims are about none of the store's classes",
            expected=f"classes such as {some(store.class_names, 3)}",
            got=some(tuple(unknown)),
        )
    return dict(by_label), tuple(unknown)


def _class_of(
    store: Store, label: int, rows_of_class: list[int], spurious: Sequence[Feature], claims: Sequence[Claim]
) -> tuple[_OfClass, int, int]:
    """A class's table, how many regions are on images that it has not, and how many of its spurious features no claim
    covers."""
    ids, lost = store.rows.image_ids, 0
    row_of = {ids[row].as_py(): row for row in rows_of_class}
    kept, regions = [], []
    for claim in claims:
        named = [*claim.regions.boxes, *claim.regions.masks]
        lost += sum(image_id not in row_of for image_id in named)
        mine = {row_of[i]: _region(store, row_of[i], claim) for i in named if i in row_of}
        if mine:
            kept.append(claim)
            regions.append(mine)
    covered = tuple(sorted({row for mine in regions for row in mine}, key=lambda row: str(ids[row].as_py())))
    features, bare = [], 0
    for feature in spurious if kept else ():
        rows = tuple(row for row in covered if store.rows.in_top[row, feature.slot])
        if rows:
            features.append((feature, rows, np.stack([_map(store, row, feature.slot) for row in rows])))
        bare += not rows
    return _OfClass(label, covered, tuple(kept), tuple(regions), tuple(features)), lost, bare


def _region(store: Store, row: int, claim: Claim) -> Packed:
    record = store.rows[row]
    if not record.size_known:
        raise SalientError(
            f"{record.image_id}: the store does not hold the image's size, so regions cannot be placed",
            then="import again with --images",
        )
    size, preprocessing = (record.width, record.height), store.manifest.preprocessing
    return np.packbits(claim.regions.region(record.image_id, "", size, preprocessing))


def _map(store: Store, row: int, slot: int) -> Packed:
    side = store.manifest.preprocessing.crop
    return np.packbits(to_crop_frame(dequantise(store.maps[row, slot]), side, side) >= LEVEL)


def _overlaps(of: _OfClass, on: _OfClass, *, moved: bool) -> NDArray[np.float64]:
    """(claims of the one class, features of the other): mean intersection over union over the features' rows. moved:
    the claims are assigned to the other class's rows in order."""
    result = np.zeros((len(of.claims), len(on.features)))
    place = {row: number for number, row in enumerate(on.covered)}
    for number, mine in enumerate(of.regions):
        for column, (_, rows, maps) in enumerate(on.features):
            said = [of.covered[place[row] % len(of.covered)] for row in rows] if moved else rows
            nothing = np.zeros(maps.shape[1], dtype=np.uint8)
            result[number, column] = mean_overlap(np.stack([mine.get(row, nothing) for row in said]), maps)
    return result


def mean_overlap(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Mean intersection over union of pairs of regions, (n, bytes) each with a bit a pixel; pairs that are both empty
    say nothing and are left out, and 0 where all are."""
    both = np.bitwise_count(one & other).sum(axis=1, dtype=np.int64)
    either = np.bitwise_count(one | other).sum(axis=1, dtype=np.int64)
    there = either > 0
    return float((both[there] / either[there]).mean()) if there.any() else 0.0


def _others(store: Store, labels: list[int]) -> dict[int, list[int]]:
    """For each class those that follow it on a ring ordered by a hash of their names, at most `OTHERS`."""
    names = store.class_names
    ring = sorted(labels, key=lambda c: hashlib.blake2b(names[c].encode(), digest_size=8).digest())
    return {c: [*ring[i + 1 :], *ring[:i]][:OTHERS] for i, c in enumerate(ring)}


def _feature(one: tuple[Feature, tuple[int, ...], NDArray[np.uint8]], iou: float, chance: float | None) -> FeatureFound:
    f, rows, _ = one
    return FeatureFound(f.class_name, f.feature_index, f.rank, f.name, iou, len(rows), iou >= MATCH, chance)


def _mean(finds: NDArray[np.bool_], column: int) -> float | None:
    """Over other classes, (classes, features or claims); None without any."""
    return float(finds[:, column].mean()) if len(finds) else None


def _share(hits: list[bool]) -> Estimate | None:
    return wilson(sum(hits), len(hits)) if hits else None


def _chance(hits: list[bool], chances: list[float | None]) -> tuple[Estimate | None, Estimate | None]:
    """The mean chance, and the mean of hit minus chance; None where nothing has another class."""
    known = [(float(hit), chance) for hit, chance in zip(hits, chances, strict=True) if chance is not None]
    if not known:
        return None, None
    own, others = np.array(known).T
    together = np.zeros(len(own), dtype=np.int64)
    return value_average(others, together), value_average(own - others, together)
