"""Shards that are written, and taken up again."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import zarr

from salient_imagenet_data.store.arrays import ARRAYS, shard_file
from salient_imagenet_data.store.writing import StoreWriter

ZEROS = np.zeros((2, 2), dtype=np.float32)
MAPS = np.full((2, 2, 2, 2), 7, dtype=np.uint8)


def writer(folder: Path) -> StoreWriter:
    return StoreWriter(folder, images=3, features=2, grid=(2, 2), shard_rows=2)


def half_written(folder: Path) -> Path:
    """A folder in which the first shard of two is written."""
    first = writer(folder)
    first.write_shard(0, MAPS, ZEROS, ZEROS)
    assert first.missing() == [1]
    return folder


def test_a_whole_shard_is_not_done_again(tmp_path: Path) -> None:
    assert writer(half_written(tmp_path)).missing() == [1]


@pytest.mark.parametrize("array", ARRAYS)
@pytest.mark.parametrize("how", ["emptied", "cut", "changed", "gone"])
def test_a_shard_that_is_not_what_was_written_is_done_again(tmp_path: Path, array: str, how: str) -> None:
    path = half_written(tmp_path) / shard_file(array, 0)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    {
        "emptied": lambda: os.truncate(path, 0),
        "cut": lambda: os.truncate(path, len(data) - 1),
        "changed": lambda: path.write_bytes(data),
        "gone": path.unlink,
    }[how]()
    again = writer(tmp_path)
    assert again.missing() == [0, 1]
    again.write_shard(0, MAPS, ZEROS, ZEROS)
    assert again.missing() == [1] and writer(tmp_path).missing() == [1]


@pytest.mark.parametrize("shard", [0, 1])
def test_a_shard_done_again_is_the_one_that_was_lost(tmp_path: Path, shard: int) -> None:
    """Also the last one, which is not full, and zeros, which Zarr leaves out unless told not to."""
    rows = 2 - shard

    def write(to: StoreWriter) -> list[bytes]:
        to.write_shard(shard, MAPS[:rows], ZEROS[:rows], ZEROS[:rows])
        return [(tmp_path / shard_file(array, shard)).read_bytes() for array in ARRAYS]

    expected = write(writer(tmp_path))
    for array in ARRAYS:
        (tmp_path / shard_file(array, shard)).write_bytes(b"damaged")
    assert write(writer(tmp_path)) == expected


@pytest.mark.parametrize("left", [0, 100])
def test_an_emptied_or_cut_description_of_an_array_begins_it_anew(tmp_path: Path, left: int) -> None:
    os.truncate(half_written(tmp_path) / "maps.zarr" / "peaks" / "zarr.json", left)
    again = writer(tmp_path)
    assert again.missing() == [0, 1]
    again.write_shard(0, MAPS, ZEROS, ZEROS)
    assert (zarr.open_array(tmp_path / "maps.zarr" / "maps", mode="r")[:2] == MAPS).all()


def test_leftovers_of_a_killed_writer_are_swept(tmp_path: Path) -> None:
    leftover = half_written(tmp_path) / "maps.zarr" / "maps" / "c" / "1" / "0" / "0" / "0.abc.partial"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    mine = tmp_path / "mine.partial"
    mine.write_bytes(b"not of a store")
    assert writer(tmp_path).missing() == [1]
    assert not leftover.exists() and mine.exists()
