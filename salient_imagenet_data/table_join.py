"""Join a store to images that are in a `datasets` table or stream, without touching the images."""

from __future__ import annotations

import hashlib
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Frame
from salient_imagenet_data.imagenet import is_imagenet, wnids
from salient_imagenet_data.join import Joined, Missing
from salient_imagenet_data.manifest import file_sha256
from salient_imagenet_data.mask_table import MaskTable, features
from salient_imagenet_data.names import IMAGE, MANIFEST
from salient_imagenet_data.store import Store
from salient_imagenet_data.table_source import ID_COLUMNS, TableSource, find_image_column, find_label, ids_of_names


def join_table(joined: Joined, frame: Frame) -> datasets.Dataset:
    """Store columns beside a table's images, in store order. `joined.source` must be a `TableSource`.

    The masks are laid out in the order of the images, since the images cannot be moved; an index mapping on top gives
    the store's order.
    """
    source = joined.source
    assert isinstance(source, TableSource)
    places = source.positions[list(joined.indices)]
    rows = np.full(len(source.base), -1, dtype=np.int64)
    rows[places] = joined.rows
    columns = features(joined.store, True, frame)
    image = columns[IMAGE]
    side_columns = datasets.Features({name: feature for name, feature in columns.items() if name != IMAGE})
    arrays = MaskTable(joined.store, frame).columns(rows)
    schema = side_columns.arrow_schema
    table = pa.Table.from_arrays([arrays[name] for name in schema.names], schema=schema)
    digest = hashlib.sha256(rows.tobytes() + frame.encode() + file_sha256(joined.store.path / MANIFEST).encode())
    side = datasets.Dataset(
        datasets.table.InMemoryTable(table),
        info=datasets.DatasetInfo(features=side_columns),
        fingerprint=digest.hexdigest()[:16],
    )
    images = source.base.with_format(None).cast_column(source.image_column, image)
    if source.image_column != IMAGE:
        images = images.rename_column(source.image_column, IMAGE)
    both = datasets.concatenate_datasets([images, side], axis=1)
    return both.select(places).select_columns(list(columns))


def join_stream(store: Store, images: datasets.IterableDataset, frame: Frame, missing: Missing) -> Any:
    """Images as they stream by, with their masks; those that the store does not know are left out."""
    if missing != "skip":
        raise SalientError(
            "a stream of images cannot be searched before it is read",
            expected='missing="skip" with a stream',
            then="or give the images as a folder or a datasets.Dataset, where missing ones are named at once",
        )
    image, label = find_image_column(images.features), find_label(images.features)
    names = next((name for name in ID_COLUMNS if name in images.features), None)
    theirs = tuple(images.features[label].names)
    stream = images.cast_column(image, datasets.Image(decode=False))
    adder = _Adder(store, frame, image, label, names, theirs)
    # Columns named in `map` would count as decoded already; `cast` decodes them as they are read.
    return stream.map(adder, batched=True, remove_columns=list(images.features)).cast(adder.features)


class _Adder:
    """Called with batches of a stream."""

    def __init__(self, store: Store, frame: Frame, image: str, label: str, names: str | None, theirs: Any) -> None:
        self.features = features(store, True, frame)
        self._table, self._image, self._label, self._names = MaskTable(store, frame), image, label, names
        self._rows = {image_id: row for row, image_id in enumerate(store.rows.image_ids.to_pylist())}
        self._ours, self._theirs, self._like = store.class_names, theirs, store.rows[0].image_id

    def __call__(self, batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        images = batch[self._image]
        names = batch[self._names] if self._names else [value["path"] for value in images]
        classes = [self._theirs[value] for value in batch[self._label]]
        ids = ids_of_names([name or "" for name in names], classes, self._like)
        kept = [i for i, image_id in enumerate(ids) if image_id in self._rows]
        for i in kept:
            self._check_class(ids[i], batch[self._label][i])
        rows = np.array([self._rows[ids[i]] for i in kept], dtype=np.int64)
        columns = {name: array.to_pylist() for name, array in self._table.columns(rows).items()}
        return {**columns, IMAGE: [images[i] for i in kept]}

    def _check_class(self, image_id: str, label: int) -> None:
        imagenet = len(self._theirs) == len(wnids()) and is_imagenet(image_id)
        theirs = (wnids() if imagenet else self._theirs)[label]
        ours = self._ours[self._table.labels[self._rows[image_id]]]
        if ours != theirs:
            raise SalientError(f"{image_id}: class differs", expected=repr(ours), got=repr(theirs))
