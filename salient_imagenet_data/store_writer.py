"""Writing a store: create the arrays, append whole shards, finish with the manifest.

A shard is one file of one array with one owner. Zarr writes it under a temporary name and renames it, so a
shard file that exists is whole; empty shards are written too, since a missing one would read as zeros.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pyarrow as pa
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.folder import Folder
from salient_imagenet_data.manifest import Manifest, file_sha256, write_manifest
from salient_imagenet_data.names import FEATURES_TABLE, IMAGES_TABLE, MANIFEST, MAPS, QUARANTINE_TABLE, WORK
from salient_imagenet_data.store import ARRAYS, shard_count, shard_file
from salient_imagenet_data.tables import FEATURES_SCHEMA, IMAGES_SCHEMA, QUARANTINE_SCHEMA, write_table

CHUNK_ROWS = 1024
"""Rows of a chunk inside a shard."""
SHARD_ROWS = 16 * CHUNK_ROWS
"""Rows of a shard file."""
SMALL_GRID = 256
"""Cells of a grid such as 7 x 7 or 16 x 16, not of whole masks."""


class StoreWriter:
    """Arrays of a store being built: N rows, K features a class, (h, w) maps.

    With an existing folder the arrays are opened again, and `missing()` says which shards are left to do.
    """

    def __init__(
        self, folder: Path, *, images: int, features: int, grid: tuple[int, int], shard_rows: int = SHARD_ROWS
    ) -> None:
        self.folder, self.images, self.shard_rows = folder, images, shard_rows
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.rglob("*.partial"):
            leftover.unlink()
        shapes: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
            "maps": ((images, features, *grid), np.uint8),
            "peaks": ((images, features), np.float32),
            "activations": ((images, features), np.float32),
        }
        self._arrays = {name: _array(folder / MAPS / name, *shapes[name], shard_rows) for name in ARRAYS}

    def missing(self) -> list[int]:
        """Shards of which at least one array's file is not there."""
        count = shard_count(self.images, self.shard_rows)
        return [s for s in range(count) if not all((self.folder / shard_file(a, s)).is_file() for a in ARRAYS)]

    def rows(self, shard: int) -> range:
        """Rows of a shard."""
        return range(shard * self.shard_rows, min((shard + 1) * self.shard_rows, self.images))

    def write_shard(
        self, shard: int, maps: NDArray[np.uint8], peaks: NDArray[np.float32], activations: NDArray[np.float32]
    ) -> None:
        """Write all rows of one shard."""
        rows = self.rows(shard)
        parts: tuple[NDArray[Any], ...] = (maps, peaks, activations)
        for name, values in zip(ARRAYS, parts, strict=True):
            if len(values) != len(rows):
                raise ValueError(f"shard {shard} of {name}: {len(values)} rows, expected {len(rows)}")
            self._arrays[name][rows.start : rows.stop] = values

    def finish(
        self,
        manifest: Manifest,
        images: list[dict[str, Any]] | pa.Table,
        features: list[dict[str, Any]],
        quarantine: list[dict[str, Any]],
    ) -> None:
        """Write the tables, hash every file, and write the manifest last. images: rows of IMAGES_SCHEMA."""
        left = self.missing()
        if left:
            raise SalientError(
                f"{self.folder}: cannot be finished", expected="all shards written", got=f"{len(left)} missing"
            )
        write_table(self.folder / IMAGES_TABLE, images, IMAGES_SCHEMA)
        write_table(self.folder / FEATURES_TABLE, features, FEATURES_SCHEMA)
        write_table(self.folder / QUARANTINE_TABLE, quarantine, QUARANTINE_SCHEMA)
        names = [IMAGES_TABLE, FEATURES_TABLE, QUARANTINE_TABLE]
        names += [p.relative_to(self.folder).as_posix() for p in (self.folder / MAPS).rglob("*") if p.is_file()]
        files = {name: file_sha256(self.folder / name) for name in names}
        write_manifest(self.folder, dataclasses.replace(manifest, files=files))


