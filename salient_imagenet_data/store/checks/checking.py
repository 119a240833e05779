"""Whether the files of a store are what its manifest says: sizes of all at opening, sha256 of each before it is read.

A size costs microseconds. Small files are read and hashed when a store is opened, large ones when they are first used.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.names import (
    BASIS_TABLE,
    CLAIM,
    FEATURES_TABLE,
    IMAGES_TABLE,
    MANIFEST,
    MAPS,
    QUARANTINE_TABLE,
)
from salient_imagenet_data.store.arrays import ARRAYS, shard_count, shard_file
from salient_imagenet_data.store.manifest import Manifest, damaged, file_sha256, not_finished

SMALL = 2**22
"""Bytes up to which a table is hashed when its store is opened."""
_TRIES = 10


def pending_table(sha256: str) -> str:
    """Name of a features table of this sha256 while it is being put in the place of another, see `store.replacing`."""
    return f"{FEATURES_TABLE.removesuffix('.parquet')}-{sha256[:16]}.parquet"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a store folder. Raises SalientError if there is none."""
    path = folder / MANIFEST
    if not path.is_file():
        raise not_finished(folder, stopped=(folder / CLAIM).is_file())
    try:
        return Manifest.from_json(path.read_bytes().decode(), str(path))
    except UnicodeDecodeError as error:
        raise damaged(path, got=str(error)) from error


def open_checked(folder: Path) -> tuple[Manifest, bytes]:
    """The manifest of a store, and its features table, which belongs to it also while somebody annotates the store.

    Raises SalientError if a file is missing, has another size, or, where it is small, other bytes.
    """
    for _ in range(_TRIES):
        manifest = read_manifest(folder)
        try:
            _check_files(folder, manifest)
            return manifest, _features(folder, manifest)
        except SalientError:
            if read_manifest(folder) == manifest:
                raise
    raise SalientError(f"{folder}: changes all the time", then="wait until nobody annotates it")


def check_size(folder: Path, name: str, size: int) -> None:
    """Raise SalientError unless a file is there and has its size."""
    try:
        got = os.stat(f"{folder}/{name}").st_size
    except OSError as error:
        raise _absent(folder, name, error.strerror or str(error)) from error
    if got != size:
        raise damaged(f"{folder}/{name}", expected=f"{size} bytes", got=str(got))


def check_sha256(folder: Path, name: str, sha256: str) -> None:
    """Raise SalientError unless a file has the bytes it was written with."""
    try:
        got = file_sha256(folder / name)
    except OSError as error:
        raise _absent(folder, name, error.strerror or str(error)) from error
    if got != sha256:
        raise damaged(f"{folder}/{name}", expected=f"sha256 {sha256}", got=got)


def verify(folder: Path, manifest: Manifest) -> None:
    """Read every byte and compare with the manifest's sha256. Raises SalientError at the first difference."""
    _features(folder, manifest)
    for name, sha256 in sorted(manifest.files.items()):
        if name != FEATURES_TABLE:
            check_sha256(folder, name, sha256)


def _check_files(folder: Path, m: Manifest) -> None:
    for name in itertools.chain(_wanted(m), m.files):
        if name not in m.files:
            raise _absent(folder, name, "a manifest that does not list it")
        if name != FEATURES_TABLE:
            check_size(folder, name, m.sizes[name])
    for name in (IMAGES_TABLE, QUARANTINE_TABLE):
        if m.sizes[name] <= SMALL:
            check_sha256(folder, name, m.files[name])
    for array in ARRAYS:
        _check_array(folder, f"{MAPS}/{array}/zarr.json", m, array)


def _wanted(m: Manifest) -> Iterator[str]:
    """What every store of this shape has. Lazily: the number of shards of a manifest may be anything."""
    yield from (IMAGES_TABLE, FEATURES_TABLE, QUARANTINE_TABLE)
    if "basis" in m.network:
        yield BASIS_TABLE
    yield from (f"{MAPS}/{a}/zarr.json" for a in ARRAYS)
    yield from (shard_file(a, s) for s in range(shard_count(m.images, m.shard_rows)) for a in ARRAYS)


def _check_array(folder: Path, name: str, m: Manifest, array: str) -> None:
    """The array's own description is whole, and says what the manifest says."""
    check_sha256(folder, name, m.files[name])
    said: dict[str, Any] = json.loads((folder / name).read_bytes())
    shape = [m.images, m.features_per_class, *(m.grid if array == "maps" else ())]
    rows = said["chunk_grid"]["configuration"]["chunk_shape"][0]
    if said["shape"] != shape or rows != m.shard_rows:
        raise SalientError(
            f"{folder}/{name}: not of this manifest",
            expected=f"shape {shape}, {m.shard_rows} rows a shard",
            got=f"shape {said['shape']}, {rows} rows a shard",
            then="download it again or rebuild",
        )


def _features(folder: Path, m: Manifest) -> bytes:
    sha256, data = m.files[FEATURES_TABLE], b""
    for name in (FEATURES_TABLE, pending_table(sha256)):
        try:
            data = (folder / name).read_bytes()
        except FileNotFoundError:
            continue
        if hashlib.sha256(data).hexdigest() == sha256:
            return data
    if not (folder / FEATURES_TABLE).is_file():
        raise _absent(folder, FEATURES_TABLE, "no such file")
    raise damaged(folder / FEATURES_TABLE, expected=f"sha256 {sha256}", got=file_sha256(folder / FEATURES_TABLE))


def _absent(folder: Path, name: str, got: str) -> SalientError:
    return SalientError(
        f"{folder}: incomplete store",
        expected=f"{name} beside the manifest",
        got=got,
        then="copy or download it again whole, or rebuild",
    )
