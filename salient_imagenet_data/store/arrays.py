"""The Zarr arrays of a store: their names, shards and codecs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import zarr
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


def sharded_array(path: Path, shape: tuple[int, ...], dtype: type[np.generic], shard_rows: int) -> Any:
    """A Zarr array with shards of so many rows and a checksum of every chunk, made anew or opened to go on with it.
    Raises SalientError where one of another shape or type is there."""
    if (path / "zarr.json").is_file() and (path / "zarr.json").stat().st_size:  # else emptied by a power cut
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


def _compressors(dtype: np.dtype[Any], shape: tuple[int, ...]) -> list[Any]:
    """For maps plain zstd, since shuffled bits are larger, and for small grids, which are soon packed, a high level.
    For floats zstd over shuffled bytes."""
    if dtype == np.uint8:
        return [ZstdCodec(level=13 if math.prod(shape[1:]) <= SMALL_GRID else 5), Crc32cCodec()]
    return [BloscCodec(cname="zstd", clevel=5, shuffle="shuffle", typesize=dtype.itemsize), Crc32cCodec()]
