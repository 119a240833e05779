"""A case of an awkward file, and what it takes to make one."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from salient_imagenet_data.images.layout.names import Layout

Outcome = Literal["read", "left out", "quarantine", "refused"]
SMALL = (6, 5)
"""Width and height of the pictures."""


def picture(seed: int, kind: str = "PNG", mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*reversed(SMALL), 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def gray(values: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, kind)
    return buffer.getvalue()


def write(path: Path, data: bytes = picture(0)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def tree(root: Path, *classes: str) -> None:
    """Two pictures in each of some class folders."""
    for name in classes:
        for i in range(2):
            write(root / name / f"{i}.png", picture(i))


def pack(path: Path, members: dict[str, bytes], encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", encoding=encoding, format=tarfile.GNU_FORMAT) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


@dataclass(frozen=True)
class Case:
    """make: fills a folder in which, unless `bare`, class folders cat and dog hold two pictures each.

    said: what a person reads of it. read: the images' number. below: what of the folder is given as images.
    plain: only a user without root's rights meets it.
    """

    what: str
    outcome: Outcome
    said: str
    make: Callable[[Path], object]
    read: int = 4
    classes: tuple[str, ...] = ("cat", "dog")
    below: str = ""
    split: str = "train"
    layout: Layout | None = None
    bare: bool = False
    plain: bool = False
