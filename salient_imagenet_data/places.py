"""Places: folders on a disk or behind a URL of fsspec, such as s3://bucket/store, and names on the Hub.

A file in a `Folder` is there whole or not at all.
"""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.whole_file import whole_file

Fill = Callable[[IO[bytes]], object]


def is_url(place: object) -> bool:
    """Whether a place is behind fsspec; a path never is, and neither is a drive letter."""
    return isinstance(place, str) and re.match(r"[a-z][a-z0-9+.-]+://", place) is not None


def on_disk(place: str | os.PathLike[str]) -> Path:
    """A path, in which a leading `~` is the home folder: Python and `--option=~/x` of a shell leave that as it is.
    Raises SalientError for an empty text."""
    if not os.fspath(place):
        raise SalientError("no path is given", expected="a folder or file", got="nothing: is a variable not set?")
    return Path(os.path.expanduser(place))


@dataclass(frozen=True)
class Folder:
    """place: an absolute path, or a URL whose file system puts objects whole. Can be pickled.

    Raises SalientError, naming the URL, for whatever goes wrong behind one; OSError on a disk.
    """

    place: str

    @staticmethod
    def of(place: str | os.PathLike[str]) -> Folder:
        """The folder at a path or URL, which need not exist yet."""
        return Folder(str(place).rstrip("/") if is_url(place) else str(on_disk(place).absolute()))

    @property
    def path(self) -> Path | None:
        """Where it is on a disk; None behind a URL."""
        return None if is_url(self.place) else Path(self.place)

    def child(self, name: str) -> Folder:
        """A folder in it."""
        return Folder(f"{self.place}/{name}")

    def names(self) -> set[str]:
        """Names of the files and folders in it; none if it does not exist."""
        if self.path is not None:
            return {entry.name for entry in self.path.iterdir()} if self.path.is_dir() else set()
        with self._system("list") as (system, root):
            try:
                found = system.ls(root, detail=False)
            except FileNotFoundError:
                return set()
            # Some consoles put an object for the folder itself.
            paths = {str(name).rstrip("/") for name in found} - {root.rstrip("/")}
            return {path.rpartition("/")[2] for path in paths} - {""}

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """A file, to read and to seek in."""
        if self.path is not None:
            with (self.path / name).open("rb") as file:
                yield file
            return
        with self._system(f"read {name}") as (system, root), system.open(f"{root}/{name}", "rb") as file:
            yield file

    def write(self, name: str, fill: Fill) -> None:
        """Write a file that appears under its name when it is whole. fill: writes to an open file."""
        if self.path is not None:
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as local:
                fill(local)
            return
        # Not through an open remote file: closing one after an error would put what there is of it.
        buffer = io.BytesIO()
        fill(buffer)
        with self._system(f"write {name}") as (system, root):
            system.pipe_file(f"{root}/{name}", buffer.getvalue())

    def delete(self, name: str) -> None:
        """Delete a file or folder in it, if it is there."""
        if self.path is not None:
            path = self.path / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        elif name in self.names():
            with self._system(f"delete {name}") as (system, root):
                system.rm(f"{root}/{name}", recursive=True)

    @contextmanager
    def _system(self, doing: str) -> Iterator[tuple[Any, str]]:
        import fsspec

        try:
            # Without a cache of listings, since other machines write too.
            yield fsspec.core.url_to_fs(self.place, use_listings_cache=False)
        except SalientError:
            raise
        except ImportError as error:
            raise SalientError(f"{self.place}: cannot {doing}", got=str(error)) from error
        except Exception as error:  # each file system brings exceptions of its own
            detail = (str(error).strip().splitlines() or [""])[0][:300]
            raise SalientError(
                f"{self.place}: cannot {doing}",
                got=f"{type(error).__name__}: {detail}",
                then="are the address and its credentials right? Then run the same again to go on",
            ) from error


def upload(source: Path, target: Folder, *, last: str) -> None:
    """Copy every file of a folder on a disk to another place, that called `last` at the end."""
    names = sorted(p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file())
    for name in sorted(names, key=lambda name: name == last):
        with (source / name).open("rb") as file:
            target.write(name, lambda out, file=file: shutil.copyfileobj(file, out))  # type: ignore[misc]


_REPO_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(@[\w./-]+)?")


def assets(name: str) -> Path:
    """A folder of ours in the Hub's cache of other things, which need not exist: its own function would make it."""
    from huggingface_hub.constants import HF_ASSETS_CACHE

    return Path(HF_ASSETS_CACHE) / "salient-imagenet-data" / "default" / name


def is_repo_id(text: str) -> bool:
    """Whether a string reads as `org/name` or `org/name@revision` and neither it nor a folder `org` exists here.

    So a mistyped path below an existing folder is told as such at once, without asking the Hub.
    """
    if os.path.exists(text) or os.path.isdir(os.path.dirname(text)):
        return False
    return _REPO_ID.fullmatch(text) is not None


_HUB_ADDRESS = re.compile(
    r"(?:hf://datasets/|https://huggingface\.co/datasets/)([\w.-]+/[\w.-]+)(?:(?:@|/tree/)([\w./-]+?))?/?"
)


def hub_name(text: object) -> str | None:
    """`org/name` or `org/name@revision` if a string names a data set on the Hub, by hf:// or its page too."""
    if not isinstance(text, str):
        return None
    address = _HUB_ADDRESS.fullmatch(text)
    if address is not None:
        return address[1] + (f"@{address[2]}" if address[2] else "")
    return text if is_repo_id(text) else None


def or_on_the_hub(place: object) -> str:
    """The end of a line about a path that is not there: what is on the Hub under such a name, if it can be one."""
    text = str(place)
    return f", or hf://datasets/{text} for the Hub's" if _REPO_ID.fullmatch(text) and not os.path.exists(text) else ""


def check_repo_id(text: str) -> None:
    """Raise SalientError unless a string is a name that a data set on the Hub may have."""
    if _REPO_ID.fullmatch(text) is None or "@" in text:
        raise SalientError("repo is no name on the Hub", expected="org/name", got=repr(text))
