"""A small store whose crop does not cover its images, and its images."""

from __future__ import annotations

from pathlib import Path

import pytest

from salient_imagenet_data.store.reading import Store
from tests.hub.stores import CLASSES, make_store, write_images

LABELS = [i % 4 for i in range(22)]
IDS = [f"{CLASSES[label]}/{i:04d}.x y" for i, label in enumerate(LABELS)]
"""With a dot and a blank, which names of files may have."""


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """22 images of 4 classes, of which one has no spurious and one no core feature. Session-wide: do not change it."""
    return make_store(tmp_path_factory.mktemp("formats") / "store", IDS, LABELS)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("formats") / "tree", IDS)
