"""What a worker process does: the masks of one shard of rows, from the archive's bytes to grids."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.errors import ImageError
from salient_imagenet_data.official.archive import MASK_LIMIT, Reader
from salient_imagenet_data.official.fit import GridFit, decode_mask, pooling
from salient_imagenet_data.official.zip_index import Member

Mask = tuple[int, int, Member]
"""Row in the shard, slot, file."""
BLOCK = 64


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
    """One shard. rows: its number of rows."""

    shard: int
    rows: int
    masks: list[Mask]


@dataclass(frozen=True)
class Report:
    """What is kept of a shard beside its maps. error_sum: of the masks' mean errors, and worst the file with the
    greatest error, on the means that grids are fitted to; whole_...: on all pixels, for the masks looked at whole.
    broken: (row in the shard, slot, reason). digest: sha256 of what was read, or ""."""

    masks: int = 0
    error_sum: float = 0.0
    max_error: float = 0.0
    worst: str = ""
    whole_masks: int = 0
    whole_error_sum: float = 0.0
    whole_max_error: float = 0.0
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
    """Does tasks: masks are read, decoded and fitted BLOCK at a time, since each of the three runs faster in a row."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.pool = 1 if settings.grid is None else pooling(settings.size, settings.grid)
        self.fit = self.whole = None
        if settings.grid is not None:
            self.fit = GridFit(settings.size, settings.grid, self.pool)
            self.whole = GridFit(settings.size, settings.grid)

    def __call__(self, task: Task) -> tuple[int, NDArray[np.uint8], Report]:
        """The shard's number; maps (rows, slots, h, w) uint8, zeros where an image has no mask of a feature; report."""
        s = self.settings
        maps = np.zeros((task.rows, s.slots, *(s.grid or (s.size, s.size))), dtype=np.uint8)
        parts = [self._block(task.masks[i : i + BLOCK], maps) for i in range(0, len(task.masks), BLOCK)]
        worst = max(parts, key=lambda r: r.max_error, default=Report())
        report = Report(
            masks=sum(r.masks for r in parts),
            error_sum=sum(r.error_sum for r in parts),
            max_error=worst.max_error,
            worst=worst.worst,
            whole_masks=sum(r.whole_masks for r in parts),
            whole_error_sum=sum(r.whole_error_sum for r in parts),
            whole_max_error=max((r.whole_max_error for r in parts), default=0.0),
            broken=tuple(sorted(b for r in parts for b in r.broken)),
            digest=hashlib.sha256("".join(r.digest for r in parts).encode()).hexdigest() if s.digest else "",
        )
        return task.shard, maps, report

    def _block(self, masks: Sequence[Mask], maps: NDArray[np.uint8]) -> Report:
        """Fill in the maps of a few masks."""
        s = self.settings
        broken: list[tuple[int, int, str]] = []
        read = self._read(masks, broken)
        digest = _digest(read) if s.digest else ""
        decoded = self._decode(read, broken)
        report = Report(len(decoded), broken=tuple(broken), digest=digest)
        if not decoded:
            return report
        places = tuple(np.array([mask[:2] for mask, _ in decoded]).T)
        pixels = np.stack([p for _, p in decoded])
        if self.fit is None or self.whole is None:
            maps[places] = pixels
            return report
        grids = self.fit(pixels)
        maps[places] = grids
        errors = self.fit.errors(grids, pixels)
        worst = int(errors.max.argmax())
        # The means that grids are fitted to hide what is finer; so one mask of a block is looked at whole.
        (_, _, first), data = next((m, d) for m, d in read if m == decoded[0][0])
        whole = self.whole.errors(grids[:1], decode_mask(data, s.size, first.path)[None])
        return dataclasses.replace(
            report,
            error_sum=float(errors.mean.sum(dtype=np.float64)),
            max_error=float(errors.max[worst]),
            worst=decoded[worst][0][2].path,
            whole_masks=1,
            whole_error_sum=float(whole.mean[0]),
            whole_max_error=float(whole.max[0]),
        )

    def _read(self, masks: Sequence[Mask], broken: list[tuple[int, int, str]]) -> list[tuple[Mask, bytes]]:
        result = []
        for mask in masks:
            try:
                result.append((mask, self.settings.reader.read(mask[2], MASK_LIMIT)))
            except ImageError as error:
                self._note(mask, error, broken)
        return result

    def _decode(
        self, read: Sequence[tuple[Mask, bytes]], broken: list[tuple[int, int, str]]
    ) -> list[tuple[Mask, NDArray[np.uint8]]]:
        result = []
        for mask, data in read:
            try:
                result.append((mask, decode_mask(data, self.settings.size, mask[2].path, self.pool)))
            except ImageError as error:
                self._note(mask, error, broken)
        return result

    def _note(self, mask: Mask, error: ImageError, broken: list[tuple[int, int, str]]) -> None:
        if not self.settings.skip_broken:
            raise error
        broken.append((mask[0], mask[1], str(error)))


def _digest(read: Sequence[tuple[Mask, bytes]]) -> str:
    digest = hashlib.sha256()
    for (_, _, member), data in read:
        digest.update(f"{member.path}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()


def run(settings: bytes, task: Task) -> tuple[int, NDArray[np.uint8], Report]:
    """Do a task. settings: pickled, and the same for all tasks of an import."""
    return _worker(settings)(task)


@lru_cache(maxsize=1)
def _worker(settings: bytes) -> Worker:
    return Worker(pickle.loads(settings))
