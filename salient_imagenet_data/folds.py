"""Parts of a data set by image id: the same image is in the same part wherever it comes from, so that what is fitted on
one part can be measured on another."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError

MOST = 1000


def numbers_of(image_ids: Iterable[str]) -> NDArray[np.uint64]:
    """(n,) a number of each image that its id alone decides: the first 8 bytes, big-endian, of the id's sha256."""
    digests = (hashlib.sha256(image_id.encode()).digest()[:8] for image_id in image_ids)
    return np.fromiter((int.from_bytes(digest, "big") for digest in digests), dtype=np.uint64)


def lowest_of_each(
    image_ids: Iterable[str], labels: NDArray[np.integer], count: int, salt: str = ""
) -> NDArray[np.int64]:
    """Rows of the `count` images of each class whose numbers are lowest, class after class and in the order of these:
    the same images whatever else is there, however ordered. image_ids: N. labels: (N,). A class with fewer images gives
    all it has. salt: goes before the ids; with another one they are other images."""
    order, place = within_classes(_salted(image_ids, salt), labels)
    return np.asarray(order[place < count], dtype=np.int64)


def within_classes(
    image_ids: Iterable[str], labels: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(N,) rows, class after class and in the order of the images' numbers, and (N,) the place of each within its
    class, from 0. image_ids: N. labels: (N,)."""
    order = np.lexsort((numbers_of(image_ids), labels))
    return order, np.arange(len(order)) - np.searchsorted(labels[order], labels[order])


def _salted(image_ids: Iterable[str], salt: str) -> Iterable[str]:
    return image_ids if not salt else (f"{salt} {image_id}" for image_id in image_ids)


@dataclass(frozen=True)
class Fold:
    """Part `number`, from 1, of `of` parts: images whose number (`numbers_of`) is number - 1 modulo `of`. Raises
    SalientError for numbers that make no such part."""

    number: int = 1
    of: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of <= MOST:
            raise SalientError("fold", expected=f"N/M with 1 <= N <= M <= {MOST}, such as 1/2", got=str(self))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @staticmethod
    def parse(text: str) -> Fold:
        """Of "1/2". Raises SalientError for other text."""
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        if found is None:
            raise SalientError("fold", expected=f"N/M with 1 <= N <= M <= {MOST}, such as 1/2", got=text)
        return Fold(int(found[1]), int(found[2]))

    def holds(self, image_ids: Iterable[str], salt: str = "") -> NDArray[np.bool_]:
        """(n,) whether each image is in it. Of two folds without a salt one lies within the other, or they share
        nothing, where one `of` divides the other; with a salt, which goes before the ids, a fold cuts all others."""
        here: NDArray[np.bool_] = numbers_of(_salted(image_ids, salt)) % np.uint64(self.of) == self.number - 1
        return here


WHOLE = Fold()
"""All images."""
