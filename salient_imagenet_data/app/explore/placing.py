"""The folder of a written site: where one may stand, and how it comes to be whole there.

A site is made in `<out>.salient.partial`, which one process holds: `site.json` is our marker there, `new` what is being
written, `old` the site that stood there before, until the new one does. What has no marker is neither written to nor
removed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from salient_imagenet_data.errors import SalientError, some
from salient_imagenet_data.hub.target import Target
from salient_imagenet_data.names import LOCK
from salient_imagenet_data.store.locks import held
from salient_imagenet_data.whole_file import UNFINISHED, sync_folder, write_text

LIST = "site.json"
"""File of a site that lists its files: by it a site is known as ours, and only what it lists is ever removed."""
MADE_BY = "salient-imagenet explore"
_NEW, _OLD = "new", "old"


def check_place(out: Path, store: Path, *, images: Path | None = None, overwrite: bool = False) -> Path:
    """Where a site shall stand, without links on the way. Raises SalientError, before anything is written, for a place
    inside the store's or the images' folder or around it, and for a folder that may not be replaced."""
    place = Target.at(out, store).out
    if images is not None and images.exists():
        origin = images.resolve()
        if place.is_relative_to(origin) or origin.is_relative_to(place):
            raise SalientError(f"{out}: images and site would lie in one another", then="choose another folder")
    partial = _partial(place)
    if not _is_ours(partial):
        raise SalientError(
            f"{out}: {partial.name} stands beside it, which is not of a site", then="move it, or choose another folder"
        )
    if _files_of_ours(place, out) and not overwrite:
        raise SalientError(f"{out}: exists", expected="a new folder", then="choose another place or use --overwrite")
    return place


@contextmanager
def placed(out: Path, store: Path, *, overwrite: bool) -> Iterator[Path]:
    """A new folder to write a site to, which takes its place once the block is left without an error.

    An earlier site stays whole until then, and comes back where the new one cannot take its place. Raises SalientError
    as `check_place` does, and while another process writes there.
    """
    place = check_place(out, store, overwrite=overwrite)
    partial = _partial(place)
    partial.mkdir(parents=True, exist_ok=True)
    new, old = partial / _NEW, partial / _OLD
    try:
        with held(partial, called=out):
            try:
                if old.exists() and not place.exists():  # of a process that was killed between the two
                    old.rename(place)
                check_place(out, store, overwrite=overwrite)
                write_text(partial / LIST, json.dumps({"made_by": MADE_BY}) + "\n")
                _remove(old, _files_of_ours(old, old))
                if new.exists():
                    shutil.rmtree(new)
                new.mkdir()
                yield new
                _exchange(new, place, old, out)
            finally:
                shutil.rmtree(new, ignore_errors=True)
                if not old.exists():
                    (partial / LIST).unlink(missing_ok=True)
    finally:
        with suppress(OSError):  # an earlier site that could not go, or another process that is there
            partial.rmdir()


def _exchange(new: Path, place: Path, old: Path, out: Path) -> None:
    files: list[str] = []
    if place.exists():
        place.rename(old)
    try:
        files = _files_of_ours(old, out)  # again: it may have changed while the new one was written
        new.rename(place)
    except BaseException:
        if old.exists():
            old.rename(place)
        raise
    sync_folder(place.parent)
    _remove(old, files)


def _partial(place: Path) -> Path:
    return place.with_name(place.name + UNFINISHED)


def _is_ours(partial: Path) -> bool:
    """Whether nothing stands there, or what a process of ours has left or is writing."""
    if not os.path.lexists(partial):
        return True
    if partial.is_symlink() or not partial.is_dir():
        return False
    if _listed(partial) is not None:
        return True
    return set(islice(os.listdir(partial), 3)) <= {LOCK, LIST + UNFINISHED}


def _listed(folder: Path) -> set[str] | None:
    """The files that our marker in a folder lists. None without a marker of ours."""
    try:
        fields = json.loads((folder / LIST).read_text(encoding="utf-8"))
        if fields["made_by"] != MADE_BY:
            return None
        return {name for name in fields.get("files", ()) if isinstance(name, str)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _files_of_ours(folder: Path, called: Path) -> list[str]:
    """The files of an earlier site that stands there. Raises SalientError for anything else that does, which is not
    walked."""
    if not os.path.lexists(folder):
        return []
    if not folder.is_dir():
        raise SalientError(f"{called}: not a folder", expected="a new folder", then="choose another place")
    first = sorted(p.name for p in islice(folder.iterdir(), 3))
    if not first:
        return []
    ours = _listed(folder)
    if ours is None or LIST not in ours:
        raise SalientError(
            f"{called}: not empty, and not a site of ours", expected="a new folder", got=", ".join(first)
        )
    found = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir() or p.is_symlink())
    if strange := [name for name in found if name not in ours]:
        raise SalientError(
            f"{called}: holds files that are not of the site", expected="a new folder", got=some(strange)
        )
    return found


def _remove(folder: Path, files: Sequence[str]) -> None:
    """Remove files that were found below a folder, the marker last, and the folders that are empty then."""
    if not folder.exists():
        return
    for name in files:
        if name != LIST:
            (folder / name).unlink()
    for inner in sorted((p for p in folder.rglob("*") if p.is_dir()), reverse=True):
        inner.rmdir()
    (folder / LIST).unlink(missing_ok=True)
    folder.rmdir()
