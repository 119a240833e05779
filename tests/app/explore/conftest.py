"""A library over the tests' own store, and a store whose names are markup."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from salient_imagenet_data.app.explore.library import Library
from salient_imagenet_data.app.explore.opening import open_library
from salient_imagenet_data.app.explore.routes import explore_routes
from salient_imagenet_data.app.serving import access_to
from salient_imagenet_data.app.site import site
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.names import FEATURES_TABLE
from salient_imagenet_data.store.features import FEATURES_SCHEMA, Feature, features_table
from salient_imagenet_data.store.manifest import file_sha256, write_manifest
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.store.tables import write_table
from tests.app.conftest import Client, Serve
from tests.hub.stores import make_store

HTML = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


@pytest.fixture
def library(store: Store, images: Path) -> Library:
    return open_library(store, FolderSource(images), name="scenes")


@pytest.fixture
def open_client(serve: Serve) -> Callable[[Library], Client]:
    """A client of a server with the pages of a library."""

    def start(library: Library) -> Client:
        return serve(site(library.galleries, explore_routes(library), access_to("127.0.0.1", None)))

    return start


def with_features(store: Store, change: Callable[[Feature], Feature]) -> Store:
    """A store with each of its features changed, read anew."""
    path = store.path / FEATURES_TABLE
    write_table(path, features_table(map(change, store.features)), FEATURES_SCHEMA)
    files = {**store.manifest.files, FEATURES_TABLE: file_sha256(path)}
    sizes = {**store.manifest.sizes, FEATURES_TABLE: path.stat().st_size}
    write_manifest(store.path, dataclasses.replace(store.manifest, files=files, sizes=sizes))
    return Store(store.path)


@pytest.fixture
def hostile(tmp_path: Path) -> Store:
    """A store without images whose class names, image ids and reasons are markup."""
    names = (HTML, "<b>cross", "ring", "star")
    ids = [f"../../{HTML}/{number}" for number in range(12)]
    made = make_store(tmp_path / "hostile", ids, [number % 4 for number in range(12)], names)
    return with_features(made, lambda f: dataclasses.replace(f, reasons=(HTML, "it's <i>grass</i>", HTML)))
