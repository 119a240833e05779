"""Files that are there whole or not at all, also after a power cut: the one way in which this package writes them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from salient_imagenet_data.errors import SalientError

UNFINISHED = ".salient.partial"
"""What the names of our files end in while they are written. A file of such a name is ours, and may be removed."""


def check_new(
    path: Path, overwrite: bool = False, *, ending: str = "", option: str = "--out", flag: str = "--overwrite"
) -> None:
    """Before the work is done: raises SalientError for a file that is there already, unless `overwrite`, or that could
    not be written, or whose name ends otherwise than what is in it. option, flag: where its name is from, and what
    would overwrite it."""
    if not path.name.lower().endswith(ending):
        raise SalientError(f"{path}: would be of another kind", expected=f"a name that ends in {ending}")
    if path.exists() and not overwrite:
        raise SalientError(f"{path}: exists", expected="a new file", then=f"choose another {option} or use {flag}")
    if not path.parent.is_dir():
        raise SalientError(f"{path.parent}: no such folder", expected=f"the folder of {option}", then="make it first")
    if not os.access(path.parent, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise SalientError(f"{path.parent}: nothing can be written there", expected=f"a folder of yours for {option}")


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to write, which appears under its name when all of it is on the disk.

    An error leaves what was there before, and nothing else. Raises OSError that names the file.
    """
    partial = path.with_name(path.name + UNFINISHED)
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and (error.filename in (None, str(partial))):
            # A full disk or a quota is told by the write, which knows no name.
            raise OSError(error.errno, error.strerror or os.strerror(error.errno), str(path)) from error
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole."""
    with whole_file(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """The same for text, as UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def sync(path: Path) -> None:
    """Wait until a file that another library wrote is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can say so of a folder."""
    if os.name == "posix":
        sync(path)


def sweep(folder: Path) -> None:
    """Remove what a killed process left half written in a folder and below it. For folders that are held by a lock."""
    for leftover in folder.rglob(f"*{UNFINISHED}"):
        leftover.unlink(missing_ok=True)
