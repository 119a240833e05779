"""Reading images ahead, on threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

from salient_imagenet_data.errors import ImageError

T = TypeVar("T")
Kind = TypeVar("Kind", covariant=True)


class Closable(Protocol[Kind]):
    """An iterator that may hold threads until it is closed or has ended."""

    def __iter__(self) -> Iterator[Kind]: ...
    def __next__(self) -> Kind: ...
    def close(self) -> None: ...


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


class Ahead(Generic[T]):
    """The same items, made on one thread up to `depth` ahead, from the start and until it is closed."""

    def __init__(self, items: Iterator[T], depth: int) -> None:
        self._items, self._pool = items, ThreadPoolExecutor(1)
        self._waiting = deque(self._submit() for _ in range(depth))

    def _submit(self) -> Future[T | None]:
        return self._pool.submit(next, self._items, None)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        item = self._waiting.popleft().result() if self._waiting else None
        if item is None:
            self.close()
            raise StopIteration
        self._waiting.append(self._submit())
        return item

    def close(self) -> None:
        """End the thread, and let go of what is waiting and of what makes the items."""
        while self._waiting:
            self._waiting.popleft().cancel()
        self._pool.shutdown()
        if isinstance(self._items, Generator):
            self._items.close()
