"""Images that are left out of rankings and scores on request, such as those whose label may be wrong."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError, many, reason, some
from salient_imagenet_data.spreadsheets.reading import decoded, delimiter_of

COLUMN = "image_id"
"""Of a CSV that names images."""


@dataclass(frozen=True)
class LeftOutFacts:
    """What is left out of some images. images: how many of them. sha256: of their ids, in the order of the alphabet,
    with a line feed between."""

    images: int
    sha256: str

    @property
    def words(self) -> str:
        """In a sentence."""
        return f"{many(self.images, 'image')} left out on request (ids {self.sha256[:12]})"


@dataclass(frozen=True)
class LeftOut:
    """Images that are left out, by id; none unless somebody asks."""

    ids: frozenset[str] = frozenset()

    @staticmethod
    def read(path: Path) -> LeftOut:
        """The ids of a CSV with a column image_id, as `label-errors` writes it, or of a text with one id a line.

        Raises SalientError for a file that cannot be read, has no such column or names no image.
        """
        try:
            text = decoded(path.read_bytes())
            between = delimiter_of(text) if COLUMN in text.partition("\n")[0] else ","
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=between)
            numbered = [(reader.line_num, line) for line in reader if any(cell.strip() for cell in line)]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise SalientError(f"{path}: not a list of images", got=reason(error)) from error
        lines = [line for _, line in numbered]
        place = lines[0].index(COLUMN) if lines and COLUMN in lines[0] else None
        if place is None and any(len(line) != 1 for line in lines):
            raise SalientError(f"{path}: columns without {COLUMN}", expected=f"a column {COLUMN}, or one id a line")
        for number, line in numbered if place is not None else ():
            if len(line) != len(lines[0]):
                raise SalientError(
                    f"{path}: line {number} is cut off", expected=f"{len(lines[0])} columns", got=str(len(line))
                )
        found = lines if place is None else lines[1:]
        ids = frozenset(line[place or 0].strip() for line in found) - {""}
        if not ids:
            raise SalientError(f"{path}: names no image", expected=f"a column {COLUMN}, or one id a line")
        return LeftOut(ids)

    def __bool__(self) -> bool:
        return bool(self.ids)

    def holds(self, image_ids: Iterable[str]) -> NDArray[np.bool_]:
        """(n,) whether each image is left out."""
        return np.fromiter((image_id in self.ids for image_id in image_ids), dtype=np.bool_)

    def among(self, image_ids: Iterable[str], where: str, tell: Callable[[str], None]) -> LeftOut:
        """Those of some images. where: whose they are. tell: called with a line where others are named too.

        Raises SalientError where none of the named images is among them, or all of them are to go.
        """
        there = set(image_ids)
        unknown, mine = sorted(self.ids - there), self.ids & there
        if not mine:
            raise SalientError(
                f"none of the {len(self.ids)} images to leave out is in {where}",
                expected=f"ids such as {min(there, default='none')}",
                got=unknown[0],
            )
        if len(mine) == len(there):
            raise SalientError(f"all {many(len(there), 'image')} of {where} are to be left out", expected="fewer")
        if unknown:
            tell(f"{many(len(unknown), 'image')} to leave out {_are(unknown)} not in {where}: {some(unknown, 3)}")
        return LeftOut(mine)

    def facts(self, image_ids: Iterable[str]) -> LeftOutFacts | None:
        """What is left out of some images; None where nothing is asked for."""
        if not self.ids:
            return None
        mine = sorted(image_id for image_id in image_ids if image_id in self.ids)
        return LeftOutFacts(len(mine), hashlib.sha256("\n".join(mine).encode()).hexdigest())

    @cached_property
    def sha256(self) -> str:
        """Of all ids."""
        return hashlib.sha256("\n".join(sorted(self.ids)).encode()).hexdigest()


def _are(items: list[str]) -> str:
    return "is" if len(items) == 1 else "are"


NOTHING = LeftOut()
"""All images count."""
