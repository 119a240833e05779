"""The classes and features that lose most, with images of the user's own copy and their masks."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from salient_imagenet_data.errors import ImageError
from salient_imagenet_data.evaluation.plan.protocols import every_region
from salient_imagenet_data.evaluation.plan.regions import RegionOfStore, labels_of
from salient_imagenet_data.evaluation.plan.vocabulary import corrupted_words
from salient_imagenet_data.evaluation.score.results import ModelResult, OfClass
from salient_imagenet_data.images.source import ImageSource, ids_of
from salient_imagenet_data.joining import join
from salient_imagenet_data.loaders.region import shaped
from salient_imagenet_data.masks import union_in_crop
from salient_imagenet_data.pictures.overlay import NEUTRAL, tint
from salient_imagenet_data.ranking.left_out import NOTHING, LeftOut
from salient_imagenet_data.store.reading import Store

THUMBNAIL = 112
"""Side of an image in the report, in pixels."""


@dataclass(frozen=True)
class Example:
    """A class, under a condition, that loses accuracy. what: of the condition, in words. of: its figures there. images:
    (photograph, the same with the region over it) pairs as data URIs, none without the user's images."""

    condition: str
    what: str
    region: str
    of: OfClass
    images: tuple[tuple[str, str], ...] = ()


def largest_drops(result: ModelResult, count: int = 6) -> list[Example]:
    """The classes, and where single features were run the (class, feature) pairs, of one model that lose most.

    One entry a class and region: the condition under which it loses most. Ties go to the larger n, then by class.
    """
    worst: dict[tuple[int, str], Example] = {}
    for condition in result.conditions:
        for row in condition.per_class:
            key = (row.class_index, condition.region)
            if row.loss > 0 and (key not in worst or row.loss > worst[key].of.loss):
                what = corrupted_words(condition.corruption, condition.region)
                worst[key] = Example(condition.name, what, condition.region, row)
    ordered = sorted(worst.values(), key=lambda e: (-e.of.loss, -e.of.accuracy.n, e.of.class_index, e.region))
    return ordered[:count]


def with_images(
    examples: Sequence[Example], store: Store, source: ImageSource, count: int = 3, left_out: LeftOut = NOTHING
) -> list[Example]:
    """The same with up to `count` pairs of images each, of those that count. Images that the source lacks, or that no
    longer decode, are left out: both were told, or refused, when the models ran."""
    regions = every_region(store)
    labels = labels_of(store)
    ids = store.rows.image_ids.to_pylist() if left_out else []
    out = set(np.flatnonzero(left_out.holds(ids)).tolist())
    result = []
    for example in examples:
        region = regions.get(example.region)
        mine = [] if region is None else [r for r in region.rows.tolist() if labels[r] == example.of.class_index]
        rows = [row for row in mine if row not in out]
        pairs = [] if region is None else _pairs(store, source, region, rows, count)
        result.append(replace(example, images=tuple(pairs)))
    return result


def _pairs(
    store: Store, source: ImageSource, region: RegionOfStore, rows: list[int], count: int
) -> list[tuple[str, str]]:
    ids = store.rows.image_ids.take(pa.array(rows, pa.int64()))
    at_hand = pc.is_in(ids, value_set=ids_of(source)).to_numpy(zero_copy_only=False)
    there = [row for row, there in zip(rows, at_hand, strict=True) if there]
    joined = join(store, source, rows=there)
    pairs = list[tuple[str, str]]()
    for item, row in enumerate(there):
        if len(pairs) == count:
            break
        try:
            crop = joined.crop(item)
        except ImageError:
            continue
        mask = union_in_crop(store.maps[row], region.chosen[row], *crop.shape[:2])
        pairs.append((data_uri(crop), data_uri(tint(crop, shaped(mask, mask, region.at(mask.shape[0])), NEUTRAL))))
    return pairs


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """A PNG of an (S, S, 3) uint8 image at the report's size, as a data URI."""
    buffer = io.BytesIO()
    filter_ = Image.Resampling.NEAREST if pixels.shape[0] < THUMBNAIL else Image.Resampling.BILINEAR
    Image.fromarray(pixels).resize((THUMBNAIL, THUMBNAIL), filter_).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
