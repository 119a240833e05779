"""Write the golden files: `python -m tests.golden.write`. Only for a change of format that is meant.

All of it comes from 40 scenes: their true core and spurious pixels, as shares of 8 x 8 cells, stand for the maps.
"""

from __future__ import annotations

import json
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa

from salient_imagenet_data.evaluation.run.predictions import from_probabilities, to_table, write_tables
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.hub.export import export
from salient_imagenet_data.scenes import SceneSource
from salient_imagenet_data.store.features import Feature
from salient_imagenet_data.store.manifest import Manifest
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.store.tables import images_table
from salient_imagenet_data.store.writing import StoreWriter

GOLDEN = Path(__file__).parent / "files"
VERSIONS = GOLDEN / "versions.json"
METADATA = {"model": {"name": "golden"}}
SCENES, GRID, SIZE = 40, 8, 64


def versions() -> dict[str, str]:
    """Of what decides the bytes."""
    names = ("datasets", "deflate", "huggingface-hub", "numpy", "pillow", "pyarrow", "zarr")
    return {**{name: version(name) for name in names}, "python": ".".join(map(str, sys.version_info[:2]))}


def make_store(folder: Path) -> Store:
    """40 images, 10 classes, a core and a spurious feature each."""
    source = SceneSource(SCENES, seed=5)
    cell = SIZE // GRID
    truth = np.array([[scene.core, scene.spurious] for scene in map(source.scene, range(SCENES))])
    shares = truth.reshape(SCENES, 2, GRID, cell, GRID, cell).sum(axis=(3, 5))
    peaks = shares.max(axis=(2, 3), keepdims=True)
    maps = (shares * 255 // np.maximum(peaks, 1)).astype(np.uint8)
    heights = (peaks[:, :, 0, 0] / cell**2).astype(np.float32)
    writer = StoreWriter(folder, images=SCENES, features=2, grid=(GRID, GRID), shard_rows=16)
    for shard in writer.missing():
        rows = slice(writer.rows(shard).start, writer.rows(shard).stop)
        writer.write_shard(shard, maps[rows], heights[rows], heights[rows] / 2)
    entries = [source.entry(i) for i in range(SCENES)]
    labels = np.array([e.label for e in entries], dtype=np.int32)
    ids = pa.array([f"{source.class_names[e.label]}/{e.image_id}" for e in entries])
    preprocessing = Preprocessing(SIZE, SIZE)
    images = images_table(
        ids, labels, labels, np.full((SCENES, 2), SIZE), np.ones((SCENES, 2), dtype=np.bool_), preprocessing
    )
    features = [
        feature
        for label, name in enumerate(source.class_names)
        for feature in (
            Feature(label, name, 2 * label, 1, 0.5, 5, 0, 0, "core", None, ("on the shape", "its edge")),
            Feature(label, name, 2 * label + 1, 2, 0.25, 0, 0, 5, "spurious", "background"),
        )
    ]
    manifest = Manifest(
        source.class_names, SCENES, 2, (GRID, GRID), 16, "train", preprocessing, "label", 65, "ab" * 32, "drawn", 20, 1,
        "cd" * 32, 3, {}, {},
    )  # fmt: skip
    writer.finish(manifest, images, features, [{"image_id": "bar/broken", "label": 0, "reason": "not an image"}])
    return Store(folder)


def make_export(store: Store, folder: Path) -> Path:
    return export(store, folder, repo="org/golden")


def make_predictions(store: Store, path: Path) -> None:
    """A model that is right on two images of three, and on one under noise."""
    tables = []
    for condition, right in (("clean", (0, 1)), ("noise_0.25@core", (0,))):
        labels = store.rows.labels
        said = np.where(np.isin(np.arange(SCENES) % 3, right), labels, (labels + 1) % 10)
        probabilities = np.full((SCENES, 10), 1 / 32, dtype=np.float32)
        probabilities[np.arange(SCENES), said] = 23 / 32
        answers = from_probabilities(store.rows.image_ids.to_pylist(), probabilities, labels, None)
        tables.append(to_table(condition, answers, METADATA))
    write_tables(path, tables, METADATA)


def write(folder: Path) -> None:
    """All of it into a new folder."""
    folder.mkdir()
    store = make_store(folder / "store")
    make_export(store, folder / "export")
    make_predictions(store, folder / "predictions.parquet")


if __name__ == "__main__":
    shutil.rmtree(GOLDEN, ignore_errors=True)
    write(GOLDEN)
    VERSIONS.write_text(json.dumps(versions(), indent=1, sort_keys=True) + "\n")
