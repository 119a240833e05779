"""An array on disk that is decoded row block by row block, when a row is first asked for.

A million maps are 300 MB and take seconds to decode; the first batch needs a few dozen. Decoded blocks lie in one
anonymous shared mapping, so workers that are forked later share them, decode none twice, and need no copies. A spawned
or unpickled one starts anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.store.checks.checked_array import CheckedArray, shared


class LazyRows:
    """Rows of a Zarr array, indexed as numpy would by the first axis (int, slice, integer or boolean array, tuple).

    `np.asarray` reads the whole. block: rows decoded at a time, the array's chunk length.
    """

    def __init__(self, array: CheckedArray) -> None:
        self._array, self.shape, self.dtype, self.block = array, array.shape, array.dtype, array.block
        count = math.prod(self.shape)
        self._values: NDArray[Any] = shared(count * self.dtype.itemsize).view(self.dtype).reshape(self.shape)
        self._done = shared(-(-self.shape[0] // self.block))

    def __reduce__(self) -> tuple[Callable[[CheckedArray], LazyRows], tuple[CheckedArray]]:
        return LazyRows, (self._array,)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        first = key[0] if isinstance(key, tuple) else key
        if isinstance(first, (int, np.integer)):
            row = range(len(self))[int(first)]
            self._need(np.array([row // self.block]))
        elif isinstance(first, slice):
            rows = range(*first.indices(len(self)))
            if len(rows):
                self._need(np.arange(min(rows) // self.block, max(rows) // self.block + 1))
        else:
            chosen = np.arange(len(self))[first]
            self._need(np.unique(chosen // self.block))
        result: NDArray[Any] = self._values[key]
        return result

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        self._need(np.arange(len(self._done)))
        return np.array(self._values, dtype=dtype, copy=copy)

    def _need(self, blocks: NDArray[np.int64]) -> None:
        """Decode what is missing of some blocks, neighbours together; processes that race write the same bytes."""
        missing = blocks[self._done[blocks] == 0]
        for run in np.split(missing, np.flatnonzero(np.diff(missing) != 1) + 1) if len(missing) else ():
            start, stop = int(run[0]) * self.block, min((int(run[-1]) + 1) * self.block, len(self))
            self._values[start:stop] = self._array.read(start, stop)
            self._done[run] = 1
