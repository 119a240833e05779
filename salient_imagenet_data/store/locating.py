"""Where a store is: a folder, an exported folder, or on the Hub or behind a URL, downloaded once and checked."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.names import CLAIM, FEATURES_TABLE, MANIFEST
from salient_imagenet_data.places import Folder, assets, hub_name, is_url, on_disk
from salient_imagenet_data.store.checks.checking import pending_table
from salient_imagenet_data.store.manifest import Manifest, file_sha256, not_finished

STORE_FOLDER = "store"


def locate(store: str | os.PathLike[str]) -> Path:
    """The folder of a store: the path itself, its `store` folder if it is an export, or that of a downloaded data set.

    A string can also name a data set on the Hub, by hf:// or its page too, or a URL of fsspec such as s3://bucket/store;
    a Path never does.
    Raises SalientError if it cannot be downloaded, or is damaged on the way, in which case the damaged file is removed
    and the same call fetches it again.
    """
    name = hub_name(store)
    if name is not None:
        return download(name)
    if isinstance(store, str) and is_url(store):
        return download_url(store)
    path = on_disk(store)
    inner = path / STORE_FOLDER
    return inner if not (path / MANIFEST).is_file() and (inner / MANIFEST).is_file() else path


def download(repo: str) -> Path:
    """Download the store of a data set on the Hub into the Hub's cache, whole files only, and check every hash."""
    import huggingface_hub

    from salient_imagenet_data.hub_errors import hub_errors

    repo_id, _, revision = repo.partition("@")
    with hub_errors(repo, "download it, and there is no such folder"):
        snapshot = huggingface_hub.snapshot_download(
            repo_id, repo_type="dataset", revision=revision or None, allow_patterns=[f"{STORE_FOLDER}/**"]
        )
    folder = Path(snapshot) / STORE_FOLDER
    if not (folder / MANIFEST).is_file():
        raise SalientError(f"{repo}: holds no store", expected=f"{STORE_FOLDER}/{MANIFEST} in the repository")
    path = folder / MANIFEST
    _verify(folder, _files(path.read_bytes(), str(path)), f"{repo}: {STORE_FOLDER}")
    return folder


def download_url(url: str) -> Path:
    """Download a store behind a URL of fsspec into the Hub's cache of other things, and check every hash.

    What the URL holds now decides: another manifest there is another folder in the cache.
    """
    remote = Folder.of(url)
    there = remote.names()
    if MANIFEST not in there and STORE_FOLDER in there:  # an export
        url, remote = f"{remote.place}/{STORE_FOLDER}", remote.child(STORE_FOLDER)
        there = remote.names()
    if MANIFEST not in there:
        raise not_finished(url, stopped=CLAIM in there)
    with remote.open(MANIFEST) as file:
        manifest = file.read()
    key = hashlib.sha256(remote.place.encode() + manifest).hexdigest()[:32]
    files = _files(manifest, url)
    folder = assets("stores") / key
    if all((folder / name).is_file() for name in (*files, MANIFEST)):
        _verify(folder, files, url)  # nothing to write, so the cache may be one that is only read
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _fetch(remote, folder, files, manifest)
    except OSError as error:
        raise SalientError(
            f"{folder}: cannot keep {url} there",
            got=f"{error.strerror or type(error).__name__}",
            then="make room or give rights there, or set HF_ASSETS_CACHE to another folder",
        ) from error
    _verify(folder, files, url)
    return folder


def _fetch(remote: Folder, folder: Path, files: dict[str, str], manifest: bytes) -> None:
    """Copy the files that are not there yet, the manifest last; one process at a time."""
    import filelock

    with filelock.FileLock(folder.with_suffix(".lock")):
        # While somebody annotates it there, the features table still waits beside the older one.
        pending = pending_table(files.get(FEATURES_TABLE, ""))
        waits = pending in remote.names()
        for name in sorted(files):
            if not (folder / name).is_file():
                with remote.open(pending if waits and name == FEATURES_TABLE else name) as file:
                    Folder.of(folder).write(name, lambda out, file=file: shutil.copyfileobj(file, out))  # type: ignore[misc]
        if not (folder / MANIFEST).is_file():
            Folder.of(folder).write(MANIFEST, lambda out: out.write(manifest))


def _verify(folder: Path, files: dict[str, str], place: str) -> None:
    """Compare every file with its sha256, given by path, once: a note of sizes and times says that it was done. Where
    no note can be written, as in a cache that is only read, it is done each time, and told."""
    notes = assets("verified")
    state = {name: _state(folder / name) for name in files}
    text = json.dumps([str(folder), files, state], sort_keys=True)
    note = notes / hashlib.sha256(text.encode()).hexdigest()
    if note.exists():
        return
    for name, expected in sorted(files.items()):
        path = folder / name
        got = file_sha256(path) if path.is_file() else "no such file"
        if got != expected:
            removed = _remove(path)
            raise SalientError(
                f"{place}/{name} was damaged on the way, and {'is removed from' if removed else 'stays in'} the cache",
                expected=f"sha256 {expected}",
                got=got,
                then="run the same again to fetch it once more" if removed else f"ask who may write to delete {path}",
            )
    try:
        notes.mkdir(parents=True, exist_ok=True)
        note.touch()
    except OSError as error:
        why = error.strerror or type(error).__name__
        print(
            f"{place}: every byte is checked on each opening, for no note can be kept: {notes}: {why}", file=sys.stderr
        )


def _files(manifest: bytes, name: str) -> dict[str, str]:
    """sha256 by path of a downloaded store; a manifest names no path that leaves its folder."""
    return Manifest.from_json(manifest.decode(errors="replace"), name).files


def _state(path: Path) -> list[int]:
    if not path.is_file():
        return []
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _remove(path: Path) -> bool:
    """Remove a file of the Hub's cache: the link in the snapshot and what it points to. False if one may not."""
    try:
        if path.is_symlink():
            blob = path.resolve()
            if blob.parent.name == "blobs":
                blob.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True