@contextmanager
def claimed(folder: Folder, *, resume: bool, overwrite: bool) -> Iterator[None]:
    """Make a store's folder or take over one, and on a disk hold it: the lock goes with the process, however that ends.

    The lock lies beside the folder, so that overwriting cannot remove it from under a process that is writing. Its
    empty file stays: removing it would let a third process lock a new one while a second still holds the old. Behind a
    URL nothing is held; what two writers put there is whole and, since `claim_work` agrees with both, the same.
    Raises SalientError with the host and pid of a process that holds the folder.
    """
    path = folder.path
    if path is None:
        prepare_folder(folder, resume=resume, overwrite=overwrite)
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path.parent / f".{path.name}.lock")
    owner = path.parent / f".{path.name}.owner"
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise SalientError(
            f"{path}: another process is writing here",
            got=owner.read_text() if owner.is_file() else "a lock held by another process",
            then="wait for it, or choose another --out",
        ) from error
    try:
        owner.write_text(f"host {socket.gethostname()}, pid {os.getpid()}")
        prepare_folder(folder, resume=resume, overwrite=overwrite)
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def prepare_folder(folder: Folder, *, resume: bool, overwrite: bool) -> None:
    """Make an output folder, or refuse one that exists. Overwriting removes only what a build makes."""
    path, place = folder.path, folder.place
    if path is not None and path.exists() and not path.is_dir():
        raise SalientError(f"{place}: is a file", expected="a folder to write to")
    there = folder.names()
    if there and overwrite:
        if not there & {MANIFEST, WORK}:
            raise SalientError(f"{place}: not a store", got="a folder with other files", then="choose another --out")
        # The manifest first: without it nobody takes what is left for a store.
        for name in (MANIFEST, FEATURES_TABLE, IMAGES_TABLE, QUARANTINE_TABLE, MAPS, WORK):
            folder.delete(name)
    elif there and not resume:
        raise SalientError(
            f"{place}: exists", expected="a new folder", then="use --resume to go on or --overwrite to start again"
        )
    if path is not None:
        path.mkdir(parents=True, exist_ok=True)


def made_of(fingerprint: str) -> str:
    """Hex sha256 of what a build or import is made of, as the manifest keeps it."""
    return hashlib.sha256(fingerprint.encode()).hexdigest()


def check_finished(store: Folder, fingerprint: str, *, of: str) -> bool:
    """Whether the store is finished. Raises SalientError if it was made of other input than this."""
    if MANIFEST not in store.names():
        return False
    with store.open(MANIFEST) as file:
        before = Manifest.from_json(file.read().decode(errors="replace"), f"{store.place}/{MANIFEST}").made_of
    if before not in (None, made_of(fingerprint)):
        raise SalientError(
            f"{store.place}: a finished store of other input", expected=f"the same {of}", then="use --overwrite"
        )
    return True


def claim_work(store: Folder, name: str, fingerprint: str, *, of: str) -> None:
    """Note in `work/name.json` what this build or import is made of, or check that a stopped one was made of the same.

    of: the input, in words. Raises SalientError if it was another. Sweeps files that were left half written.
    """
    work, file = store.child(WORK), f"{name}.json"
    if work.path is not None:
        for leftover in work.path.glob("*.partial"):
            leftover.unlink()
    if file not in work.names():
        work.write(file, lambda out: out.write(fingerprint.encode()))
        return
    with work.open(file) as before:
        if before.read() != fingerprint.encode():
            raise SalientError(
                f"{store.place}: stopped {name} of other input",
                expected=f"the same {of}",
                then="use --overwrite to start again",
            )


def _array(path: Path, shape: tuple[int, ...], dtype: type[np.generic], shard_rows: int) -> Any:
    if (path / "zarr.json").is_file():
        array = zarr.open_array(path, mode="r+", config={"write_empty_chunks": True})
        if array.shape != shape or array.dtype != dtype:
            raise SalientError(
                f"{path}: of another build", expected=f"{shape} {np.dtype(dtype)}", got=f"{array.shape} {array.dtype}"
            )
        return array
    if shard_rows % CHUNK_ROWS and shard_rows > CHUNK_ROWS:
        raise ValueError(f"shard_rows: expected a multiple of {CHUNK_ROWS}, got {shard_rows}")
    rest = shape[1:]
    return zarr.create_array(
        path,
        shape=shape,
        dtype=np.dtype(dtype),
        chunks=(min(CHUNK_ROWS, shard_rows), *rest),
        shards=(shard_rows, *rest),
        compressors=_compressors(np.dtype(dtype), rest),
        config={"write_empty_chunks": True},
    )


def _compressors(dtype: np.dtype[Any], shape: tuple[int, ...]) -> list[Any]:
    """For maps plain zstd, since shuffled bits are larger, and for small grids, which are soon packed, a high level.
    For floats zstd over shuffled bytes."""
    if dtype == np.uint8:
        return [ZstdCodec(level=13 if math.prod(shape[1:]) <= SMALL_GRID else 5), Crc32cCodec()]
    return [BloscCodec(cname="zstd", clevel=5, shuffle="shuffle", typesize=dtype.itemsize), Crc32cCodec()]
