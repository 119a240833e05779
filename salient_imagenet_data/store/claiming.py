"""Who may write a store's folder, and what a stopped build there was made of."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import filelock

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.names import FEATURES_TABLE, IMAGES_TABLE, MANIFEST, MAPS, QUARANTINE_TABLE, WORK
from salient_imagenet_data.places import Folder
from salient_imagenet_data.store.manifest import Manifest


@contextmanager
def claimed(folder: Folder, *, resume: bool, overwrite: bool) -> Iterator[None]:
    """Make a store's folder or take over one, and on a disk hold it: the lock goes with the process, however that ends.

    The lock lies beside the folder, so that overwriting cannot remove it from under a process that is writing. Its
    empty file stays: removing it would let a third process lock a new one while a second still holds the old. Behind a
    URL nothing is held; what two writers put there is whole and, since `claim_work` agrees with both, the same.
    Raises SalientError with the host and pid of a process that holds the folder.
    """
    path = folder.path
    if path is None:
        prepare_folder(folder, resume=resume, overwrite=overwrite)
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path.parent / f".{path.name}.lock")
    owner = path.parent / f".{path.name}.owner"
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise SalientError(
            f"{path}: another process is writing here",
            got=owner.read_text() if owner.is_file() else "a lock held by another process",
            then="wait for it, or choose another --out",
        ) from error
    try:
        owner.write_text(f"host {socket.gethostname()}, pid {os.getpid()}")
        prepare_folder(folder, resume=resume, overwrite=overwrite)
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def prepare_folder(folder: Folder, *, resume: bool, overwrite: bool) -> None:
    """Make an output folder, or refuse one that exists. Overwriting removes only what a build makes."""
    path, place = folder.path, folder.place
    if path is not None and path.exists() and not path.is_dir():
        raise SalientError(f"{place}: is a file", expected="a folder to write to")
    there = folder.names()
    if there and overwrite:
        if not there & {MANIFEST, WORK}:
            raise SalientError(f"{place}: not a store", got="a folder with other files", then="choose another --out")
        # The manifest first: without it nobody takes what is left for a store.
        for name in (MANIFEST, FEATURES_TABLE, IMAGES_TABLE, QUARANTINE_TABLE, MAPS, WORK):
            folder.delete(name)
    elif there and not resume:
        raise SalientError(
            f"{place}: exists", expected="a new folder", then="use --resume to go on or --overwrite to start again"
        )
    if path is not None:
        path.mkdir(parents=True, exist_ok=True)


def made_of(fingerprint: str) -> str:
    """Hex sha256 of what a build or import is made of, as the manifest keeps it."""
    return hashlib.sha256(fingerprint.encode()).hexdigest()


def check_finished(store: Folder, fingerprint: str, *, of: str) -> bool:
    """Whether the store is finished. Raises SalientError if it was made of other input than this."""
    if MANIFEST not in store.names():
        return False
    with store.open(MANIFEST) as file:
        before = Manifest.from_json(file.read().decode(errors="replace"), f"{store.place}/{MANIFEST}").made_of
    if before not in (None, made_of(fingerprint)):
        raise SalientError(
            f"{store.place}: a finished store of other input", expected=f"the same {of}", then="use --overwrite"
        )
    return True


def claim_work(store: Folder, name: str, fingerprint: str, *, of: str) -> None:
    """Note in `work/name.json` what this build or import is made of, or check that a stopped one was made of the same.

    of: the input, in words. Raises SalientError if it was another. Sweeps files that were left half written.
    """
    work, file = store.child(WORK), f"{name}.json"
    if work.path is not None:
        for leftover in work.path.glob("*.partial"):
            leftover.unlink()
    if file not in work.names():
        work.write(file, lambda out: out.write(fingerprint.encode()))
        return
    with work.open(file) as before:
        if before.read() != fingerprint.encode():
            raise SalientError(
                f"{store.place}: stopped {name} of other input",
                expected=f"the same {of}",
                then="use --overwrite to start again",
            )
