"""What is on each page, as values for its template. Pure: a library and the page's address in, nothing written."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from salient_imagenet_data.app.explore.finding import CUE_CHOICES, KIND_CHOICES, Query, find
from salient_imagenet_data.app.explore.library import Library
from salient_imagenet_data.app.explore.one_image import image
from salient_imagenet_data.app.explore.predicted import condition_words, kind_of
from salient_imagenet_data.app.gallery import SIZES, STEPS, Drawing
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.plan.condition import CLEAN
from salient_imagenet_data.names import KINDS
from salient_imagenet_data.store.features import Feature

__all__ = ["boxes", "feature", "flips", "home", "image", "of_class", "search"]

SHOWN = 5
"""Images of a feature, and of either end, on a class's page."""
PER_PAGE = 20
"""Features, or images, of a page that has further ones."""
VIEWS: dict[str, tuple[str, Drawing, int]] = {
    "": ("heat map over it", "feature", 0),
    "contour": ("contour", "outline", STEPS // 2),
    "photo": ("photograph", "photo", 0),
}
"""How a gallery shows its images: in words, what is drawn, and where a map is cut unasked."""
Item = TypeVar("Item")
Values = dict[str, Any]


@dataclass(frozen=True)
class Pages:
    """Where one is among pages, from 1."""

    number: int
    last: int
    total: int


def home(library: Library) -> Values:
    """All classes, and what the store is."""
    kinds = [f.kind for f in library.store.features]
    return {
        "kinds": {kind: kinds.count(kind) for kind in KINDS} | {"open": kinds.count(None)},
        "classes": [
            {"index": index, "name": library.names[index], "images": library.counts[index]}
            | {kind: sum(f.kind == kind for f in library.features.get(index, ())) for kind in KINDS}
            for index in range(len(library.names))
        ],
    }


def search(library: Library, query: Query, page: int = 1, per_page: int = PER_PAGE) -> Values:
    """The features that a query finds, and the classes that are called so."""
    found = find(library, query)
    shown, pages = _cut(found, page, per_page)
    return {
        "query": query,
        "found": [_with_pictures(library, one, 3) for one in shown],
        "pages": pages,
    }


def of_class(library: Library, index: int) -> Values:
    """A class: its features with their galleries, and its most and least spurious images."""
    index = library.class_at(index)
    beside = library.beside
    return {
        "index": index,
        "name": library.names[index],
        "images": library.counts[index],
        "features": [_with_pictures(library, one, SHOWN) for one in library.features.get(index, ())],
        "ends": library.ends_of(index, SHOWN),
        "theirs": beside.features_of(index) if beside else (),
    }


def feature(
    library: Library,
    class_index: int,
    feature_index: int,
    page: int,
    view: str,
    step: int | None,
    *,
    per_page: int = PER_PAGE,
) -> Values:
    """A feature: what people said, and the images of its class, those that show it most first."""
    found = library.feature_at(class_index, feature_index)
    if view not in VIEWS:
        raise SalientError("no such view", expected=", ".join(filter(None, VIEWS)), got=repr(view[:40]))
    rows, values = library.order_of(found)
    shown, pages = _cut(list(zip(rows.tolist(), values.tolist(), strict=True)), page, per_page)
    words, drawing, usual = VIEWS[view]
    return {
        "name": library.names[class_index],
        "one": _of_feature(library, found),
        "reasons": Counter(found.reasons).most_common(),
        "tiles": [
            {"row": row, "activation": number(value), "rank": place}
            for place, (row, value) in enumerate(shown, start=1 + (pages.number - 1) * per_page)
        ],
        "pages": pages,
        "view": view,
        "views": {key: v[0] for key, v in VIEWS.items() if library.photographs or v[1] != "photo"},
        "drawing": drawing,
        "step": usual if step is None else step,
        "words": words,
    }


def boxes(library: Library, page: int = 1) -> Values:
    """Features by how far people's boxes speak against their answers."""
    found = library.boxes
    if found is None:
        raise SalientError("no boxes were given", expected="--boxes")
    shown, pages = _cut(list(found.doubtful), page, PER_PAGE)
    return {
        "found": [_with_pictures(library, library.feature_at(*pair), SHOWN) for pair in shown],
        "pages": pages,
        "numbers": found.found,
        "kinds": {kind: masks for kind, masks in found.found.kinds.items() if masks.own},
    }


def flips(library: Library, model: int, condition: int, page: int = 1) -> Values:
    """The images that a model answers right, and no longer so under a condition."""
    if not 0 <= model < len(library.models) or not 0 <= condition < len(library.models[model].corrupted):
        raise SalientError("no such predictions", expected="a model and a condition of --predictions")
    one = library.models[model]
    name = one.corrupted[condition]
    found = one.flips(name, library.store.rows.labels)
    shown, pages = _cut(found.lost, page, PER_PAGE)
    return {
        "model": one.name,
        "number": model,
        "chosen": condition,
        "condition": condition_words(name),
        "conditions": [condition_words(other) for other in one.corrupted],
        "flips": found,
        "drawing": (library.annotated and kind_of(name)) or "photo",
        "lost": [
            {
                "row": row,
                "name": library.names[int(library.store.rows.labels[row])],
                "before": answer_words(library, one.said[CLEAN].at(row)),
                "after": answer_words(library, one.said[name].at(row)),
            }
            for row in shown
        ],
        "pages": pages,
    }


def shared(library: Library) -> Values:
    """What the frame of every page needs."""
    m = library.store.manifest
    return {
        "library": library,
        "place": library.place,
        "other_place": library.beside.place if library.beside else "",
        "size": SIZES[0],
        "large": SIZES[1],
        "steps": STEPS,
        "manifest": m,
        "kind_choices": KIND_CHOICES,
        "cue_choices": CUE_CHOICES,
        "everything": Query(),
        "asked": Query(),
        "open": any(f.kind is None for f in library.store.features),
        "flip_pages": [(index, one.name) for index, one in enumerate(library.models) if one.corrupted],
    }


def number(value: float) -> str:
    """Three digits, or that it is not known, as in a release."""
    return f"{value:.3g}" if math.isfinite(value) else "not known"


def answer_words(library: Library, said: tuple[int, float] | None) -> str:
    """An answer with its probability."""
    if said is None:
        return "not asked"
    index, confidence = said
    known = library.names[index] if index < len(library.names) else f"output {index}, no class of the store"
    return f"{known} ({confidence:.2f})"


def _with_pictures(library: Library, feature: Feature, count: int) -> Values:
    rows, values = library.order_of(feature)
    tiles = [
        {"row": int(row), "activation": number(float(v))} for row, v in zip(rows[:count], values[:count], strict=True)
    ]
    return _of_feature(library, feature) | {"tiles": tiles, "class": library.names[feature.class_index]}


def _of_feature(library: Library, feature: Feature) -> Values:
    votes = (feature.votes_main_object, feature.votes_separate_object, feature.votes_background)
    held = library.boxes.features.get((feature.class_index, feature.feature_index)) if library.boxes else None
    own = held.figures.own if held else None
    return {
        "feature": feature,
        "kind": feature.kind or "open",
        "cue": (feature.cue or "").replace("_", " "),
        "votes": None if None in votes else votes,
        "said": [reason for reason, _ in Counter(feature.reasons).most_common(3)],
        "more": max(0, len(set(feature.reasons)) - 3),
        "lift": own.lift.words if own else "",
        "disagrees": bool(held and held.disagrees),
        "flag": library.flags.get((feature.class_index, feature.feature_index)),
    }


def _cut(items: Sequence[Item], page: int, per_page: int) -> tuple[Sequence[Item], Pages]:
    last = max(1, -(-len(items) // per_page))
    if not 1 <= page <= last:
        raise SalientError("no such page", expected=f"1 to {last}", got=str(page))
    return items[(page - 1) * per_page : page * per_page], Pages(page, last, len(items))
