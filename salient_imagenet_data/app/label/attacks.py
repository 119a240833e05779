"""Feature attacks beside the heat maps: the highest images of each pair, changed until they show its feature most.

A function from outside makes them, since this room has no torch; one thread calls it, pair by pair, those first that
somebody looks at. They are kept in memory, within a bound, and made anew when the server is started again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.annotation.sheets import Attack
from salient_imagenet_data.app.label.records import Pair

Crops = Callable[[Pair], list[NDArray[np.uint8]]]
"""A pair -> the crops of its highest images that are there, (S, S, 3) uint8 each."""
MOST_BYTES = 256 * 2**20
"""Of attacks that are kept."""


@dataclass(frozen=True)
class Progress:
    """made: pairs whose attacks are there. of: all. failed: pairs of which they could not be made."""

    made: int
    of: int
    failed: int


class Attacks:
    """make: of `Attack`. encode: a crop as a JPEG. pairs: in the order in which people are asked."""

    def __init__(
        self,
        make: Attack,
        crops: Crops,
        encode: Callable[[NDArray[np.uint8]], bytes],
        pairs: Sequence[Pair],
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._make, self._crops, self._encode, self._most_bytes = make, crops, encode, most_bytes
        self._pairs = tuple(pairs)
        self._made: OrderedDict[Pair, list[bytes]] = OrderedDict()
        self._size = 0
        self._failed: dict[Pair, str] = {}
        self._asked: OrderedDict[Pair, None] = OrderedDict()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="attacks", daemon=True)

    def start(self) -> None:
        """Begin with the first pairs."""
        self._thread.start()

    def close(self) -> None:
        """End after the pair that is being made, and wait for that: a thread that is inside a library when the process
        ends may take it down."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(60)

    def of(self, pair: Pair) -> list[bytes] | None:
        """A pair's attacks as JPEGs; None where they are not made yet, and are now made before those of others."""
        with self._changed:
            if pair in self._made:
                self._made.move_to_end(pair)
                return self._made[pair]
            if pair not in self._failed:
                self._asked[pair] = None
                self._asked.move_to_end(pair)
                self._changed.notify()
            return None

    def trouble(self, pair: Pair) -> str | None:
        """Why a pair's attacks could not be made."""
        with self._changed:
            return self._failed.get(pair)

    @property
    def progress(self) -> Progress:
        with self._changed:
            return Progress(len(self._made), len(self._pairs), len(self._failed))

    def _run(self) -> None:
        while (pair := self._next()) is not None:
            try:
                crops = self._crops(pair)
                made = [self._encode(c) for c in self._make(crops, [pair.feature_index] * len(crops))]
            except Exception as error:  # of a network and a device: whatever it is, the pages go on and say it
                with self._changed:
                    self._failed[pair] = " ".join(f"{type(error).__name__}: {error}".split())[:200]
                continue
            with self._changed:
                self._made[pair] = made
                self._size += sum(map(len, made))
                while self._size > self._most_bytes and len(self._made) > 1:
                    self._size -= sum(map(len, self._made.popitem(last=False)[1]))

    def _next(self) -> Pair | None:
        """The pair to make now; waits while there is none. None: the end."""
        with self._changed:
            while not self._closed:
                while self._asked:
                    pair = self._asked.popitem()[0]
                    if pair not in self._made and pair not in self._failed:
                        return pair
                ahead = (p for p in self._pairs if p not in self._made and p not in self._failed)
                room = self._size + self._size // max(1, len(self._made)) <= self._most_bytes
                if room and (found := next(ahead, None)) is not None:
                    return found
                self._changed.wait()
            return None
