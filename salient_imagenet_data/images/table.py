"""Images that are a `datasets.Dataset` already, such as a copy of ImageNet from the Hub, as an image source."""

from __future__ import annotations

import copy
import re
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.hub_errors import hub_errors
from salient_imagenet_data.images.decoding import decode
from salient_imagenet_data.images.source import ListedSource
from salient_imagenet_data.images.table_rows import as_names, read_rows
from salient_imagenet_data.names import IMAGE, IMAGE_ID, LABEL

ID_COLUMNS = (IMAGE_ID, "file_name")
"""Columns that may hold an image's id or file name; without one, the path inside the image column does."""

_SAME_SPLIT = (("val", "valid", "validation"),)
_NO_SUCH_SPLIT = re.compile(r"(Unknown|Bad) split")
_NO_SUCH_PART = re.compile(r"(Unknown|Bad) split|Config name is missing|BuilderConfig .* not found")


class TableSource(ListedSource):
    """Rows of a `datasets.Dataset` with an image and a label column.

    The id of a row is that of its `image_id` or `file_name` column, or of its image's path, as `id_of_path` makes it.
    like: an id to be found; if it has a folder and the names have none, as `datasets` leaves them when it copies images
    into tables, the class's name stands for the folder. Only ids and labels are read here; the images stay where they
    are. Rows without an image, an id or a label (null or -1, and no folder called as a class) are left out, and told
    on stderr. ImageNet's thousand classes come in the order of the wnids, whatever the table's order. Raises
    SalientError if a column is missing, no row is left, or two rows have one id.
    """

    def __init__(self, table: datasets.Dataset, *, like: str = "") -> None:
        self._image = find_image_column(table.features)
        label = find_label(table.features)
        self.base, positions = without_indices(table)
        self.base = self.base.select_columns([self._image])
        self._raw = self.base.cast_column(self._image, datasets.Image(decode=False))
        names = _names(table, self._image)
        rows = read_rows(
            names,
            pc.fill_null(_column(table, label), -1).to_numpy(),
            _present(table, self._image),
            tuple(table.features[label].names),
            like,
        )
        rows.check_any()
        rows.tell()
        self.positions = positions[rows.kept]
        super().__init__(pa.array(rows.ids, type=pa.string()), rows.labels, rows.class_names)
        if len(set(rows.ids)) != len(rows.ids):
            seen: set[str] = set()
            twice = next(i for i in rows.ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
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


def hub_table(name: str, split: str, *, streaming: bool = False, cache_dir: str | None = None) -> Any:
    """A split of a data set on the Hub, "org/name" or "org/name@revision", as a table or a stream.

    Raises SalientError, naming the data set, for whatever goes wrong.
    """
    repo, _, revision = name.partition("@")
    how: dict[str, Any] = {"revision": revision or None, "streaming": streaming, "cache_dir": cache_dir}
    with hub_errors(name, "load the images from the Hub, and there is no such folder"):
        try:
            *others, last = names_of_split(split)
            for one in others:
                try:
                    return datasets.load_dataset(repo, split=one, **how)
                except ValueError as error:
                    if _NO_SUCH_SPLIT.match(str(error)) is None:
                        raise
            return datasets.load_dataset(repo, split=last, **how)
        except ValueError as error:
            if _NO_SUCH_PART.match(str(error)) is None:
                raise
            raise SalientError(
                f"{name}: cannot tell which images are meant",
                expected=f"a split {split!r} of its only or default config",
                got=" ".join(str(error).split())[:300],
                then=f'give a part of it as images: datasets.load_dataset("{repo}", CONFIG, split=SPLIT)',
            ) from error


def names_of_split(split: str) -> tuple[str, ...]:
    """Names that a split goes by in tables, its own first: `val` is also called `validation`."""
    others = next((names for names in _SAME_SPLIT if split in names), ())
    return (split, *(name for name in others if name != split))


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


def _names(table: datasets.Dataset, image: str) -> list[str]:
    """What ids are made of, "" where a row has nothing of the kind."""
    for name in ID_COLUMNS:
        if name in table.features:
            return as_names(_column(table, name).to_pylist())
    return as_names(_column(table, image).to_pylist())


def _present(table: datasets.Dataset, image: str) -> NDArray[np.bool_]:
    """(N,) whether a row has an image; no bytes are read."""
    base, positions = without_indices(table)
    parts = [
        pc.and_(pc.is_valid(chunk), pc.or_(pc.is_valid(chunk.field("bytes")), pc.is_valid(chunk.field("path"))))
        for chunk in base.data.column(image).chunks
    ]
    present = np.concatenate([part.to_numpy(zero_copy_only=False) for part in parts] or [np.zeros(0, dtype=np.bool_)])
    return np.asarray(present[positions])


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
        whole = pa.concat_arrays([chunk.field("path") for chunk in chunks])
    else:
        whole = pa.concat_arrays(chunks)
    return whole.take(pa.array(positions))
