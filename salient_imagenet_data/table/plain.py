"""Tables whose images anybody reads: masks and images of a joined table as plain `datasets.Image`s."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from PIL import Image

from salient_imagenet_data.errors import ImageError, SalientError
from salient_imagenet_data.imagenet import is_imagenet
from salient_imagenet_data.images.decoding import encode_png
from salient_imagenet_data.images.reference import bytes_at, is_reference
from salient_imagenet_data.table.mask_feature import MADE, GridMask, ReferredImage
from salient_imagenet_data.table.mask_table import image_struct

BATCH = 64
"""Rows that are written out together: 64 photographs of 224 x 224 with two masks take some 10 MB as PNG."""


def to_images(table: datasets.Dataset) -> datasets.Dataset:
    """The same rows with plain images, which `datasets` reads without this package: for `to_parquet`, `save_to_disk`,
    `push_to_hub` and the like.

    table: of `load_dataset`. Masks become 8-bit gray PNG; images in the crop frame PNG of the crop; images in the image
    frame keep the bytes of their files. Other columns stay as they are. Whoever passes the result on passes the images
    on: where they are ImageNet's, whose terms do not allow it, one line says so. Raises SalientError for a stream, and
    ImageError, naming the file, for an image that cannot be read.
    """
    if not isinstance(table, datasets.Dataset):
        raise SalientError(
            "to_images",
            expected="a datasets.Dataset",
            got=type(table).__name__,
            then="a stream is not written: load it with streaming=False",
        )
    special = _special(table.features)
    if not special:
        return table
    if any(isinstance(kind, ReferredImage) for kind in special.values()) and _imagenet(table):
        print(
            "to_images: these are ImageNet's images, which may not be passed on: keep the copy to yourself, or "
            'remove_columns("image") first',
            file=sys.stderr,
        )
    plain = datasets.Features(
        {name: datasets.Image() if name in special else kind for name, kind in table.features.items()}
    )
    write = functools.partial(_batch, columns=special, schema=plain.arrow_schema)
    bare = table.with_format("arrow")
    made = bare.map(write, batched=True, batch_size=BATCH, features=plain, load_from_cache_file=False)
    told = table.format
    return made.with_format(told["type"], columns=told["columns"], **told["format_kwargs"])


def _imagenet(table: datasets.Dataset) -> bool:
    """By the ids of the images."""
    return "image_id" in table.column_names and any(map(is_imagenet, table.with_format(None)["image_id"]))


def _special(features: datasets.Features) -> dict[str, GridMask | ReferredImage]:
    return {name: kind for name, kind in features.items() if isinstance(kind, (GridMask, ReferredImage))}


def _batch(table: pa.Table, columns: dict[str, GridMask | ReferredImage], schema: pa.Schema) -> pa.Table:
    arrays = {name: table.column(name) for name in schema.names}
    for name, feature in columns.items():
        values = [_encoded(feature, value) for value in table.column(name).to_pylist()]
        arrays[name] = image_struct([v[0] for v in values], [v[1] for v in values])
    return pa.table([arrays[name] for name in schema.names], schema=schema)


def _encoded(feature: GridMask | ReferredImage, value: dict[str, Any] | None) -> tuple[bytes | None, str | None]:
    """Bytes of an image file, and a name for it."""
    if value is None:
        return None, None
    name = value["path"]
    if isinstance(feature, ReferredImage) and not feature.crop:
        if value["bytes"] is not None:
            return value["bytes"], None if name in (None, MADE) else os.path.basename(name)
        if is_reference(name):
            return bytes_at(name), None
        try:
            return Path(name).read_bytes(), os.path.basename(name)
        except OSError as error:
            raise ImageError(f"{name}: cannot be read", got=error.strerror or type(error).__name__) from error
    return _png(feature.decode_example(value)), None


def _png(picture: Image.Image) -> bytes:
    return encode_png(np.asarray(picture))
