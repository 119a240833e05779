"""Progress bars: rate and remaining time, after two seconds, on a terminal only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(items: Iterable[T], *, total: int, what: str, unit: str = "image") -> tqdm[T]:
    """Wrap an iterable. `update` may be called instead of iterating; silent when stderr is no terminal."""
    return tqdm(items, total=total, desc=what, unit=unit, delay=2, disable=None, leave=False)


def counted(items: Iterable[T], *, total: int, what: str) -> Iterator[T]:
    """Pass items on, one step each."""
    yield from progress(items, total=total, what=what)
