"""Who may write a store's folder, and what is being made there.

A folder is nobody's, a finished store's, or claimed: `claim.json` says in our format what is being made of what. It is
written before anything else and removed last, so what stands beside it under a store's names is ours, and what stands
anywhere else is not: that is never removed, replaced or built upon.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from salient_imagenet_data.errors import SalientError, some
from salient_imagenet_data.names import (
    BASIS_TABLE,
    CLAIM,
    FEATURES_TABLE,
    IMAGES_TABLE,
    LOCK,
    MANIFEST,
    MAPS,
    QUARANTINE_TABLE,
    WORK,
)
from salient_imagenet_data.places import Folder
from salient_imagenet_data.store.locks import held
from salient_imagenet_data.store.manifest import Manifest, file_sha256
from salient_imagenet_data.store.replacing import pending_tables
from salient_imagenet_data.whole_file import UNFINISHED, sweep

FORMAT = "salient-imagenet claim"
OURS = (MANIFEST, FEATURES_TABLE, IMAGES_TABLE, QUARANTINE_TABLE, BASIS_TABLE, MAPS, WORK)
"""What may be removed where a claim stands. The manifest first: without it nobody takes what is left for a store."""


@dataclass(frozen=True)
class Claim:
    """What is made. kind: "build" or "import". made_of: all that decides its bytes, as JSON can hold it. of: that in
    words. clearing: an older store that stood there is still being removed."""

    kind: str
    made_of: dict[str, Any]
    of: str
    clearing: bool = False

    @property
    def key(self) -> str:
        """Hex sha256 of what it is made of, as the manifest keeps it."""
        return hashlib.sha256((json.dumps(self.made_of, indent=2, sort_keys=True) + "\n").encode()).hexdigest()

    def to_json(self) -> str:
        fields = {"format": FORMAT, "kind": self.kind, "key": self.key, "clearing": self.clearing}
        return json.dumps({**fields, "of": self.of, "made_of": self.made_of}, indent=2, sort_keys=True) + "\n"


@contextmanager
def claimed(folder: Folder, claim: Claim, *, resume: bool, overwrite: bool) -> Iterator[bool]:
    """Make a store's folder or take over one, and on a disk hold it. Yields whether the store there is finished.

    Behind a URL nothing is held; what two writers put there is whole and, since `check_claim` agrees with both, the
    same. Raises SalientError for a folder that another process holds, that is not ours, or that holds what is made of
    other input.
    """
    path, place = folder.path, folder.place
    if path is None:
        yield _taken(folder, claim, resume=resume, overwrite=overwrite)
        return
    if path.exists() and not path.is_dir():
        raise SalientError(f"{place}: is a file", expected="a folder to write to")
    path.mkdir(parents=True, exist_ok=True)
    with held(path):
        yield _taken(folder, claim, resume=resume, overwrite=overwrite)


def check_claim(folder: Folder, claim: Claim) -> None:
    """Raise SalientError unless the claim that stands in a folder is this one, or a twin that finished took it away."""
    names = folder.names()
    if CLAIM not in names:
        finished = _manifest_in(folder, claimed=True) if MANIFEST in names else None
        if finished is None or finished.made_of != claim.key:
            raise SalientError(
                f"{folder.place}: the claim of this {claim.kind} has gone",
                expected=CLAIM,
                got=some(sorted(names)),
                then="somebody removed it or builds there too; choose another place",
            )
        return
    if _claim_in(folder).key != claim.key:
        raise SalientError(f"{folder.place}: another {claim.kind} has been started there", then="choose another place")


def unclaim(folder: Folder) -> None:
    """Remove the work of a finished store, then the claim; nothing where there is no claim of ours."""
    if CLAIM in folder.names():
        _claim_in(folder)  # refuses a file of others
        folder.delete(WORK)
        folder.delete(CLAIM)


def _taken(folder: Folder, claim: Claim, *, resume: bool, overwrite: bool) -> bool:
    there = folder.names() - {LOCK, CLAIM + UNFINISHED}
    if not there:
        _write(folder, claim)
        return False
    if CLAIM not in there and MANIFEST not in there:
        raise SalientError(
            f"{folder.place}: neither a store nor one that was begun here",
            expected=f"a new or empty folder, or one with our {MANIFEST} or {CLAIM}",
            got=some(sorted(there)),
            then="choose another place",
        )
    if not (resume or overwrite):
        raise SalientError(
            f"{folder.place}: exists",
            expected="a new folder",
            then="use --resume to go on or --overwrite to start again",
        )
    before = _claim_in(folder) if CLAIM in there else None
    finished = _manifest_in(folder, claimed=before is not None) if MANIFEST in there else None
    if before is None:
        assert finished is not None
        return _with_store(folder, claim, finished, there, overwrite=overwrite)
    if overwrite:
        _cleared(folder, claim)
        return False
    if (before.kind, before.key) != (claim.kind, claim.key):
        raise SalientError(
            f"{folder.place}: stopped {before.kind} of other input",
            expected=f"the same {before.of}",
            got=_differences(before, claim),
            then="use --overwrite to start again",
        )
    if before.clearing:
        _cleared(folder, claim)
    elif finished is not None and finished.made_of == claim.key and _intact(folder, finished):
        return True
    else:
        folder.delete(MANIFEST)
    if folder.path is not None:
        sweep(folder.path)
    return False


def _with_store(folder: Folder, claim: Claim, finished: Manifest, there: set[str], *, overwrite: bool) -> bool:
    """As `_taken`, where no claim stands: whether the store there is the one asked for."""
    if WORK in there and overwrite:
        raise SalientError(
            f"{folder.place}/{WORK}: not made by this package", then="move it, or choose another place for the store"
        )
    if overwrite:
        _cleared(folder, claim)
        return False
    if finished.made_of not in (None, claim.key):
        raise SalientError(
            f"{folder.place}: a finished store of other input", expected=f"the same {claim.of}", then="use --overwrite"
        )
    return True


def _cleared(folder: Folder, claim: Claim) -> None:
    """Remove the store and the work in a folder. The claim stands first, so that a second run goes on where this one is
    stopped, and what is left of an older store is never taken for the new one's."""
    _write(folder, Claim(claim.kind, claim.made_of, claim.of, clearing=True))
    for name in (*OURS, *pending_tables(folder)):
        folder.delete(name)
    if folder.path is not None:
        sweep(folder.path)
    _write(folder, claim)


