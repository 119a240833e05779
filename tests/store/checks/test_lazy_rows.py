from __future__ import annotations

import multiprocessing
import pickle
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from salient_imagenet_data.names import MAPS
from salient_imagenet_data.store.arrays import shard_file
from salient_imagenet_data.store.checks.checked_array import CheckedArray, Shard
from salient_imagenet_data.store.checks.lazy_rows import LazyRows
from salient_imagenet_data.store.manifest import file_sha256

VALUES = np.random.default_rng(0).integers(0, 256, size=(50, 3, 2, 2), dtype=np.uint8)


@pytest.fixture(scope="module")
def array(tmp_path_factory: pytest.TempPathFactory) -> CheckedArray:
    folder = tmp_path_factory.mktemp("lazy") / MAPS / "maps"
    made = zarr.create_array(folder, shape=VALUES.shape, dtype="uint8", chunks=(4, 3, 2, 2), shards=(16, 3, 2, 2))
    made[...] = VALUES
    store = folder.parents[1]
    names = [shard_file("maps", s) for s in range(4)]
    shards = tuple(Shard(n, file_sha256(store / n), (store / n).stat().st_size) for n in names)
    return CheckedArray(store, "maps", shards, 16)


@pytest.mark.parametrize(
    "key",
    [0, 49, -1, np.int64(7), slice(3, 9), slice(None), slice(48, 2, -5), slice(5, 5), (7, 1), (slice(2, 30, 7), 0, ..., 1),
     [3, 3, 41], np.array([49, 0]), np.arange(50) % 9 == 0, np.array([], dtype=np.int64), (np.array([1, 20]), np.array([0, 2]))],
    ids=str,
)  # fmt: skip
def test_indexing_is_numpys(array: CheckedArray, key: Any) -> None:
    assert np.array_equal(LazyRows(array)[key], VALUES[key])


@given(st.lists(st.integers(-50, 49), max_size=8))
@settings(max_examples=30, deadline=None)
def test_any_rows_in_any_order(array: CheckedArray, rows: list[int]) -> None:
    lazy = LazyRows(array)
    for row in rows:
        assert np.array_equal(lazy[row], VALUES[row])
    assert np.array_equal(np.asarray(lazy), VALUES)


def test_only_the_blocks_asked_for_are_decoded(array: CheckedArray) -> None:
    lazy = LazyRows(array)
    lazy[[5, 6, 30]]
    assert np.flatnonzero(lazy._done).tolist() == [1, 7] and len(lazy) == 50 and lazy.ndim == 4
    with pytest.raises(IndexError):
        lazy[50]


def _read(lazy: LazyRows) -> None:
    assert np.array_equal(lazy[20], VALUES[20])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_forked_workers_share_what_they_decode(array: CheckedArray, method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} on this platform")
    lazy = LazyRows(array)
    process = multiprocessing.get_context(method).Process(target=_read, args=(lazy,))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert bool(lazy._done[5]) == (method == "fork")
    assert np.array_equal(pickle.loads(pickle.dumps(lazy))[20], VALUES[20])
