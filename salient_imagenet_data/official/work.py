"""What a worker process does: the masks of one shard of rows, from the archive's bytes to grids."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.errors import ImageError
from salient_imagenet_data.official.archive import MASK_LIMIT, Reader
from salient_imagenet_data.official.fit import GridFit, decode_mask
from salient_imagenet_data.official.zip_index import Member


@dataclass(frozen=True)
class Settings:
    """grid: (h, w) to reduce to, or None to keep the pixels. skip_broken: note a mask that cannot be decoded and go
    on. digest: hash what is read, where the archive as a whole was not."""

    reader: Reader
    size: int
    slots: int
    grid: tuple[int, int] | None
    skip_broken: bool
    digest: bool


@dataclass(frozen=True)
class Task:
    """One shard. rows: its number of rows. masks: (row in the shard, slot, file)."""

    shard: int
    rows: int
    masks: list[tuple[int, int, Member]]


@dataclass(frozen=True)
class Report:
    """What is kept of a shard beside its maps. error_sum: of the masks' mean errors. worst: the file with the
    greatest error. broken: (row in the shard, slot, reason). digest: sha256 of the bytes read, or ""."""

    masks: int = 0
    error_sum: float = 0.0
    max_error: float = 0.0
    worst: str = ""
    broken: tuple[tuple[int, int, str], ...] = ()
    digest: str = ""

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self)) + "\n"

    @staticmethod
    def from_json(text: str) -> Report:
        fields: dict[str, Any] = json.loads(text)
        fields["broken"] = tuple((row, slot, reason) for row, slot, reason in fields["broken"])
        return Report(**fields)


class Worker:
    """Does tasks. maps: (rows, slots, h, w) uint8, zeros where an image has no mask of a feature."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.fit = None if settings.grid is None else GridFit(settings.size, settings.grid)

    def __call__(self, task: Task) -> tuple[int, NDArray[np.uint8], Report]:
        s = self.settings
        maps = np.zeros((task.rows, s.slots, *(s.grid or (s.size, s.size))), dtype=np.uint8)
        digest = hashlib.sha256()
        done, error_sum, max_error, worst = 0, 0.0, 0.0, ""
        broken: list[tuple[int, int, str]] = []
        for row, slot, member in task.masks:
            data = s.reader.read(member, MASK_LIMIT)
            if s.digest:
                digest.update(f"{member.path}\0{len(data)}\0".encode() + data)
            try:
                mask = decode_mask(data, s.size, member.path)
            except ImageError as error:
                if not s.skip_broken:
                    raise
                broken.append((row, slot, str(error)))
                continue
            done += 1
            if self.fit is None:
                maps[row, slot] = mask
                continue
            fitted = self.fit(mask)
            maps[row, slot] = fitted.grid
            error_sum += fitted.mean_error
            if fitted.max_error > max_error:
                max_error, worst = fitted.max_error, member.path
        report = Report(done, error_sum, max_error, worst, tuple(broken), digest.hexdigest() if s.digest else "")
        return task.shard, maps, report


_worker: Worker | None = None
"""Of this process; set once when it starts."""


def start(settings: Settings) -> None:
    """Make this process a worker."""
    global _worker
    _worker = Worker(settings)


def run(task: Task) -> tuple[int, NDArray[np.uint8], Report]:
    """Do a task in a process where `start` ran."""
    if _worker is None:
        raise RuntimeError("start() comes before run()")
    return _worker(task)
