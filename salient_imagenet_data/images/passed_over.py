"""What lies among the images and is not read: told in a line, listed in a table, kept in a store's quarantine."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath

HIDDEN = "hidden, its name begins with a dot"
RESOURCE_FORK = "macOS keeps a file's other half in it"
BROKEN_LINK = "link to nothing"
CIRCLE = "link back to a folder that it lies in"
NO_FILE = "no file but a pipe, socket or device"
UNLISTED = "folder that may not be listed"
ARCHIVE = "archive beside folders"
OUTSIDE = "picture outside the class folders"
ASIDE = "folder beside the validation pictures"
IN_TAR = "member of a tar that is no plain file"
_ARCHIVES = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip", ".7z", ".rar")


@dataclass(frozen=True)
class PassedOver:
    """Files and folders that are not read. items: (path below the root of the source, reason)."""

    items: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    def counts(self) -> dict[str, int]:
        """{reason: number}, the most frequent first."""
        return dict(Counter(reason for _, reason in self.items).most_common())

    def line(self) -> str:
        """One line for a person: how many for which reason, and one file of each."""
        first: dict[str, str] = {}
        for path, reason in self.items:
            first.setdefault(reason, path)
        some = (f"{n} ({reason}: {first[reason]}{' ...' if n > 1 else ''})" for reason, n in self.counts().items())
        return f"passed over {len(self)} {'file' if len(self) == 1 else 'files'}: {'; '.join(some)}"

    def table(self) -> str:
        """One line a file: reason and path."""
        width = max((len(reason) for _, reason in self.items), default=0)
        return "\n".join(f"  {reason:<{width}}  {path}" for path, reason in self.items)


def name_reason(name: str) -> str | None:
    """Why a name alone says that a file or folder is not read; None if it does not."""
    if name.startswith("._") or name == "__MACOSX":
        return RESOURCE_FORK
    return HIDDEN if name.startswith(".") else None


def ending_reason(name: str) -> str:
    """Why a file is no picture, by the ending of its name."""
    if name.lower().endswith(_ARCHIVES):
        return ARCHIVE
    ending = PurePosixPath(name).suffix.lower()
    return f"name ends in {ending}" if ending else "name without an ending"


def text_of(path: str) -> str:
    """A file's name as text, whatever bytes it is of and whatever the locale: other bytes than UTF-8's as \\xNN."""
    return path if path.isascii() else os.fsencode(path).decode("utf-8", "backslashreplace")
