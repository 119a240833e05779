"""What a format is told of the whole export, and what it is itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.formats.masked import Masked
from salient_imagenet_data.formats.names import Name
from salient_imagenet_data.formats.unit import Unit, Written

THRESHOLD = 0.5
"""Of the soft mask, in [0, 1], from which on a pixel belongs to a mask of two values."""
PNG_LEVEL = 6
"""Of libdeflate: a fifteenth of the time of what is published on the Hub (level 10), and a fifth more bytes."""


@dataclass(frozen=True)
class About:
    """data_version, manifest: of the store, the latter its sha256. classes: names by index. threshold: where a format
    has masks of two values."""

    data_version: str
    manifest: str
    split: str
    classes: tuple[str, ...]
    threshold: float = THRESHOLD

    def inside(self, mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which pixels of an 8-bit soft mask reach the threshold."""
        return np.asarray(mask >= self.threshold * 255.0) & (mask > 0)


Use = Literal["named, if given", "named", "located", "copied, if given"]
"""What the user's images are for: their files' names below the root, where the files are, or what is in them."""
Pictures = Callable[[Masked], bytes]
"""The encoded picture of an image."""


@dataclass(frozen=True)
class Format:
    """write: what a unit's files are made of its images, and of their pictures where these are copied. finish: what all
    units make together. unit_rows: rows of a unit. thresholded: whether masks are of two values."""

    name: Name
    write: Callable[[Written, Iterator[Masked], About, Pictures | None], None]
    finish: Callable[[Path, list[Unit], About], None]
    images: Use
    thresholded: bool = False
    unit_rows: int = 4096


def compact(value: Any) -> str:
    """JSON in one line, the same each time."""
    return json.dumps(value, separators=(",", ":"))


def write_list(file: IO[bytes], units: Iterable[Unit], name: str) -> None:
    """A JSON array of the lines of all units, one an entry a line, without its brackets."""
    first = True
    for unit in units:
        with unit.lines_file(name).open("rb") as lines:
            for line in lines:
                file.write((b"\n" if first else b",\n") + line.rstrip(b"\n"))
                first = False
