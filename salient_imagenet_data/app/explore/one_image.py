"""The page of one image: all its maps, its masks, and their numbers at a threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.app.explore.beside import Agreed
from salient_imagenet_data.app.explore.boxes import Inside, inside
from salient_imagenet_data.app.explore.library import Library
from salient_imagenet_data.app.explore.predicted import condition_words
from salient_imagenet_data.app.gallery import STEPS
from salient_imagenet_data.evaluation.plan.condition import CLEAN
from salient_imagenet_data.geometry import to_crop_frame
from salient_imagenet_data.masks import dequantise
from salient_imagenet_data.names import KINDS, Kind
from salient_imagenet_data.store.features import Feature


@dataclass(frozen=True)
class MapNumbers:
    """One map or mask of the image. area: share of the crop that is at least the threshold; at 0, above 0. mean: of the
    map over the crop. activation, rank: of the feature, and the image's place among those of its class; None for a
    mask, and where it is not known. peak: what the map was divided by. inside: against people's boxes. agreed: with the
    other store."""

    area: float
    mean: float
    activation: float | None = None
    rank: int | None = None
    peak: float | None = None
    inside: Inside | None = None
    agreed: Agreed | None = None


def image(library: Library, row: int, step: int) -> dict[str, Any]:
    """Values of the page."""
    row = library.row_at(row)
    store, level = library.store, step / STEPS
    record = store.rows[row]
    features = library.features.get(record.label, ())
    region = library.boxes.region(row) if library.boxes else None
    other = library.beside.row_of(row) if library.beside else None
    theirs = {f.feature_index: f for f in library.beside.features_of(record.label)} if library.beside else {}
    side = store.manifest.preprocessing.crop
    masks: dict[Kind, NDArray[np.float32] | None] = {
        kind: store.mask(row, kind) if library.annotated else None for kind in KINDS
    }
    of_class = library.rows_of(record.label)
    place = int(np.searchsorted(of_class, row))

    def of_feature(feature: Feature) -> MapNumbers:
        soft = to_crop_frame(dequantise(store.maps[row, feature.slot]), side, side)
        value, peak = float(store.activations[row, feature.slot]), float(store.peaks[row, feature.slot])
        higher = int((store.activations[of_class, feature.slot] > value).sum())
        held = theirs.get(feature.feature_index)
        agreed = None
        if library.beside is not None and library.beside.same_network and other is not None and held is not None:
            agreed = library.beside.of_feature(row, other, (feature.slot, held.slot))
        return MapNumbers(
            area(soft, level),
            float(soft.mean()),
            value if math.isfinite(value) else None,
            higher + 1 if math.isfinite(value) else None,
            peak if math.isfinite(peak) else None,
            inside(soft, region),
            agreed,
        )

    def of_kind(kind: Kind) -> MapNumbers | None:
        mask = masks[kind]
        if mask is None:
            return None
        agreed = library.beside.of_kind(row, other, kind) if library.beside and other is not None else None
        return MapNumbers(area(mask, level), float(mask.mean()), inside=inside(mask, region), agreed=agreed)

    ranked = library.spuriosity_of(record.label)
    at = None if ranked is None else int(np.flatnonzero(ranked[0] == row)[0])
    return {
        "row": row,
        "record": record,
        "name": library.names[record.label],
        "prediction": library.names[record.prediction] if record.prediction >= 0 else "",
        "step": step,
        "level": level,
        "maps": [{"feature": f, "kind": f.kind or "open", "numbers": of_feature(f)} for f in features],
        "masks": {kind: of_kind(kind) for kind in KINDS} if library.annotated else {},
        "both": overlap(masks, level),
        "spuriosity": None if ranked is None or at is None else (float(ranked[1][at]), len(ranked[0]) - at),
        "of_class": len(of_class),
        "before": int(of_class[place - 1]) if place else None,
        "after": int(of_class[place + 1]) if place + 1 < len(of_class) else None,
        "drawn": library.boxes.drawn(row) if library.boxes else [],
        "has_region": region is not None,
        "other": other,
        "theirs": sorted(theirs.values(), key=lambda f: f.rank),
        "answers": answers(library, row, record.label),
    }


def area(soft: NDArray[np.float32], level: float) -> float:
    """Share of pixels at least a level; at 0, of those above 0."""
    return float((soft >= level).mean() if level > 0 else (soft > 0).mean())


def overlap(masks: dict[Kind, NDArray[np.float32] | None], level: float) -> float | None:
    """Intersection over union of the core and the spurious mask at a level; None where there are not both, or neither
    reaches it."""
    found = [mask for mask in masks.values() if mask is not None]
    if len(found) < 2:
        return None
    a, b = (mask >= level if level > 0 else mask > 0 for mask in found)
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else None


def answers(library: Library, row: int, label: int) -> list[dict[str, Any]]:
    """What each model says of an image under each condition it was asked under."""
    found = []
    for index, model in enumerate(library.models):
        clean = model.said[CLEAN].at(row)
        for name in (CLEAN, *model.corrupted):
            said = model.said[name].at(row)
            if said is None:
                continue
            right, was = said[0] == label, clean is not None and clean[0] == label
            known = said[0] < len(library.names)
            found.append(
                {
                    "model": model.name,
                    "number": index,
                    "condition": condition_words(name),
                    "answer": library.names[said[0]] if known else f"output {said[0]}, no class of the store",
                    "confidence": said[1],
                    "right": right,
                    "flips": name != CLEAN and clean is not None and right != was,
                }
            )
    return found
