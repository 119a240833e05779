"""The Zarr arrays of a store: their names, shards and codecs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.names import (
    MAPS,
)

ARRAYS = ("maps", "peaks", "activations")


def shard_count(rows: int, shard_rows: int) -> int:
    """Shards that `rows` rows fill."""
    return -(-rows // shard_rows)


def shard_file(array: str, shard: int) -> str:
    """Path below the store of a shard of an array; only the row axis is cut."""
    return f"{MAPS}/{array}/c/{shard}" + ("/0/0/0" if array == "maps" else "/0")


CHUNK_ROWS = 1024
"""Rows of a chunk inside a shard."""
SHARD_ROWS = 16 * CHUNK_ROWS
"""Rows of a shard file."""
SMALL_GRID = 256
"""Cells of a grid such as 7 x 7 or 16 x 16, not of whole masks."""


def rows_of_shard(shard: int, shard_rows: int, rows: int) -> range:
    """Rows of a shard, of so many in all."""
    return range(shard * shard_rows, min((shard + 1) * shard_rows, rows))


def sweep_shards(folder: Path) -> None:
    """Delete what a killed writer left below a folder: files under the temporary names that Zarr gives them."""
    for leftover in folder.rglob("*.partial"):
        leftover.unlink()


def is_whole(shards: Mapping[Path, Any], rows: range) -> bool:
    """Whether a shard of each array is there, {its file: the array}, and every chunk of it has its checksum."""
    if not all(path.is_file() and path.stat().st_size for path in shards):
        return False  # Zarr reads zeros from both
    try:
        for array in shards.values():
            array[rows.start : rows.stop]
    except Exception:  # each codec brings its own, and all mean that the shard is to be written again
        return False
    return True


def write_rows(path: Path, array: Any, rows: range, values: NDArray[Any]) -> None:
    """Write all rows of a shard, whose file is `path`. Raises OSError naming the file."""
    path.unlink(missing_ok=True)  # of a damaged one, Zarr would keep what it can read
    try:
        array[rows.start : rows.stop] = values
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def sharded_array(path: Path, shape: tuple[int, ...], dtype: type[np.generic], shard_rows: int) -> Any:
    """A Zarr array with shards of so many rows and a checksum of every chunk, made anew or opened to go on with it.
    Raises SalientError where one of another shape or type is there."""
    if _whole_json(path / "zarr.json"):
        with zarr.config.set({"array.write_empty_chunks": True}):  # Zarr 3.1 ignores `config` where an array is opened
            array = zarr.open_array(path, mode="r+")
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
        overwrite=(path / "zarr.json").is_file(),
    )


def _whole_json(path: Path) -> bool:
    """Whether a file is there and holds JSON; not if it was emptied or cut, as by a power cut."""
    try:
        return isinstance(json.loads(path.read_bytes()), dict)
    except (FileNotFoundError, ValueError):
        return False


def _compressors(dtype: np.dtype[Any], shape: tuple[int, ...]) -> list[Any]:
    """For maps plain zstd, since shuffled bits are larger, and for small grids, which are soon packed, a high level.
    For floats zstd over shuffled bytes."""
    if dtype == np.uint8:
        return [ZstdCodec(level=13 if math.prod(shape[1:]) <= SMALL_GRID else 5), Crc32cCodec()]
    return [BloscCodec(cname="zstd", clevel=5, shuffle="shuffle", typesize=dtype.itemsize), Crc32cCodec()]
