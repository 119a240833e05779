"""Stores without a network: maps drawn at random, everything else as a build would write it. Needs no torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.masks import quantise
from salient_imagenet_data.store.features import Feature
from salient_imagenet_data.store.manifest import Manifest
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.store.writing import StoreWriter

CLASSES = ("bar", "cross", "ring", "star")
K, GRID, SIZE = 5, (7, 7), (60, 50)
PREPROCESSING = Preprocessing(40, 32)


def realistic_maps(rows: int, features: int, grid: tuple[int, int], seed: int) -> NDArray[np.float32]:
    """(rows, features, h, w) float32: a blob each at a random place over weak noise, cut off at 0 as after a ReLU."""
    stream = np.random.default_rng(seed)
    y, x = np.mgrid[: grid[0], : grid[1]].astype(np.float32)
    centre = stream.uniform(0, grid[0] - 1, (2, rows, features, 1, 1)).astype(np.float32)
    width = stream.uniform(0.8, 2.0, (rows, features, 1, 1)).astype(np.float32)
    blob = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * width**2))
    noise = stream.standard_normal(blob.shape, dtype=np.float32)
    return np.maximum(stream.gamma(2.0, 1.0, width.shape).astype(np.float32) * (blob + 0.15 * noise - 0.1), 0)


def make_store(
    folder: Path,
    image_ids: list[str],
    labels: list[int],
    class_names: tuple[str, ...] = CLASSES,
    *,
    annotated: bool = True,
    data_version: str = "1.0.0",
    seed: int = 0,
    shard_rows: int = 16,
    split: str = "train",
) -> Store:
    """Rank 1 and 3 are core, 2, 4 and 5 spurious; class 0 has no spurious feature and class 1 no core one."""
    n = len(image_ids)
    writer = StoreWriter(folder, images=n, features=K, grid=GRID, shard_rows=shard_rows)
    maps, peaks = quantise(realistic_maps(n, K, GRID, seed))
    activations = (peaks * 0.3).astype(np.float32)
    for shard in writer.missing():
        rows = writer.rows(shard)
        writer.write_shard(shard, *(a[rows.start : rows.stop] for a in (maps, peaks, activations)))
    box = PREPROCESSING.crop_box(*SIZE)
    images = [
        {
            "image_id": image_id,
            "label": label,
            "prediction": label,
            "width": SIZE[0],
            "height": SIZE[1],
            "crop_left": box.left,
            "crop_top": box.top,
            "crop_width": box.width,
            "crop_height": box.height,
            "in_top": [True] * K,
        }
        for image_id, label in zip(image_ids, labels, strict=True)
    ]
    manifest = Manifest(
        class_names=class_names,
        images=n,
        features_per_class=K,
        grid=GRID,
        shard_rows=shard_rows,
        split=split,
        preprocessing=PREPROCESSING,
        group_by="label",
        top_images=2,
        weights_sha256="ab" * 32,
        architecture="drawn",
        feature_count=100,
        quarantined=0,
        annotations_sha256="cd" * 32 if annotated else None,
        majority=3,
        versions={"numpy": np.__version__},
        files={},
        data_version=data_version,
    )
    features = [
        _feature(label, rank, name, annotated) for label, name in enumerate(class_names) for rank in range(1, K + 1)
    ]
    writer.finish(manifest, images, features, [])
    return Store(folder)


def _feature(label: int, rank: int, name: str, annotated: bool) -> Feature:
    bare = Feature(label, name, 10 * label + rank, rank, 1.0 / rank)
    if not annotated:
        return bare
    if {0: True, 1: False}.get(label, rank in (1, 3)):
        return replace(
            bare,
            votes_main_object=5,
            votes_separate_object=0,
            votes_background=0,
            kind="core",
            reasons=(f"on the {name}", "all of it"),
        )
    return replace(
        bare, votes_main_object=0, votes_separate_object=0, votes_background=5, kind="spurious", cue="background"
    )


def write_images(folder: Path, image_ids: list[str], seed: int = 1) -> Path:
    """Random PNG files named by id, as a class-per-folder tree."""
    stream = np.random.default_rng(seed)
    for image_id in image_ids:
        path = folder / f"{image_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(stream.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)).save(path)
    return folder
