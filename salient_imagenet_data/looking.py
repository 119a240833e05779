"""Pictures of rows: the photograph, its core mask and its spurious mask side by side, in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.imagenet import composed, display_names
from salient_imagenet_data.joining import Joined
from salient_imagenet_data.names import IMAGE, IMAGE_ID, KINDS, LABEL, MASK_COLUMN, SPURIOUS, Kind
from salient_imagenet_data.pictures.overlay import PANEL, strip
from salient_imagenet_data.pictures.tiles import stack
from salient_imagenet_data.ranking.spuriosity import check_known, spuriosity
from salient_imagenet_data.store.reading import Store

End = Literal["most", "least"]
"""Of a class, ranked by spuriosity."""


def show(row: Mapping[str, Any], names: Any = None, *, panel: int = PANEL) -> Image.Image:
    """One row as a picture: photograph, core in blue, spurious in orange; a notebook draws it by itself.

    row: of `load_dataset`, a sample of `SalientImageNet`, or a dict with the same keys. names: class names by label, or
    the column's own `ClassLabel`, for the title; ImageNet's wnids are shown as words. panel: pixels of a panel's longer
    side. Raises SalientError for a row without masks; a row without an image is drawn over gray.
    """
    masks: dict[Kind, NDArray[np.float32] | None] = {kind: _mask(row, kind) for kind in KINDS}
    image = row.get(IMAGE)
    return strip(None if image is None else _pixels(image), masks, _title(row, names), panel=panel)


def sheet(
    joined: Joined, items: Sequence[int], *, panel: int = PANEL, scores: NDArray[np.floating] | None = None
) -> Image.Image:
    """Some items of a joined store below each other, as `show` draws them, in the crop frame. scores: (N,) spuriosity
    by store row, to stand in the titles."""
    store = joined.store
    words = display_names(store.class_names)
    strips = []
    for item in items:
        row = int(joined.rows[item])
        record = store.rows[row]
        title = f"{words[record.label]}   {record.image_id}"
        if scores is not None:
            title = f"{words[record.label]}   spuriosity {scores[row]:+.2f}   {record.image_id}"
        masks = {kind: store.mask(row, kind) for kind in KINDS}
        strips.append(strip(joined.crop(item), masks, title, panel=panel))
    return stack(strips)


def choose(joined: Joined, classes: Sequence[str] = (), count: int = 2) -> list[int]:
    """Items to look at: of each class the `count` that show its features most (its top images first, then by row).

    classes: names or ImageNet's words; none: all that have images, at most ten of them, spread evenly. Raises
    SalientError for a class that the store does not have, or has no image of.
    """
    store = joined.store
    labels = store.rows.labels[joined.rows]
    items: list[int] = []
    for label in _wanted(store, labels, classes):
        mine = _items_of(store, labels, label)
        shown = store.rows.in_top[joined.rows[mine]].sum(axis=1)
        items += mine[np.argsort(-shown, kind="stable")[:count]].tolist()
    return items


def spuriosity_of(store: Store) -> NDArray[np.float64]:
    """(N,) spuriosity of each row among all of its class in the store, NaN in a class without a spurious feature.

    Raises SalientError while the store is not annotated, or where it does not know activations.
    """
    check_known(store.activations, store.path)
    return spuriosity(store.activations, store.rows.labels, store.kind_table[SPURIOUS])


def choose_ends(
    joined: Joined, scores: NDArray[np.floating], ends: Sequence[End], classes: Sequence[str] = (), count: int = 2
) -> list[int]:
    """Items at the ends of the ranking by spuriosity: of each class the `count` most spurious, the highest first, and
    the `count` least spurious, the lowest last, as `ends` says; with both, no image twice. Equal ones go by row.

    scores: (N,) as of `spuriosity_of`. classes: as in `choose`, of those with a spurious feature. Raises SalientError
    for a class without one, and where no class has any.
    """
    store = joined.store
    labels = store.rows.labels[joined.rows]
    ranked = ~np.isnan(scores[joined.rows])
    if not ranked.any():
        raise SalientError("no image has a spuriosity", expected="a class with a spurious feature", got="none")
    items: list[int] = []
    for label in _wanted(store, labels if classes else labels[ranked], classes):
        mine = _items_of(store, labels, label)
        if not ranked[mine].all():
            raise SalientError(f"class {store.class_names[label]!r} has no spurious feature, so no ranking")
        order = mine[np.argsort(-scores[joined.rows[mine]], kind="stable")].tolist()
        k = min(count, len(order) // 2) if len(ends) > 1 else count
        items += order[:k] if "most" in ends else []
        items += order[max(0, len(order) - k) :] if "least" in ends else []
    return items


def _wanted(store: Store, labels: NDArray[np.integer], classes: Sequence[str]) -> list[int]:
    present = np.unique(labels).tolist()
    return [label_of(store.class_names, name) for name in classes] if classes else _spread(present, 10)


def _items_of(store: Store, labels: NDArray[np.integer], label: int) -> NDArray[np.int64]:
    mine = np.flatnonzero(labels == label)
    if not len(mine):
        raise SalientError(f"class {store.class_names[label]!r}: no image of it here", expected="at least one")
    return mine


def label_of(class_names: tuple[str, ...], name: str) -> int:
    """The number of a class by its name or ImageNet's words. Raises SalientError for another."""
    for names in (class_names, display_names(class_names)):
        if composed(name) in names:
            return names.index(composed(name))
    raise SalientError(
        f"no class {name!r} in the store", expected=f"one of {', '.join(display_names(class_names)[:5])}, ..."
    )


def _spread(values: Sequence[int], most: int) -> list[int]:
    places = np.unique(np.linspace(0, len(values) - 1, min(most, len(values))).round().astype(int))
    return [values[place] for place in places]


def _title(row: Mapping[str, Any], names: Any) -> str:
    label, words = row.get(LABEL), ""
    if label is not None:
        listed = getattr(names, "names", names)
        words = display_names(tuple(listed))[int(label)] if listed is not None else f"class {int(label)}"
    return "   ".join(part for part in (words, str(row.get(IMAGE_ID) or "")) if part)


def _mask(row: Mapping[str, Any], kind: Kind) -> NDArray[np.float32] | None:
    if MASK_COLUMN[kind] not in row:
        raise SalientError(
            "this row has no masks", expected=f"keys {' and '.join(MASK_COLUMN.values())}", got=", ".join(map(str, row))
        )
    mask = row[MASK_COLUMN[kind]]
    if mask is None or not row.get(f"has_{kind}", True):
        return None
    values = np.asarray(mask)
    values = values[0] if values.ndim == 3 else values
    return values.astype(np.float32) / np.float32(255.0 if values.dtype == np.uint8 else 1.0)


def _pixels(image: Any) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 of a picture, an array or a tensor with channels first; floats are in [0, 1]."""
    values = np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image)
    if values.ndim != 3 or 3 not in (values.shape[0], values.shape[-1]):
        raise SalientError("image", expected="(H, W, 3) or (3, H, W)", got=str(values.shape))
    if values.shape[-1] != 3:
        values = np.moveaxis(values, 0, -1)
    if values.dtype != np.uint8:
        values = np.rint(np.clip(values, 0.0, 1.0) * 255.0)
    return np.ascontiguousarray(values, dtype=np.uint8)
