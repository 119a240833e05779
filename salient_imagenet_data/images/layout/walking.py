"""Listing folders of images: every entry is a picture, a folder or passed over with a reason."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.images.decoding import extensions
from salient_imagenet_data.images.passed_over import (
    ARCHIVE,
    BROKEN_LINK,
    CIRCLE,
    NO_FILE,
    UNLISTED,
    ending_reason,
    name_reason,
    text_of,
)
from salient_imagenet_data.images.trouble import is_trouble, patiently, said

PICTURE, FOLDER = "picture", "folder"
Identity = tuple[int, int]


def entries(folder: str) -> Iterator[tuple[str, str]]:
    """(name, `PICTURE`, `FOLDER` or the reason to pass it over) of each entry of a folder, in no order.

    Links are followed; nothing is opened. Raises OSError if the folder cannot be listed, SalientError for trouble of
    the system.
    """
    endings = extensions()
    for entry in patiently(lambda: list(os.scandir(folder)), folder, folder):
        name = entry.name
        if name[0] != "." and name.lower().endswith(endings) and entry.is_file(follow_symlinks=False):
            yield name, PICTURE
        else:
            yield name, name_reason(name) or _kind(entry)


def _kind(entry: os.DirEntry[str]) -> str:
    try:
        if entry.is_dir():
            return FOLDER
        if entry.is_file():
            return PICTURE if entry.name.lower().endswith(extensions()) else ending_reason(entry.name)
    except OSError as error:  # a link to itself, or into a folder that may not be entered
        if is_trouble(error):
            raise SalientError(f"{text_of(entry.path)}: the system cannot look at it", got=said(error)) from error
        return BROKEN_LINK
    return NO_FILE if os.path.exists(entry.path) else BROKEN_LINK


@dataclass(frozen=True)
class Contents:
    """What lies in one folder. passed: names with reasons; a tar is in `tars` and, as an archive, in `passed`."""

    folders: tuple[str, ...]
    pictures: tuple[str, ...]
    tars: tuple[str, ...]
    passed: tuple[tuple[str, str], ...]


def contents(folder: str) -> Contents:
    """Raises SalientError if the folder may not be listed."""
    try:
        me = _identity(folder)
        found = sorted(
            (name, CIRCLE if kind == FOLDER and _identity(os.path.join(folder, name)) == me else kind)
            for name, kind in entries(folder)
        )
    except OSError as error:
        raise SalientError(f"{text_of(folder)}: cannot be listed", got=said(error)) from error
    passed = tuple((name, kind) for name, kind in found if kind not in (PICTURE, FOLDER))
    tars = tuple(name for name, kind in passed if kind == ARCHIVE and name.lower().endswith(".tar"))
    folders, pictures = (tuple(name for name, kind in found if kind == which) for which in (FOLDER, PICTURE))
    return Contents(folders, pictures, tars, passed)


def pictures_below(root: str, folder: str, passed: list[tuple[str, str]]) -> list[str]:
    """Paths below `root`, with forward slashes, of the pictures in `root/folder` and its folders, sorted.

    What is not read is added to `passed`. Linked folders are followed, but not back into a folder on the way. Raises
    SalientError if `root/folder` itself may not be listed.
    """
    found: list[str] = []

    def visit(below: str, way: tuple[Identity, ...]) -> None:
        place = os.path.join(root, below)
        me = _identity(place)
        if me in way:
            passed.append((text_of(below), CIRCLE))
            return
        for name, kind in entries(place):
            path = f"{below}/{name}"
            if kind == PICTURE:
                found.append(path)
            elif kind == FOLDER:
                try:
                    visit(path, (*way, me))
                except OSError:
                    passed.append((text_of(path), UNLISTED))
            else:
                passed.append((text_of(path), kind))

    try:
        visit(folder, (_identity(root),))
    except OSError as error:
        raise SalientError(
            f"{text_of(os.path.join(root, folder))}: cannot be listed",
            got=said(error),
            then="make it readable or move it away: a class that is left out would shift the others",
        ) from error
    return sorted(found, key=text_of)


def holds_pictures(folder: str, way: tuple[Identity, ...] = ()) -> bool:
    """Whether there is a picture or a tar in a folder or below it; what cannot be listed holds none."""
    try:
        me = _identity(folder)
        if me in way:
            return False
        folders = []
        for name, kind in entries(folder):
            if kind == PICTURE or (kind == ARCHIVE and name.lower().endswith(".tar")):
                return True
            if kind == FOLDER:
                folders.append(name)
    except OSError:
        return False
    return any(holds_pictures(os.path.join(folder, name), (*way, me)) for name in folders)


def _identity(folder: str) -> Identity:
    stat = os.stat(folder)
    return stat.st_dev, stat.st_ino
