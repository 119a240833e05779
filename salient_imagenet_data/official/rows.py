"""The tables of a store made of the release: columns, not rows, so that a million images stay small."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from salient_imagenet_data.errors import ImageError, SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.imagenet import wnid_of_words
from salient_imagenet_data.images.source import ImageSource, index_by_id
from salient_imagenet_data.official.layout import Plan
from salient_imagenet_data.progress import counted
from salient_imagenet_data.store.features import Feature
from salient_imagenet_data.store.tables import images_table


def feature_rows(plan: Plan) -> list[Feature]:
    """The features of the classes, without kinds."""
    return [
        Feature(label, plan.class_names[label], feature, slot + 1)
        for label, features in sorted(plan.features.items())
        for slot, feature in enumerate(features)
        if feature >= 0
    ]


def image_sizes(plan: Plan, images: ImageSource | None) -> NDArray[np.int32]:
    """(N, 2) width and height of each image, read from the files' heads; zeros without images.

    Raises SalientError if images are missing, belong to another class, or cannot be read.
    """
    sizes = np.zeros((len(plan.names), 2), dtype=np.int32)
    if images is None:
        return sizes
    index = index_by_id(images)
    ids = [plan.image_id(row) for row in range(len(plan.names))]
    missing = [i for i in ids if i not in index]
    if missing:
        raise SalientError(
            f"{len(missing)} of {len(ids)} images of the release are missing",
            expected=f"images with ids such as {', '.join(missing[:5])}",
            then="give ImageNet's training set, or leave --images out: then the images' sizes stay unknown",
        )
    for row, image_id in enumerate(counted(ids, total=len(ids), what="sizes")):
        ours = plan.class_names[plan.labels[row]]
        theirs = images.class_names[images.entry(index[image_id]).label]
        if ours not in (theirs, wnid_of_words(theirs)):
            raise SalientError(f"{image_id}: class differs", expected=repr(ours), got=repr(theirs))
        sizes[row] = _size(images, index[image_id], image_id)
    return sizes


def image_table(
    plan: Plan, sizes: NDArray[np.int32], in_top: NDArray[np.bool_], preprocessing: Preprocessing
) -> pa.Table:
    """images.parquet. in_top: (N, K). What is not known is -1 (prediction) or 0 (sizes and crop boxes)."""
    ids = pa.array([plan.image_id(row) for row in range(len(in_top))], pa.string())
    unknown = np.full(len(in_top), -1, dtype=np.int32)
    return images_table(ids, np.asarray(plan.labels), unknown, sizes, in_top, preprocessing)


def _size(images: ImageSource, index: int, image_id: str) -> tuple[int, int]:
    """Width and height; only the head is read where the image is a file."""
    path = images.encoded(index)["path"]
    if not isinstance(path, str):
        height, width = images.pixels(index).shape[:2]
        return width, height
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"{image_id}: cannot decode", got=f"{type(error).__name__}: {error}") from error
