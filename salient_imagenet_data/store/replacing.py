"""Changing the features table of a finished store and its manifest at one instant.

The new table is written beside the old one, under a name with its sha256. Then the manifest is replaced: that is the
switch. Last, the table goes to its usual place. Whoever reads in between finds the table that the manifest names at one
of the two places, and a process that is killed in between leaves all of the old state or all of the new.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable

from salient_imagenet_data.names import FEATURES_TABLE, MANIFEST
from salient_imagenet_data.places import Folder
from salient_imagenet_data.store.checks.checking import pending_table
from salient_imagenet_data.store.features import FEATURES_SCHEMA, Feature, features_table
from salient_imagenet_data.store.manifest import Manifest
from salient_imagenet_data.store.tables import table_bytes
from salient_imagenet_data.whole_file import sweep, sync_folder

_PENDING = re.compile(r"features-([0-9a-f]{16})\.parquet")


def replace_features(place: Folder, manifest: Manifest, features: Iterable[Feature]) -> None:
    """Give a store other features, and a manifest that says so. manifest: as it will be, but for the table's hash.

    On a disk the caller holds the folder. Behind a URL nothing is held: of two at once the later manifest is right, and
    its table stays at both places, so that the other's cannot take its place.
    """
    data = table_bytes(features_table(features), FEATURES_SCHEMA)
    sha256 = hashlib.sha256(data).hexdigest()
    manifest = dataclasses.replace(
        manifest,
        files={**manifest.files, FEATURES_TABLE: sha256},
        sizes={**manifest.sizes, FEATURES_TABLE: len(data)},
    )
    name = pending_table(sha256)
    _write(place, name, data)
    _write(place, MANIFEST, manifest.to_json().encode())
    if place.path is not None:
        (place.path / name).replace(place.path / FEATURES_TABLE)
        sync_folder(place.path)
        return
    if name not in place.names():  # another has swept it before the manifest named it
        _write(place, name, data)
    _write(place, FEATURES_TABLE, data)


def settle(place: Folder, manifest: Manifest, table: bytes) -> None:
    """Finish or undo what a killed process left. manifest, table: of the store as it was opened."""
    if place.path is not None:
        sweep(place.path)
        with place.open(FEATURES_TABLE) as file:
            if file.read() != table:
                _write(place, FEATURES_TABLE, table)
    current = pending_table(manifest.files[FEATURES_TABLE])
    for name in pending_tables(place):
        if place.path is not None or name != current:
            place.delete(name)


def pending_tables(place: Folder) -> list[str]:
    """Names of tables of ours that wait beside the features table: those that hold what their name says."""
    found = []
    for name in sorted(place.names()):
        if match := _PENDING.fullmatch(name):
            with place.open(name) as file:
                if hashlib.sha256(file.read()).hexdigest()[:16] == match[1]:
                    found.append(name)
    return found


def _write(place: Folder, name: str, data: bytes) -> None:
    place.write(name, lambda file: file.write(data))
