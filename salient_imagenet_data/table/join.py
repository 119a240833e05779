"""Join a store to images that are in a `datasets` table or stream, without touching the images."""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import PurePath
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from datasets.iterable_dataset import ExamplesIterable

from salient_imagenet_data.errors import ImageError, SalientError
from salient_imagenet_data.geometry import Frame
from salient_imagenet_data.imagenet import id_of_path, wnid_of_words
from salient_imagenet_data.images.decoding import decode_picture
from salient_imagenet_data.images.table import ID_COLUMNS, TableSource, find_image_column, find_label
from salient_imagenet_data.images.table_rows import as_names, read_rows
from salient_imagenet_data.joining import Joined, Missing, check_likeness, tell_joined
from salient_imagenet_data.names import IMAGE, MANIFEST
from salient_imagenet_data.store.manifest import file_sha256
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.table.mask_table import Empty, MaskTable, features

Rows = Callable[..., Iterator[dict[str, Any]]]
BATCH = 256
"""Rows of a stream that are joined together."""


def join_table(joined: Joined, frame: Frame, empty: Empty, code: str) -> datasets.Dataset:
    """Store columns beside a table's images, in store order. `joined.source` must be a `TableSource`.

    The masks are laid out in the order of the images, since the images cannot be moved; an index mapping on top gives
    the store's order. code: sha256 of what makes the rows, so that `datasets` gives nothing that older
    code made.
    """
    source = joined.source
    assert isinstance(source, TableSource)
    places = source.positions[list(joined.indices)]
    rows = np.full(len(source.base), -1, dtype=np.int64)
    rows[places] = joined.rows
    columns = features(joined.store, True, frame)
    image = columns[IMAGE]
    side_columns = datasets.Features({name: feature for name, feature in columns.items() if name != IMAGE})
    arrays = MaskTable(joined.store, frame, empty).columns(rows)
    schema = side_columns.arrow_schema
    table = pa.Table.from_arrays([arrays[name] for name in schema.names], schema=schema)
    digest = hashlib.sha256(
        rows.tobytes()
        + frame.encode()
        + empty.encode()
        + file_sha256(joined.store.path / MANIFEST).encode()
        + code.encode()
    )
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


def join_stream(store: Store, images: datasets.IterableDataset, frame: Frame, missing: Missing, empty: Empty) -> Any:
    """Images as they stream by, with their masks; those that the store does not know are left out.

    Told on stderr, after each of its shards: how many rows were joined by this process, and after all, which were not.
    """
    if missing != "skip":
        raise SalientError(
            "a stream of images cannot be searched before it is read",
            expected='missing="skip" with a stream',
            then="or give the images as a folder or a datasets.Dataset, where missing ones are named at once",
        )
    joiner = _StreamJoiner(store, images, frame, empty)
    return stream_of(joiner, joiner.features, store.manifest.split, shards=list(range(images.num_shards)))


def stream_of(generate: Rows, columns: datasets.Features, split: str, **given: Any) -> datasets.IterableDataset:
    """What a function of `given` generates as a stream; a list among them is what workers share. Unlike that of
    `IterableDataset.from_generator` it needs no cache on a disk."""
    examples = ExamplesIterable(functools.partial(_numbered, generate), given)
    info = datasets.DatasetInfo(features=columns)
    return datasets.IterableDataset(examples, info=info, split=datasets.NamedSplit(split))


