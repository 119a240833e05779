"""Images that are a `datasets.Dataset` already, such as a copy of ImageNet from the Hub, as an image source."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.imagenet import id_of_path, is_imagenet, wnids
from salient_imagenet_data.images.decoding import decode
from salient_imagenet_data.images.source import ListedSource
from salient_imagenet_data.names import IMAGE, IMAGE_ID, LABEL

ID_COLUMNS = (IMAGE_ID, "file_name")
"""Columns that may hold an image's id or file name; without one, the path inside the image column does."""


class TableSource(ListedSource):
    """Rows of a `datasets.Dataset` with an image and a label column.

    The id of a row is that of its `image_id` or `file_name` column, or of its image's path, as `id_of_path` makes it.
    like: an id to be found; if it has a folder and the names have none, as `datasets` leaves them when it copies images
    into tables, the class's name stands for the folder. Only ids and labels are read here; the images stay where they
    are. Raises SalientError if a column is missing or two rows have one id.
    """

    def __init__(self, table: datasets.Dataset, *, like: str = "") -> None:
        self._image = find_image_column(table.features)
        label = find_label(table.features)
        self.base, self.positions = without_indices(table)
        self.base = self.base.select_columns([self._image])
        self._raw = self.base.cast_column(self._image, datasets.Image(decode=False))
        labels = _column(table, label).to_numpy()
        names = tuple(table.features[label].names)
        ids = ids_of_names(_names(table, self._image), [names[i] for i in labels], like)
        imagenet = len(names) == len(wnids()) and all(map(is_imagenet, ids[:1000]))
        super().__init__(pa.array(ids, type=pa.string()), labels, wnids() if imagenet else names)
        if len(set(ids)) != len(ids):
            seen: set[str] = set()
            twice = next(i for i in ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
            raise SalientError(f"two rows have the id {twice!r}", expected="one row an image")

    @property
    def image_column(self) -> str:
        """Name of the image column of `base`."""
        return self._image

    def pixels(self, index: int) -> NDArray[np.uint8]:
        value = self.encoded(index)
        data = value["bytes"] if value["bytes"] is not None else value["path"]
        assert data is not None
        return decode(data, self._ids[index].as_py())

    def encoded(self, index: int) -> dict[str, str | bytes | None]:
        value: dict[str, str | bytes | None] = self._raw[int(self.positions[index])][self._image]
        return value


def find_image_column(features: datasets.Features) -> str:
    """The image column: `image`, or the only one there is."""
    found = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    if IMAGE in found:
        return IMAGE
    if len(found) != 1:
        raise SalientError(
            "cannot tell which column holds the images",
            expected="a column `image` of type datasets.Image",
            got=", ".join(found) or f"columns {', '.join(features)}",
        )
    return str(found[0])


def find_label(features: datasets.Features) -> str:
    """The label column: `label`, or the only ClassLabel there is."""
    found = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    if LABEL in found or len(found) == 1:
        return LABEL if LABEL in found else str(found[0])
    raise SalientError(
        "cannot tell the classes of the images",
        expected="a column `label` of type datasets.ClassLabel",
        got=", ".join(found) or f"columns {', '.join(features)}",
        then='name them: table.cast_column("label", datasets.ClassLabel(names=[...]))',
    )


def ids_of_names(names: Sequence[str], classes: Sequence[str], like: str) -> list[str]:
    """Ids from names or paths and class names. Absolute paths count from the folder that all of them share; like: see
    `TableSource`."""
    absolute = [name for name in names if os.path.isabs(name)]
    root = os.path.commonpath([os.path.dirname(name) for name in absolute]) if absolute else ""
    relative = [os.path.relpath(name, root) if os.path.isabs(name) else name for name in names]
    ids = [id_of_path(PurePath(name).as_posix()) for name in relative]
    if "/" in like and not any("/" in image_id for image_id in ids):
        return [f"{name}/{image_id}" for name, image_id in zip(classes, ids, strict=True)]
    return ids


def _names(table: datasets.Dataset, image: str) -> list[str]:
    for name in ID_COLUMNS:
        if name in table.features:
            names: list[str] = _column(table, name).to_pylist()
            return names
    paths: list[str] = _column(table, image).field("path").to_pylist()
    if any(path is None for path in paths):
        raise SalientError(
            "the images have no ids",
            expected=f"a column {' or '.join(ID_COLUMNS)}, or paths inside the image column",
            got="images without paths",
        )
    return paths


def without_indices(table: datasets.Dataset) -> tuple[datasets.Dataset, NDArray[np.int64]]:
    """The whole table below a selection or shuffle, and the position in it of each row.

    `datasets` rewrites the data when a table with an index mapping gets a column from another one; images are too
    large for that, so the mapping is put aside. It has no public name.
    """
    indices = table._indices
    if indices is None:
        return table, np.arange(len(table))
    base = copy.copy(table)
    base._indices = None
    return base, indices.column(0).to_numpy()


def _column(table: datasets.Dataset, name: str) -> Any:
    """A column as one Arrow array, in the table's order; of an image column the paths only, so no bytes are read."""
    base, positions = without_indices(table)
    chunks = base.data.column(name).chunks
    if isinstance(table.features[name], datasets.Image):
        paths = pa.concat_arrays([chunk.field("path") for chunk in chunks])
        whole = pa.StructArray.from_arrays([paths], ["path"])
    else:
        whole = pa.concat_arrays(chunks)
    return whole.take(pa.array(positions))
