"""Reading images ahead, on threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from salient_imagenet_data.errors import ImageError

T = TypeVar("T")


def read_ahead(
    indices: Sequence[int], read: Callable[[int], T], *, threads: int = 2, window: int = 64
) -> Iterator[tuple[int, T | ImageError]]:
    """`read` every index in order, always up to `window` ahead, on threads (decoders free the interpreter lock).

    Yields (index, what `read` gave), or (index, the ImageError that it raised).
    """

    def attempt(index: int) -> T | ImageError:
        try:
            return read(index)
        except ImageError as error:
            return error

    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[int, Future[T | ImageError]]] = deque()
        try:
            for index in indices:
                waiting.append((index, pool.submit(attempt, index)))
                if len(waiting) >= window:
                    first, result = waiting.popleft()
                    yield first, result.result()
            while waiting:
                first, result = waiting.popleft()
                yield first, result.result()
        finally:
            for _, result in waiting:
                result.cancel()