def _numbered(generate: Rows, **given: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    yield from enumerate(generate(**given))


class _StreamJoiner:
    """Generates the joined rows of some shards of a stream."""

    def __init__(self, store: Store, images: datasets.IterableDataset, frame: Frame, empty: Empty) -> None:
        if images.features is None:
            raise SalientError(
                "the stream does not say what its columns are",
                expected="features with an image and a ClassLabel",
                then="make it with features=datasets.Features({...})",
            )
        self._image, label = find_image_column(images.features), find_label(images.features)
        self._label, self._theirs = label, tuple(images.features[label].names)
        self._names = next((name for name in ID_COLUMNS if name in images.features), None)
        self._images = images.with_format(None).cast_column(self._image, datasets.Image(decode=False))
        self.features = features(store, True, frame)
        self._store, self._table, self._shards = store, MaskTable(store, frame, empty), images.num_shards
        self._rows = {image_id: row for row, image_id in enumerate(store.rows.image_ids.to_pylist())}
        # Of this process: `datasets` calls once for every shard, epoch after epoch.
        self._shard_of, self._read = np.full(len(store), -1), set[int]()
        self._seen: dict[int, str] = {}
        self._left_out: Counter[str] = Counter()
        self._compared: set[str] = set()

    def __call__(self, shards: list[int]) -> Iterator[dict[str, Any]]:
        for shard in shards:
            # `iter`, since a loop over the stream would share it among a DataLoader's workers once more.
            begun: set[int] = set()
            for batch in self._images.shard(self._shards, shard).iter(BATCH):
                yield from self._joined(batch, shard, begun)
            if shard not in self._read:
                self._read.add(shard)
                self._tell()

    def _joined(self, batch: dict[str, list[Any]], shard: int, begun: set[int]) -> Iterator[dict[str, Any]]:
        images = batch[self._image]
        present = np.array([v is not None and (v["bytes"] or v["path"]) is not None for v in images], dtype=np.bool_)
        names = batch[self._names] if self._names else [None if v is None else v["path"] for v in images]
        labels = np.array([-1 if value is None else value for value in batch[self._label]], dtype=np.int64)
        relative = [self._relative(name) for name in as_names(names)]
        known = read_rows(relative, labels, present, self._theirs, self._store.rows[0].image_id, self._seen)
        if shard not in self._read:
            self._left_out.update(known.left_out)
        kept = [i for i, image_id in enumerate(known.ids) if image_id in self._rows]
        if not kept:
            return
        rows = np.array([self._rows[known.ids[i]] for i in kept], dtype=np.int64)
        for i, row in zip(kept, rows.tolist(), strict=True):
            image_id = known.ids[i]
            if row in begun or self._shard_of[row] not in (-1, shard):
                raise SalientError(f"two images of the stream have the id {image_id!r}", expected="one an image")
            begun.add(row)
            self._check_class(image_id, row, known.class_names[known.labels[i]])
            self._check_picture(image_id, images[known.kept[i]])
        self._shard_of[rows] = shard
        columns = {name: array.to_pylist() for name, array in self._table.columns(rows).items()}
        for place, i in enumerate(kept):
            yield {**{name: values[place] for name, values in columns.items()}, IMAGE: images[known.kept[i]]}

    def _relative(self, name: str) -> str:
        """An absolute path from where the store's ids begin: a part of a stream need not show the folder of all."""
        if not os.path.isabs(name):
            return name
        parts = PurePath(name).parts[1:]
        ways = ["/".join(parts[start:]) for start in range(len(parts))]
        deep = self._store.rows[0].image_id.count("/")
        return next((way for way in ways if id_of_path(way) in self._rows), "/".join(parts[-1 - deep :]))

    def _tell(self) -> None:
        found = np.isin(self._shard_of, list(self._read))
        if len(self._read) == self._shards:
            absent = self._store.rows.image_ids.filter(pa.array(~found)).to_pylist()
            tell_joined(len(found), absent)
        else:
            so_far = f"{len(self._read)} of {self._shards} shards of images"
            print(f"{found.sum()} of {len(found)} rows joined to {so_far}", file=sys.stderr)
        if self._left_out:
            reasons = ", ".join(f"{number} without {what}" for what, number in self._left_out.items())
            print(f"rows of the stream that are left out: {reasons}", file=sys.stderr)

    def _check_picture(self, image_id: str, value: dict[str, Any]) -> None:
        if image_id in self._store.manifest.likenesses and image_id not in self._compared:
            self._compared.add(image_id)
            with suppress(ImageError):  # told where it is read
                data = value["path"] if value["bytes"] is None else value["bytes"]
                check_likeness(self._store, image_id, decode_picture(data, image_id))

    def _check_class(self, image_id: str, row: int, theirs: str) -> None:
        ours = self._store.class_names[self._table.labels[row]]
        if wnid_of_words(ours) != wnid_of_words(theirs):
            raise SalientError(f"{image_id}: class differs", expected=repr(ours), got=repr(theirs))
