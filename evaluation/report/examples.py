"""The classes and features that lose most, with images of the user's own copy and their masks."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from salient_imagenet_data.evaluation.plan.condition import Condition
from salient_imagenet_data.evaluation.plan.regions import (
    Region,
    boxed,
    corm2022,
    iclr2022,
    labels_of,
    rank_of,
    rival2022,
)
from salient_imagenet_data.images.source import ImageSource, ids_of
from salient_imagenet_data.joining import join
from salient_imagenet_data.masks import union_in_crop
from salient_imagenet_data.pictures.overlay import NEUTRAL, tint
from salient_imagenet_data.store.reading import Store

THUMBNAIL = 112
"""Side of an image in the report, in pixels."""


def largest_drops(result: dict[str, Any], store: Store, count: int = 6) -> list[dict[str, Any]]:
    """The classes, and where single features were run the (class, feature) pairs, of one model that lose most.

    Each: class_index, class_name, condition, region, value, clean_value, drop, n, and what the feature is where the
    region is that of one (else None). One entry a class and region: the condition under which it loses most. Ties go
    to the larger n, then by class.
    """
    worst: dict[tuple[int, str], dict[str, Any]] = {}
    for condition in result["conditions"]:
        for row in condition.get("per_class", ()):
            drop = row["clean_value"] - row["value"]
            key = (row["class_index"], condition["region"])
            if drop > 0 and (key not in worst or drop > worst[key]["drop"]):
                worst[key] = {**row, "condition": condition["name"], "region": condition["region"], "drop": drop}
    ordered = sorted(worst.values(), key=lambda r: (-r["drop"], -r["n"], r["class_index"], r["region"]))
    return [{**drop, "feature": _feature(drop, store)} for drop in ordered[:count]]


def with_images(
    drops: Sequence[dict[str, Any]], store: Store, source: ImageSource, count: int = 3
) -> list[dict[str, Any]]:
    """The same with `images`: for each up to `count` (image, image with its mask) pairs as data URIs.

    Images that the source lacks are left out.
    """
    plain = [*iclr2022(store, single_features=True), *corm2022(store), *rival2022(store)]
    regions = {r.name: r for r in [*plain, *map(boxed, plain)]}
    labels = labels_of(store)
    result = []
    for drop in drops:
        region = regions.get(Condition.parse(drop["condition"]).region)
        rows = [] if region is None else [r for r in region.rows.tolist() if labels[r] == drop["class_index"]]
        pairs = [] if region is None else _pairs(store, source, region, rows, count)
        result.append({**drop, "images": pairs})
    return result


def _pairs(store: Store, source: ImageSource, region: Region, rows: list[int], count: int) -> list[tuple[str, str]]:
    ids = store.rows.image_ids.take(pa.array(rows, pa.int64()))
    at_hand = pc.is_in(ids, value_set=ids_of(source)).to_numpy(zero_copy_only=False)
    shown = [row for row, there in zip(rows, at_hand, strict=True) if there][:count]
    joined = join(store, source, rows=shown)
    pairs = []
    for item, row in enumerate(shown):
        crop = joined.crop(item)
        mask = union_in_crop(store.maps[row], region.chosen[row], *crop.shape[:2])
        pairs.append((data_uri(crop), data_uri(tint(crop, shape_of(region, mask), NEUTRAL))))
    return pairs


def shape_of(region: Region, mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a region makes of a union of maps, (S, S): as `loaders.regions.region_masks` has it, without torch."""
    iterations = region.iterations(mask.shape[0])
    for _ in range(iterations):
        wide = np.pad(mask, 1)
        mask = np.max([wide[1:-1, 1:-1], wide[:-2, 1:-1], wide[2:, 1:-1], wide[1:-1, :-2], wide[1:-1, 2:]], axis=0)
    if region.dilation and mask.max() > 0:
        mask = mask / mask.max()
    if region.box and mask.max() > 0:
        inside = mask >= mask.max() / 2
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        mask = np.zeros_like(mask)
        mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 1.0
    return 1.0 - mask if region.complement else mask


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """A PNG of an (S, S, 3) uint8 image at the report's size, as a data URI."""
    buffer = io.BytesIO()
    filter_ = Image.Resampling.NEAREST if pixels.shape[0] < THUMBNAIL else Image.Resampling.BILINEAR
    Image.fromarray(pixels).resize((THUMBNAIL, THUMBNAIL), filter_).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _feature(drop: dict[str, Any], store: Store) -> dict[str, Any] | None:
    """Rank, index and kind of the feature, where the region is that of one rank."""
    rank = rank_of(drop["region"])
    found = next((f for f in store.features if (f.class_index, f.rank) == (drop["class_index"], rank)), None)
    return None if found is None else {key: getattr(found, key) for key in ("rank", "feature_index", "kind", "cue")}