def _write(folder: Folder, claim: Claim) -> None:
    folder.write(CLAIM, lambda out: out.write(claim.to_json().encode()))


def _claim_in(folder: Folder) -> Claim:
    """The claim that stands in a folder. Raises SalientError for another file of that name."""
    with folder.open(CLAIM) as file:
        text = file.read()
    try:
        fields = json.loads(text)
        if fields["format"] != FORMAT:
            raise ValueError(f"format {fields['format']!r}")
        return Claim(str(fields["kind"]), dict(fields["made_of"]), str(fields["of"]), bool(fields["clearing"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SalientError(
            f"{folder.place}/{CLAIM}: damaged, or not made by this package",
            expected="what a stopped build or import notes",
            got=f"{len(text)} bytes" if not text else str(error),
            then="look what it is; then remove the folder yourself, or choose another place",
        ) from error


def _manifest_in(folder: Folder, *, claimed: bool) -> Manifest | None:
    """The manifest that stands in a folder. None, where a claim stands too, for one that cannot be read."""
    name = f"{folder.place}/{MANIFEST}"
    with folder.open(MANIFEST) as file:
        text = file.read().decode(errors="replace")
    try:
        return Manifest.from_json(text, name)
    except SalientError as error:
        if claimed:
            return None
        raise SalientError(
            f"{name}: not the manifest of a store that this version can read",
            got=some(sorted(folder.names() - {LOCK})),
            then="look what it is; then remove the folder yourself, or choose another place",
        ) from error


def _intact(folder: Folder, manifest: Manifest) -> bool:
    """Whether every file is what the manifest says; behind a URL objects are whole."""
    path = folder.path
    if path is None:
        return True
    return all((path / name).is_file() and file_sha256(path / name) == sha for name, sha in manifest.files.items())


def _differences(before: Claim, claim: Claim) -> str:
    if before.kind != claim.kind:
        return "a build" if claim.kind == "build" else f"an {claim.kind}"
    keys = sorted(set(before.made_of) | set(claim.made_of))
    return "other " + ", ".join(key for key in keys if before.made_of.get(key) != claim.made_of.get(key))
