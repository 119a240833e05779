"""An array on disk whose shards are compared with the manifest before a row of them is used.

Zarr reads zeros from a shard that is missing or empty, and cannot know one that stands in another's place.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.names import MAPS
from salient_imagenet_data.store.arrays import shard_count, shard_file
from salient_imagenet_data.store.checks.checking import check_sha256, check_size
from salient_imagenet_data.store.manifest import Manifest, damaged


@dataclass(frozen=True)
class Shard:
    """A file of an array: its path below the store, sha256 and bytes."""

    name: str
    sha256: str
    size: int


class CheckedArray:
    """A Zarr array of a store, read by rows. shards: in order. shard_rows: rows of each."""

    def __init__(self, folder: Path, name: str, shards: tuple[Shard, ...], shard_rows: int) -> None:
        self._made_of = folder, name, shards, shard_rows
        self._folder, self._shards, self._shard_rows = folder, shards, shard_rows
        array = self._array = zarr.open_array(folder / MAPS / name, mode="r")
        self.shape: tuple[int, ...] = array.shape
        self.dtype: np.dtype[Any] = np.dtype(array.dtype)
        self.block = int(array.chunks[0])
        # Shared with workers that are forked later, so that no shard is hashed twice.
        self._checked = shared(len(shards))

    @staticmethod
    def of(folder: Path, manifest: Manifest, name: str) -> CheckedArray:
        """An array of a store that was opened."""
        m = manifest
        names = [shard_file(name, s) for s in range(shard_count(m.images, m.shard_rows))]
        return CheckedArray(folder, name, tuple(Shard(n, m.files[n], m.sizes[n]) for n in names), m.shard_rows)

    def __reduce__(self) -> tuple[Callable[..., CheckedArray], tuple[Any, ...]]:
        return CheckedArray, self._made_of

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Rows start to stop. Raises SalientError, naming the file, for a shard that is not what it was."""
        if stop <= start:
            return np.empty((0, *self.shape[1:]), self.dtype)
        shards = range(start // self._shard_rows, -(-min(stop, self.shape[0]) // self._shard_rows))
        for i in shards:
            if not self._checked[i]:
                check_sha256(self._folder, self._shards[i].name, self._shards[i].sha256)
                self._checked[i] = 1
        try:
            values: NDArray[Any] = np.asarray(self._array[start:stop])
        except Exception as error:  # each codec and file system brings its own
            self._check_sizes(shards)
            names = ", ".join(self._shards[i].name for i in shards)
            raise damaged(f"{self._folder}/{names}", got=f"{type(error).__name__}: {error}") from error
        self._check_sizes(shards)
        return values

    def _check_sizes(self, shards: range) -> None:
        """After the reading, so that what went in between is told too."""
        for i in shards:
            try:
                check_size(self._folder, self._shards[i].name, self._shards[i].size)
            except SalientError:
                self._checked[i] = 0
                raise


def shared(size: int) -> NDArray[np.uint8]:
    """(size,) bytes, zero, that processes forked later share."""
    return np.frombuffer(mmap.mmap(-1, max(size, 1)), dtype=np.uint8)[:size]
