"""Writing a store: create the arrays, append whole shards, finish with the manifest.

A shard is one file of one array with one owner. Zarr writes it under a temporary name and renames it; it is on the disk
before the manifest is. Empty shards are written too, since a missing one would read as zeros. Shards that are there
already, as after a kill, are read before they are taken for done: a power cut can leave an empty file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.names import BASIS_TABLE, FEATURES_TABLE, IMAGES_TABLE, MAPS, QUARANTINE_TABLE
from salient_imagenet_data.store.arrays import (
    ARRAYS,
    SHARD_ROWS,
    is_whole,
    rows_of_shard,
    shard_count,
    shard_file,
    sharded_array,
    sweep_shards,
    write_rows,
)
from salient_imagenet_data.store.features import (
    BASIS_SCHEMA,
    FEATURES_SCHEMA,
    Basis,
    Feature,
    basis_table,
    features_table,
)
from salient_imagenet_data.store.manifest import Manifest, file_sha256, write_manifest
from salient_imagenet_data.store.tables import IMAGES_SCHEMA, QUARANTINE_SCHEMA, write_table
from salient_imagenet_data.whole_file import sweep, sync, sync_folder


class StoreWriter:
    """Arrays of a store being built: N rows, K features a class, (h, w) maps.

    With an existing folder the arrays are opened again, and `missing()` says which shards are left to do.
    """

    def __init__(
        self, folder: Path, *, images: int, features: int, grid: tuple[int, int], shard_rows: int = SHARD_ROWS
    ) -> None:
        self.folder, self.images, self.shard_rows = folder, images, shard_rows
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        sweep_shards(folder / MAPS)
        shapes: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
            "maps": ((images, features, *grid), np.uint8),
            "peaks": ((images, features), np.float32),
            "activations": ((images, features), np.float32),
        }
        self._whole: set[int] = set()
        self._arrays = {name: sharded_array(folder / MAPS / name, *shapes[name], shard_rows) for name in ARRAYS}

    def missing(self) -> list[int]:
        """Shards of which at least one array's file is not there, or is damaged."""
        return [s for s in range(shard_count(self.images, self.shard_rows)) if not self._is_whole(s)]

    def _is_whole(self, shard: int) -> bool:
        """Whether each array's file is there and every chunk of it has its checksum."""
        if shard not in self._whole:
            shards = {self.folder / shard_file(name, shard): array for name, array in self._arrays.items()}
            if not is_whole(shards, self.rows(shard)):
                return False
            self._whole.add(shard)
        return True

    def rows(self, shard: int) -> range:
        """Rows of a shard."""
        return rows_of_shard(shard, self.shard_rows, self.images)

    def write_shard(
        self, shard: int, maps: NDArray[np.uint8], peaks: NDArray[np.float32], activations: NDArray[np.float32]
    ) -> None:
        """Write all rows of one shard."""
        rows = self.rows(shard)
        parts: tuple[NDArray[Any], ...] = (maps, peaks, activations)
        for name, values in zip(ARRAYS, parts, strict=True):
            if len(values) != len(rows):
                raise ValueError(f"shard {shard} of {name}: {len(values)} rows, expected {len(rows)}")
            write_rows(self.folder / shard_file(name, shard), self._arrays[name], rows, values)
        self._whole.add(shard)

    def finish(
        self,
        manifest: Manifest,
        images: list[dict[str, Any]] | pa.Table,
        features: Iterable[Feature],
        quarantine: list[dict[str, Any]],
        basis: Basis | None = None,
    ) -> None:
        """Write the tables, hash every file, and write the manifest last. images: rows of IMAGES_SCHEMA. basis: what
        the features are made of, where they are not neurons."""
        left = self.missing()
        if left:
            raise SalientError(
                f"{self.folder}: cannot be finished", expected="all shards written", got=f"{len(left)} missing"
            )
        write_table(self.folder / IMAGES_TABLE, images, IMAGES_SCHEMA)
        write_table(self.folder / FEATURES_TABLE, features_table(features), FEATURES_SCHEMA)
        write_table(self.folder / QUARANTINE_TABLE, quarantine, QUARANTINE_SCHEMA)
        names = [IMAGES_TABLE, FEATURES_TABLE, QUARANTINE_TABLE]
        if basis is not None:
            write_table(self.folder / BASIS_TABLE, basis_table(basis), BASIS_SCHEMA)
            names.append(BASIS_TABLE)
        arrays = [p.relative_to(self.folder).as_posix() for p in (self.folder / MAPS).rglob("*") if p.is_file()]
        for path in [self.folder / name for name in arrays]:
            sync(path)
            sync_folder(path.parent)
        names += arrays
        files = {name: file_sha256(self.folder / name) for name in names}
        sizes = {name: (self.folder / name).stat().st_size for name in names}
        write_manifest(self.folder, dataclasses.replace(manifest, files=files, sizes=sizes))
