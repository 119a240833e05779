"""A user whom the modes of files bind: root is not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir


@contextmanager
def without_roots_rights(below: Path) -> Iterator[None]:
    """Nobody's rights, where this is root. below: a folder that he must reach."""
    if os.geteuid() != 0:
        yield
        return
    for folder in (below, *below.parents):  # which pytest makes for its own user only
        if folder == Path(gettempdir()) or folder.stat().st_uid != os.getuid():
            break
        folder.chmod(folder.stat().st_mode | 0o055)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
