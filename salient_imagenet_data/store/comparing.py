"""How far the masks of two stores agree: per (class, feature) pair, and for the core and spurious unions.

Images are joined by id, classes by name, features by index. Masks are compared in the crop frame, at its full size.
A mask counts where both stores know it: a release knows a pair's mask only for the images that it lists for the pair.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import to_crop_frame
from salient_imagenet_data.masks import dequantise
from salient_imagenet_data.names import KINDS, NEURONS, OFFICIAL_RELEASE, Kind
from salient_imagenet_data.progress import counted
from salient_imagenet_data.store.reading import Store

THRESHOLDS = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Pair:
    """A (class, feature) that both stores hold. slots: its place among the class's features in either."""

    class_name: str
    feature_index: int
    slots: tuple[int, int]


def agreement(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """a, b: (n, H, W) float32 in [0, 1]. Returns (n, 5): intersection over union at each of THRESHOLDS, Pearson's
    correlation over pixels, and the mean of |a - b|.

    A pixel is in a mask at a threshold if it is at least that. NaN where neither mask reaches the threshold, and
    for the correlation where a mask is constant.
    """
    a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    columns = []
    for threshold in THRESHOLDS:
        in_a, in_b = a >= threshold, b >= threshold
        columns.append(_ratio((in_a & in_b).sum(axis=1), (in_a | in_b).sum(axis=1)))
    da, db = (v - v.mean(axis=1, keepdims=True, dtype=np.float64) for v in (a, b))
    # The deviations of a constant mask are what rounding leaves, not zero.
    varied = (np.ptp(a, axis=1) > 0) & (np.ptp(b, axis=1) > 0)
    norm = np.where(varied, np.sqrt((da * da).sum(axis=1) * (db * db).sum(axis=1)), 0.0)
    columns += [_ratio((da * db).sum(axis=1), norm), np.abs(a - b).mean(axis=1, dtype=np.float64)]
    return np.stack(columns, axis=1)


def summarise(values: NDArray[np.float64]) -> dict[str, Any]:
    """Means over masks of what `agreement` gives, JSON-ready; None where no mask has a value."""
    means = [_mean(column) for column in values.T]
    return {
        "n": len(values),
        "iou": {f"{t:g}": mean for t, mean in zip(THRESHOLDS, means, strict=False)},
        "correlation": means[-2],
        "mean_absolute_difference": means[-1],
    }


def compare(a: Store, b: Store) -> dict[str, Any]:
    """Agreement of two stores, JSON-ready.

    images, pairs: how many are in both, and in one only. masks: over all masks that both know. unions: for core and
    spurious, the maximum over the features that both know for the image, each store by its own kinds; None while a
    store is not annotated. per_pair: by class and feature. Every mean is over masks, with their number n.
    Raises SalientError if the stores have no image in common, their features are of different bases, or their masks
    cover different parts of an image.
    """
    check_frames(a, b)
    _check_bases(a, b)
    shared = _shared(a, b)
    pairs, only = _pairs(a, b)
    annotated = None not in (a.manifest.annotations_sha256, b.manifest.annotations_sha256)
    singles: list[NDArray[np.float64]] = []
    owners: list[int] = []
    unions: dict[Kind, list[NDArray[np.float64]]] = {kind: [] for kind in KINDS if annotated}
    for rows, mine, masks in _known_masks(a, b, shared, pairs):
        singles.append(agreement(*masks))
        owners += mine
        for kind, found in unions.items():
            chosen = _chosen((a, b), rows, [pairs[i] for i in mine], kind)
            if chosen[0].any() and chosen[1].any():
                united = [m[c].max(axis=0)[None] for m, c in zip(masks, chosen, strict=True)]
                found.append(agreement(united[0], united[1]))
    values, owner = _stack(singles), np.array(owners, dtype=np.int64)
    compared = np.unique(owner).tolist()
    return {
        "stores": [str(a.path), str(b.path)],
        "images": {"both": len(shared), "only_in_first": len(a) - len(shared), "only_in_second": len(b) - len(shared)},
        "pairs": {"both": len(pairs), "compared": len(compared), "only_in_first": only[0], "only_in_second": only[1]},
        "masks": summarise(values),
        "unions": {kind: summarise(_stack(found)) for kind, found in unions.items()} if annotated else None,
        "per_pair": [
            {
                "class_name": pairs[i].class_name,
                "feature_index": pairs[i].feature_index,
                **summarise(values[owner == i]),
            }
            for i in compared
        ],
    }


def table(result: dict[str, Any]) -> str:
    """A comparison as text."""
    lines = [
        f"{what}: {n['both']} in both, {n['only_in_first']} only in the first, {n['only_in_second']} only in the second"
        for what, n in (("images", result["images"]), ("pairs", result["pairs"]))
    ]
    head = "  ".join(f"IoU {t:g}".rjust(8) for t in THRESHOLDS)
    lines.append(f"{'':<24} {'n':>8}  {head}  {'correlation':>11}  {'difference':>10}")
    rows = [("all masks", result["masks"])]
    rows += [(f"{kind} masks", summary) for kind, summary in (result["unions"] or {}).items()]
    scored = [p for p in result["per_pair"] if p["correlation"] is not None]
    worst = sorted(scored, key=lambda p: p["correlation"])[:5]
    rows += [(f"{p['class_name']} {p['feature_index']}", p) for p in worst]
    lines += [_line(name, summary) for name, summary in rows]
    if worst:
        lines.insert(len(lines) - len(worst), "pairs of least correlation:")
    if result["unions"] is None:
        lines.append("core and spurious masks are not compared: a store is not annotated")
    return "\n".join(lines)


def _line(name: str, s: dict[str, Any]) -> str:
    ious = "  ".join(_number(v).rjust(8) for v in s["iou"].values())
    return (
        f"{name:<24} {s['n']:>8}  {ious}  {_number(s['correlation']):>11}  {_number(s['mean_absolute_difference']):>10}"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def check_frames(a: Store, b: Store) -> None:
    """Raise SalientError unless the masks of both stores cover the same part of an image."""
    # The filter of the resize moves nothing.
    if dataclasses.replace(a.manifest.preprocessing, interpolation=b.manifest.preprocessing.interpolation) != (
        b.manifest.preprocessing
    ):
        raise SalientError(
            f"{b.path}: its masks cover another part of an image",
            expected=str(a.manifest.preprocessing),
            got=str(b.manifest.preprocessing),
        )


def same_bases(a: Store, b: Store) -> bool:
    """Whether a feature's number means the same in both, if they are of one network."""
    mine, other = a.basis, b.basis
    if mine is None or other is None:
        return mine is other
    return mine.agrees(other)


def _check_bases(a: Store, b: Store) -> None:
    """Raise SalientError unless the features are of the same basis."""
    if not same_bases(a, b):
        kinds = [NEURONS if store.basis is None else store.basis.kind for store in (a, b)]
        got = kinds[1] if kinds[0] != kinds[1] else f"{kinds[1]} of other images"
        raise SalientError(f"{b.path}: features of another basis", expected=f"{kinds[0]}, as in {a.path}", got=got)


def _shared(a: Store, b: Store) -> list[tuple[int, int]]:
    """Rows of the images in both. Raises SalientError if there are none, or a class differs."""
    row_of = {image_id: row for row, image_id in enumerate(b.rows.image_ids.to_pylist())}
    ids = a.rows.image_ids.to_pylist()
    shared = [(row, row_of[image_id]) for row, image_id in enumerate(ids) if image_id in row_of]
    if not shared:
        raise SalientError(
            f"{a.path} and {b.path}: no image in common",
            got=f"ids such as {a.rows[0].image_id} and {b.rows[0].image_id}" if a.rows and b.rows else "an empty store",
        )
    for row_a, row_b in shared:
        names = a.class_names[a.rows.labels[row_a]], b.class_names[b.rows.labels[row_b]]
        if names[0] != names[1]:
            raise SalientError(f"{ids[row_a]}: class differs", got=f"{names[0]!r} and {names[1]!r}")
    return shared


def _pairs(a: Store, b: Store) -> tuple[list[Pair], tuple[int, int]]:
    """The pairs in both, by class and feature, and the numbers of those only in a and only in b."""
    slots = [{(s.class_names[f.class_index], f.feature_index): f.slot for f in s.features} for s in (a, b)]
    both = sorted(slots[0].keys() & slots[1].keys())
    pairs = [Pair(name, feature, (slots[0][name, feature], slots[1][name, feature])) for name, feature in both]
    return pairs, (len(slots[0]) - len(both), len(slots[1]) - len(both))


def _known_masks(
    a: Store, b: Store, shared: list[tuple[int, int]], pairs: list[Pair]
) -> Iterator[tuple[tuple[int, int], list[int], tuple[NDArray[np.float32], NDArray[np.float32]]]]:
    """For each image in both: its rows, the pairs whose masks both know, and these masks, (n, S, S) each."""
    of_class: dict[str, list[int]] = {}
    for i, pair in enumerate(pairs):
        of_class.setdefault(pair.class_name, []).append(i)
    known = _known(a), _known(b)
    for rows in counted(shared, total=len(shared), what="compare"):
        mine = [
            i
            for i in of_class.get(a.class_names[a.rows.labels[rows[0]]], [])
            if all(known[side][rows[side], pairs[i].slots[side]] for side in (0, 1))
        ]
        if mine:
            slots = [[pairs[i].slots[side] for i in mine] for side in (0, 1)]
            yield rows, mine, (_masks(a, rows[0], slots[0]), _masks(b, rows[1], slots[1]))


def _chosen(
    stores: tuple[Store, Store], rows: tuple[int, int], pairs: list[Pair], kind: Kind
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """For either store, (n,) bool: the pair is of this kind there."""
    of_a, of_b = (stores[side].chosen(rows[side], kind)[[p.slots[side] for p in pairs]] for side in (0, 1))
    return of_a, of_b


def _known(store: Store) -> NDArray[np.bool_]:
    """(N, K) whether the store knows the mask: all that were built, and what a release lists."""
    if store.manifest.origin.get("kind") != OFFICIAL_RELEASE:
        return np.ones((len(store), store.manifest.features_per_class), dtype=np.bool_)
    return store.rows.in_top


def _masks(store: Store, row: int, slots: list[int]) -> NDArray[np.float32]:
    size = store.manifest.preprocessing.crop
    return to_crop_frame(dequantise(store.maps[row, slots]), size, size)


def _stack(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate(parts) if parts else np.empty((0, len(THRESHOLDS) + 2))


def _ratio(over: NDArray[Any], under: NDArray[Any]) -> NDArray[np.float64]:
    """over / under, NaN where under is 0."""
    result = np.full(np.shape(over), np.nan, dtype=np.float64)
    np.divide(over, under, out=result, where=under > 0)
    return result


def _mean(values: NDArray[np.float64]) -> float | None:
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else None
