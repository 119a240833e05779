"""A unit of an export: some rows, whose files are written together, noted when all are there, and read before reuse."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from salient_imagenet_data.store.manifest import file_sha256
from salient_imagenet_data.whole_file import write_bytes, write_text

PARTS = ".parts"
"""Folder of notes and lines, below that of the export while it is made."""


@dataclass(frozen=True)
class Unit:
    """Rows start to stop, unit `index` of an export in `folder`."""

    folder: Path
    index: int
    start: int
    stop: int

    def lines_file(self, name: str) -> Path:
        """Of the unit's lines for a file that all units make together."""
        return self.folder / PARTS / f"{self.index:06d}.{name}"

    @property
    def note(self) -> Path:
        return self.folder / PARTS / f"{self.index:06d}.json"

    def counts(self) -> Counter[str] | None:
        """What was counted while it was written; None if it was not, or a file is not as it was written."""
        try:
            noted = json.loads(self.note.read_text(encoding="utf-8"))
            same = all(file_sha256(self.folder / name) == sha256 for name, sha256 in noted["files"].items())
            return Counter(noted["counts"]) if same else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None


@dataclass
class Written:
    """Files of a unit, and what was counted: each file is whole or not there, and the note is the last."""

    unit: Unit
    counts: Counter[str] = field(default_factory=Counter)
    files: dict[str, str] = field(default_factory=dict)

    def put(self, path: Path, data: bytes) -> None:
        """A file of the unit's own."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, data)
        self.noted(path)

    def noted(self, path: Path) -> None:
        """A file that was written some other way."""
        self.files[path.relative_to(self.unit.folder).as_posix()] = file_sha256(path)

    def lines(self, name: str, lines: Iterable[str]) -> None:
        """Lines for a file that all units make together."""
        self.put(self.unit.lines_file(name), "".join(f"{line}\n" for line in lines).encode("utf-8"))

    def finish(self) -> Counter[str]:
        note = {"files": self.files, "counts": dict(self.counts)}
        write_text(self.unit.note, json.dumps(note, indent=2, sort_keys=True) + "\n")
        return self.counts
