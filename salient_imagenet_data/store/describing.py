"""What a store holds, in a few lines: what a person sees of it at a prompt and in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from salient_imagenet_data.imagenet import display_name, display_names
from salient_imagenet_data.names import CORE, KINDS, SPURIOUS, Kind
from salient_imagenet_data.pictures.overlay import strip

if TYPE_CHECKING:
    from salient_imagenet_data.store.manifest import Manifest
    from salient_imagenet_data.store.reading import Store

MOST_CLASSES = 30
"""Rows of a notebook's table; the others are counted."""


LONGEST_CELL = 40
MOST_NAMES = 6
"""Names of spurious features in a line; the others are counted."""


@dataclass(frozen=True)
class OfClass:
    """What a store holds of a class. core, spurious: its features of that kind; both None while not annotated."""

    name: str
    images: int
    core: int | None
    spurious: int | None


def by_class(store: Store) -> list[OfClass]:
    """One entry a class, in the order of the class indices. Names are shown ones: ImageNet's wnids as words."""
    count = len(store.class_names)
    images = np.bincount(store.rows.labels, minlength=count).tolist()
    names = display_names(store.class_names)
    if store.manifest.annotations_sha256 is None:
        return [OfClass(name, n, None, None) for name, n in zip(names, images, strict=True)]
    core, spurious = (store.kind_table[kind].sum(axis=1).tolist() for kind in (CORE, SPURIOUS))
    return [OfClass(*row) for row in zip(names, images, core, spurious, strict=True)]


def text(store: Store) -> str:
    """Two lines: what is in it, and which classes have which masks."""
    m = store.manifest
    grid = " x ".join(map(str, m.grid))
    size = f"{m.images} images, {len(m.class_names)} classes, {m.features_per_class} features a class, maps {grid}"
    return f"Store({str(store.path)!r}): {size}\n  {masks(store)}; split {m.split}, version {m.data_version}"


def counts(store: Store) -> dict[str, int] | None:
    """How many classes have core and spurious masks; None while not annotated."""
    if store.manifest.annotations_sha256 is None:
        return None
    return {kind: int(store.has(kind).sum()) for kind in (CORE, SPURIOUS)}


def masks(store: Store) -> str:
    """The same in words."""
    count = counts(store)
    if count is None:
        return "not annotated yet, so no masks"
    return f"core masks for {count[CORE]} classes, spurious masks for {count[SPURIOUS]}"


def generalisation(manifest: Manifest) -> str:
    """Whether the answers hold for images of lower ranks, with the 95 % interval."""
    g = manifest.generalisation
    if not g:
        return "not measured"
    return (
        f"{g['same']} of {g['pairs']} pairs that were asked again on {g['images']} random images of the ranks "
        f"{g['first_rank']} to {g['last_rank']} came out as the same kind: {g['same'] / g['pairs']:.3f} "
        f"[{g['low']:.3f}, {g['high']:.3f}]"
    )


def names(store: Store) -> str:
    """How many features have a name in people's words, and the first of the spurious ones."""
    named = [f for f in store.features if f.name]
    shown = display_names(store.class_names)
    spurious = [f"{f.name} ({shown[f.class_index]})" for f in named if f.kind == SPURIOUS]
    words = f"{len(named)} of {len(store.features)} features have one, of people's reasons"
    return words + (f"; spurious: {'; '.join(spurious[:MOST_NAMES])}" if spurious else "") + _more(len(spurious))


def _more(count: int) -> str:
    return f"; and {count - MOST_NAMES} more" if count > MOST_NAMES else ""


def names_json(store: Store, kind: Kind | None = None) -> list[dict[str, Any]]:
    """The name of every feature, or of those of a kind, and how many reasons it is made of."""
    fields = ("class_name", "feature_index", "rank", "kind", "name")
    chosen = [f for f in store.features if kind is None or f.kind == kind]
    return [{**{field: getattr(f, field) for field in fields}, "reasons": len(f.reasons)} for f in chosen]


def names_table(store: Store, kind: Kind | None = None) -> str:
    """The same in lines."""
    rows: list[tuple[str, ...]] = [("class", "feature", "rank", "kind", "name", "reasons")]
    for f in names_json(store, kind):
        cells = (f["feature_index"], f["rank"], f["kind"] or "", f["name"] or "", f["reasons"])
        rows.append((display_name(f["class_name"]), *map(str, cells)))
    return in_columns(rows)


def in_columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text in columns, each as wide as its longest cell and at most `LONGEST_CELL` letters."""
    cut = [[cell if len(cell) <= LONGEST_CELL else cell[: LONGEST_CELL - 1] + "…" for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cut, strict=True)]
    return "\n".join("  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip() for row in cut)


def html(store: Store) -> str:
    """The same with a table of the classes."""
    classes = by_class(store)
    rows = "".join(
        f"<tr><td>{escape(c.name)}</td><td>{c.images}</td><td>{_count(c.core)}</td><td>{_count(c.spurious)}</td></tr>"
        for c in classes[:MOST_CLASSES]
    )
    more = f"<p>and {len(classes) - MOST_CLASSES} more classes</p>" if len(classes) > MOST_CLASSES else ""
    head = "<tr><th>class</th><th>images</th><th>core features</th><th>spurious features</th></tr>"
    return f"<p>{escape(text(store)).replace(chr(10), '<br>')}</p><table>{head}{rows}</table>{more}"


def html_of(loader: object, store: Store) -> str:
    """The first line of a loader's own words, and its store with the table of classes."""
    return f"<p>{escape(repr(loader).splitlines()[0])}</p>{html(store)}"


def picture(store: Store, row: int, image: Image.Image | None) -> Image.Image:
    """A row's photograph with its core and spurious mask beside it, in the crop frame; over gray without one."""
    record = store.rows[row]
    crop = None if image is None else store.manifest.preprocessing.apply_to_picture(image.convert("RGB"))
    title = f"{display_names(store.class_names)[record.label]}   {record.image_id}"
    return strip(crop, {kind: store.mask(row, kind) for kind in KINDS}, title)


def _count(value: int | None) -> str:
    return "?" if value is None else str(value or "none")
