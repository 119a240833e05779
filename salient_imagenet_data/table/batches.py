"""Rows of `grids` and `features` as Arrow record batches. No row of `grids` ever becomes a Python object."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from salient_imagenet_data.store.arrays import ARRAYS
from salient_imagenet_data.store.checks.checked_array import CheckedArray
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.table.configs import FEATURES, GRIDS, columns

_READ_ROWS = 65_536
"""Rows of grids that are in memory at once, about 20 MB for five maps of 7 x 7."""


class Rows:
    """A store's rows by range. Arrays are read in slices, so memory stays flat however large the store is."""

    def __init__(self, store: Store) -> None:
        self.store, self.manifest = store, store.manifest

    def makers(self) -> dict[str, Callable[[int, int], Any]]:
        """Of each config, what makes a record batch of rows start to stop."""
        return {GRIDS: self._grids, FEATURES: self._features}

    def schema(self, config: str) -> Any:
        """Arrow schema of a config, from `datasets`' own classes."""
        return columns(self.manifest, config).arrow_schema.remove_metadata()

    def count(self, config: str) -> int:
        """Rows of a config."""
        return len(self.store.features) if config == FEATURES else self.manifest.images

    def batches(self, config: str, start: int, stop: int, size: int) -> Iterator[Any]:
        """Record batches of at most `size` rows that hold rows start to stop."""
        make = self.makers()[config]
        # Arrays are read in larger pieces than batches: a read of a Zarr slice costs milliseconds whatever its size.
        piece = size * max(1, _READ_ROWS // size) if config == GRIDS else size
        for begin in range(start, stop, piece):
            batch = make(begin, min(begin + piece, stop))
            for first in range(0, batch.num_rows, size):
                yield batch.slice(first, size)

    @cached_property
    def _arrays(self) -> dict[str, CheckedArray]:
        return {name: self.store.array(name) for name in ARRAYS}

    def slice(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Rows start to stop of an array of the store."""
        return np.ascontiguousarray(self._arrays[name].read(start, stop))

    def ids(self, start: int, stop: int) -> list[Any]:
        """Arrow columns of image ids and labels."""
        rows = self.store.rows
        return [rows.image_ids.slice(start, stop - start), pa.array(rows.labels[start:stop], pa.int64())]

    @cached_property
    def _feature_indices(self) -> NDArray[np.int32]:
        table = np.full((len(self.store.class_names), self.manifest.features_per_class), -1, dtype=np.int32)
        for feature in self.store.features:
            table[feature.class_index, feature.slot] = feature.feature_index
        return table

    def _grids(self, start: int, stop: int) -> Any:
        ids = self.ids(start, stop)
        maps = self.slice("maps", start, stop)
        parts = [
            maps.reshape(*maps.shape[:2], -1),
            self.slice("peaks", start, stop),
            self.slice("activations", start, stop),
            self._feature_indices[ids[1].to_numpy()],
        ]
        return pa.RecordBatch.from_arrays([*ids, *map(fixed_lists, parts)], schema=self.schema(GRIDS))

    def _features(self, start: int, stop: int) -> Any:
        table = self.store.features_table.slice(start, stop - start)
        schema, names = self.schema(FEATURES), ["class_index", *self.schema(FEATURES).names[1:]]
        columns = [table[name].combine_chunks().cast(field.type) for name, field in zip(names, schema, strict=True)]
        return pa.RecordBatch.from_arrays(columns, schema=schema)


def fixed_lists(values: NDArray[Any]) -> Any:
    """(n, a, b, ...) -> an Arrow array of n nested fixed-size lists, without copying."""
    array = pa.array(values.reshape(-1))
    for length in reversed(values.shape[1:]):
        array = pa.FixedSizeListArray.from_arrays(array, length)
    return array
