"""Small stores for the tests of the Hub. No torch here: these tests also run in environments without it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from salient_imagenet_data.hub.export import ExportConfig, export
from salient_imagenet_data.store.reading import Store
from tests.hub.stores import CLASSES, make_store, write_images
from tests.warm import Warm

SMALL = ExportConfig(grid_shard_rows=10, grid_group_rows=4, mask_shard_rows=10, mask_group_rows=4)
LABELS = [i % 4 for i in range(44)]
IDS = [f"{CLASSES[label]}/{i:04d}" for i, label in enumerate(LABELS)]


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """44 images of 4 classes, annotated. Session-wide: do not change it."""
    return make_store(tmp_path_factory.mktemp("drawn") / "store", IDS, LABELS)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images of `drawn`."""
    return write_images(tmp_path_factory.mktemp("photos") / "tree", IDS)


@pytest.fixture(scope="session")
def exported(drawn: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`drawn` as a repository folder: five shards of masks and of grids. SALIENT_EXPORTED names one that another version
    of `datasets` wrote, for .ci/datasets-matrix."""
    if "SALIENT_EXPORTED" in os.environ:
        return Path(os.environ["SALIENT_EXPORTED"])
    return export(drawn, tmp_path_factory.mktemp("exported") / "repository", config=SMALL)


@pytest.fixture(scope="session")
def clients() -> Iterator[Warm]:
    """With what the clients import, but for themselves: they read their settings then."""
    process = Warm(
        *("aiohttp", "dill", "fsspec", "httpx", "multiprocess", "pandas", "pyarrow.dataset", "pyarrow.parquet"),
        *("requests", "xxhash", "zarr", "salient_imagenet_data.cli", "salient_imagenet_data.store.reading"),
    )
    assert (
        process.run("-c", "import sys; sys.exit(bool({'datasets', 'huggingface_hub'} & {*sys.modules}))").returncode
        == 0
    )
    yield process
    process.close()


@pytest.fixture
def cache(tmp_path: Path) -> str:
    """A cache folder of `datasets` for one test."""
    return str(tmp_path / "cache")
