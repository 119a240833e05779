"""Rows of a config as Arrow record batches, from the store's arrays. No row of `grids` ever becomes a Python object."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from salient_imagenet_data.hub.layout import FEATURES, GRIDS, MASKS, WITH_IMAGES, columns
from salient_imagenet_data.hub.png import encode_mask
from salient_imagenet_data.images.source import ImageSource, index_by_id
from salient_imagenet_data.masks import to_uint8, union_in_crop
from salient_imagenet_data.names import KINDS, Kind
from salient_imagenet_data.store.arrays import ARRAYS
from salient_imagenet_data.store.checks.checked_array import CheckedArray
from salient_imagenet_data.store.reading import Store

_READ_ROWS = 65_536
"""Rows of grids that are in memory at once, about 20 MB for five maps of 7 x 7."""


class Rows:
    """A store's rows by range. Arrays are read in slices, so memory stays flat however large the store is; only for
    `with_images` are the maps kept that have been used."""

    def __init__(self, store: Store, source: ImageSource | None = None) -> None:
        self.store, self.manifest, self.source = store, store.manifest, source

    def schema(self, config: str) -> Any:
        """Arrow schema of a config, from `datasets`' own classes."""
        return columns(self.manifest, config).arrow_schema.remove_metadata()

    def count(self, config: str) -> int:
        """Rows of a config."""
        return len(self.store.features) if config == FEATURES else self.manifest.images

    def batches(self, config: str, start: int, stop: int, size: int) -> Iterator[Any]:
        """Record batches of at most `size` rows that hold rows start to stop."""
        makers = {GRIDS: self._grids, MASKS: self._masks, FEATURES: self._features, WITH_IMAGES: self._with_images}
        # Arrays are read in larger pieces than batches: a read of a Zarr slice costs milliseconds whatever its size.
        piece = size * max(1, _READ_ROWS // size) if config == GRIDS else size
        for begin in range(start, stop, piece):
            batch = makers[config](begin, min(begin + piece, stop))
            for first in range(0, batch.num_rows, size):
                yield batch.slice(first, size)

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) class index of every image."""
        return self.store.rows.labels.astype(np.int64)

    def image_id(self, row: int) -> str:
        """Id of an image."""
        return str(self.store.rows.image_ids[row].as_py())

    def grid(self, row: int) -> NDArray[np.uint8]:
        """(K, h, w) uint8 maps of an image."""
        grid: NDArray[np.uint8] = self._slice("maps", row, row + 1)[0]
        return grid

    @cached_property
    def _arrays(self) -> dict[str, CheckedArray]:
        return {name: self.store.array(name) for name in ARRAYS}

    def _slice(self, name: str, start: int, stop: int) -> NDArray[Any]:
        return np.ascontiguousarray(self._arrays[name].read(start, stop))

    def _ids(self, start: int, stop: int) -> list[Any]:
        rows = self.store.rows
        return [rows.image_ids.slice(start, stop - start), pa.array(rows.labels[start:stop], pa.int64())]

    @cached_property
    def _feature_indices(self) -> NDArray[np.int32]:
        table = np.full((len(self.store.class_names), self.manifest.features_per_class), -1, dtype=np.int32)
        for feature in self.store.features:
            table[feature.class_index, feature.slot] = feature.feature_index
        return table

    def _grids(self, start: int, stop: int) -> Any:
        ids = self._ids(start, stop)
        maps = self._slice("maps", start, stop)
        parts = [
            maps.reshape(*maps.shape[:2], -1),
            self._slice("peaks", start, stop),
            self._slice("activations", start, stop),
            self._feature_indices[ids[1].to_numpy()],
        ]
        return pa.RecordBatch.from_arrays([*ids, *map(fixed_lists, parts)], schema=self.schema(GRIDS))

    def _masks(self, start: int, stop: int) -> Any:
        ids = self._ids(start, stop)
        maps, labels = self._slice("maps", start, stop), ids[1].to_numpy()
        size = self.manifest.preprocessing.crop
        masks = []
        for kind in KINDS:
            chosen = self.store.kind_table[kind][labels]
            masks.append(
                image_column(
                    encode_mask(to_uint8(union_in_crop(grid, of_kind, size, size))) if of_kind.any() else None
                    for grid, of_kind in zip(maps, chosen, strict=True)
                )
            )
        return pa.RecordBatch.from_arrays([*ids, *masks], schema=self.schema(MASKS))

    def _features(self, start: int, stop: int) -> Any:
        table = self.store.features_table.slice(start, stop - start)
        schema, names = self.schema(FEATURES), ["class_index", *self.schema(FEATURES).names[1:]]
        columns = [table[name].combine_chunks().cast(field.type) for name, field in zip(names, schema, strict=True)]
        return pa.RecordBatch.from_arrays(columns, schema=schema)

    @cached_property
    def _index(self) -> dict[str, int]:
        assert self.source is not None
        return index_by_id(self.source)

    def _with_images(self, start: int, stop: int) -> Any:
        ids, labels = self._ids(start, stop)
        images = image_column(self._encoded(image_id) for image_id in ids.to_pylist())
        masks = [image_column(self._image_mask(row, kind) for row in range(start, stop)) for kind in KINDS]
        return pa.RecordBatch.from_arrays([ids, images, labels, *masks], schema=self.schema(WITH_IMAGES))

    def _encoded(self, image_id: str) -> bytes:
        assert self.source is not None
        value = self.source.encoded(self._index[image_id])
        data = value["bytes"]
        return data if isinstance(data, bytes) else Path(str(value["path"])).read_bytes()

    def _image_mask(self, row: int, kind: Kind) -> bytes | None:
        found = self.store.image_mask(row, kind)
        return None if found is None else encode_mask(to_uint8(found[0]))


def fixed_lists(values: NDArray[Any]) -> Any:
    """(n, a, b, ...) -> an Arrow array of n nested fixed-size lists, without copying."""
    array = pa.array(values.reshape(-1))
    for length in reversed(values.shape[1:]):
        array = pa.FixedSizeListArray.from_arrays(array, length)
    return array


def image_column(values: Iterator[bytes | None]) -> Any:
    """Encoded images as the struct that `datasets.Image` stores; None is null."""
    data = pa.array(values, type=pa.binary())
    path = pa.nulls(len(data), pa.string())
    return pa.StructArray.from_arrays([data, path], ["bytes", "path"], mask=data.is_null())
