"""The folder of an export: what may be replaced there, and how it comes to be whole.

An export is made in `<out>.partial`, where `.export-key` is our marker: written first, removed last. A finished one has
`.export.json`, which lists its files. What holds neither is not ours, and is neither removed nor written to.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.store.manifest import file_sha256
from salient_imagenet_data.whole_file import UNFINISHED, sweep, write_text

MARKER = ".export.json"
"""In a finished export: what it was made of, and the sha256 of every other file. Not published."""
KEY = ".export-key"
_FORMAT = "salient-imagenet export"


@dataclass(frozen=True)
class Target:
    """out: where the export shall stand, without links on the way."""

    out: Path

    @staticmethod
    def at(out: Path, store: Path) -> Target:
        """Raises SalientError, before anything is written, for a place where no export can be made."""
        place = Path(os.path.realpath(out))
        here, origin = Path.cwd().resolve(), store.resolve()
        if here.is_relative_to(place):
            raise SalientError(
                f"{out}: the working folder, or one above it", expected="a folder of its own", then="give a new name"
            )
        if place.is_relative_to(origin) or origin.is_relative_to(place):
            raise SalientError(f"{out}: store and export would lie in one another", then="choose another folder")
        above = next(folder for folder in place.parents if folder.exists())
        if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            raise SalientError(
                f"{above}: cannot write there",
                expected=f"a folder where {place.name} can be made",
                then="choose another",
            )
        return Target(place)

    @property
    def partial(self) -> Path:
        """Where it is made."""
        return self.out.with_name(self.out.name + ".partial")

    def is_finished(self, key: str, *, overwrite: bool) -> bool:
        """Whether the export asked for is there. Raises SalientError where something else is that may not go."""
        _check_ours(self.partial)
        if not self.out.exists():
            return False
        marker = _marker(self.out)
        if marker is not None and marker["key"] == key:
            (self.out / KEY).unlink(missing_ok=True)  # of one that was stopped at its last act
            return True
        if self.out.is_dir() and not any(self.out.iterdir()):
            return False
        if marker is None or not overwrite:
            raise SalientError(
                f"{self.out}: exists",
                expected="a new folder, or an export of the same store with the same options",
                then="choose another folder, or use --overwrite to replace an older export",
            )
        others = sorted(set(files_of(self.out)) - set(marker["files"]))
        if others:
            raise SalientError(
                f"{self.out / others[0]}: not of the export that is to be replaced",
                got=f"{len(others)} such files",
                then="move them away, or choose another folder",
            )
        return False

    def begin(self, key: str) -> Path:
        """The folder to write to: that of a stopped export with the same key, else a new one."""
        marker = self.partial / KEY
        if marker.is_file() and marker.read_text(encoding="utf-8") != _key_text(key):
            _remove(self.partial, last=KEY)
        self.partial.mkdir(parents=True, exist_ok=True)
        sweep(self.partial)
        write_text(marker, _key_text(key))
        return self.partial

    def finish(self, key: str) -> None:
        """Note what was made, and put it in its place."""
        files = {name: file_sha256(self.partial / name) for name in files_of(self.partial)}
        write_text(self.partial / MARKER, json.dumps({"key": key, "files": files}, indent=2, sort_keys=True) + "\n")
        if self.out.exists():
            _remove(self.out, last=MARKER)
        self.partial.replace(self.out)
        (self.out / KEY).unlink()


def files_of(folder: Path) -> list[str]:
    """Paths of an export that are published, sorted, with forward slashes."""
    paths = (p for p in folder.rglob("*") if p.is_file() and p.name not in (MARKER, KEY))
    return sorted(p.relative_to(folder).as_posix() for p in paths)


def read_marker(folder: Path) -> dict[str, str]:
    """sha256 by path of a finished export. Raises SalientError if the folder is none."""
    marker = _marker(folder)
    if marker is None:
        raise SalientError(f"{folder}: not a finished export", then="make one with `salient-imagenet export`")
    files: dict[str, str] = marker["files"]
    return files


def _marker(folder: Path) -> dict[str, Any] | None:
    try:
        fields = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        return fields if isinstance(fields["key"], str) and isinstance(fields["files"], dict) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _check_ours(partial: Path) -> None:
    if not os.path.lexists(partial):
        return
    try:
        names = set(os.listdir(partial)) - {KEY + UNFINISHED}
        ours = not names or json.loads((partial / KEY).read_text(encoding="utf-8"))["format"] == _FORMAT
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        ours = False
    if not ours or partial.is_symlink():
        raise SalientError(
            f"{partial}: not made by this package", then="move it, or choose another place for the export"
        )


def _key_text(key: str) -> str:
    return json.dumps({"format": _FORMAT, "key": key}, sort_keys=True) + "\n"


def _remove(folder: Path, *, last: str) -> None:
    """Remove a folder of ours, our marker at the end: stopped before, it is still known as ours."""
    for path in folder.iterdir():
        if path.name == last:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    (folder / last).unlink(missing_ok=True)
    folder.rmdir()
