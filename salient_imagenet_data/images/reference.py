"""References to images inside tar files, as text that a table can hold in place of a copy; and what files a source has.

A reference is `tar:SHARD#offset=O&size=S&stamp=BYTES-MTIME`: where the member's bytes lie, and size in bytes and time
in nanoseconds of the shard when it was read. A shard that changed since is refused: a reference never gives other
pixels.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

from salient_imagenet_data.errors import ImageError

_REFERENCE = re.compile(
    r"tar:(?P<shard>.*)#offset=(?P<offset>\d+)&size=(?P<size>\d+)&stamp=(?P<stamp>\d+-\d+)", re.DOTALL
)


@runtime_checkable
class FiledSource(Protocol):
    """A source whose images lie in files on a disk."""

    def files(self) -> Iterator[str]:
        """Paths of all files that hold images."""
        ...

    def referred(self, index: int) -> dict[str, str | bytes | None]:
        """As `encoded`, with a path or a reference and no bytes."""
        ...


def identity_of(source: FiledSource) -> str:
    """sha256 over path, size and time of every file: another file, or another content, is another identity."""
    digest = hashlib.sha256()
    for path in source.files():
        digest.update(f"{path}\0{stamp(path)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def stamp(path: str | Path) -> str:
    """Size and time of a file as text; "gone" if it cannot be looked at."""
    try:
        found = os.stat(path)
    except OSError:
        return "gone"
    return f"{found.st_size}-{found.st_mtime_ns}"


def reference(shard: str | Path, offset: int, size: int, stamped: str) -> str:
    """The text for `size` bytes at `offset` of a tar file. stamped: of the shard when its members were listed."""
    return f"tar:{os.path.abspath(shard)}#offset={offset}&size={size}&stamp={stamped}"


def is_reference(text: object) -> bool:
    """Whether a path of a table is such a reference."""
    return isinstance(text, str) and text.startswith("tar:") and _REFERENCE.fullmatch(text) is not None


def bytes_at(text: str) -> bytes:
    """The bytes that a reference means. Raises ImageError if the shard is gone or was changed since."""
    match = _REFERENCE.fullmatch(text)
    assert match is not None
    shard, size = match["shard"], int(match["size"])
    if stamp(shard) != match["stamp"]:
        raise ImageError(
            f"{shard}: {'gone' if stamp(shard) == 'gone' else 'changed'} since its images were joined",
            then="call load_dataset again",
        )
    with Path(shard).open("rb") as file:
        file.seek(int(match["offset"]))
        data = file.read(size)
    if len(data) != size:
        raise ImageError(f"{shard}: cut short", expected=f"{size} bytes", got=str(len(data)))
    return data
