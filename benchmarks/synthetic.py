"""Stores and pictures for the benchmarks: right in layout, random in content."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from salient_imagenet_data.annotation.answers import Answer
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.names import CORE, MAIN_OBJECT, SPURIOUS
from salient_imagenet_data.store.arrays import SHARD_ROWS
from salient_imagenet_data.store.features import Feature
from salient_imagenet_data.store.manifest import Manifest
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.store.tables import IMAGES_SCHEMA
from salient_imagenet_data.store.writing import StoreWriter

FEATURES, GRID = 5, (7, 7)
SIZE = (500, 375)
"""Width and height: the commonest size of an ImageNet photo."""


def write_photos(
    folder: Path, classes: int, per_class: int, size: tuple[int, int] = SIZE, distinct: int | None = None
) -> None:
    """JPEG files, at 500 x 375 pixels about 100 KB each as in ImageNet: smooth fields with some grain.

    distinct: so many pictures a class, each under as many names as it takes, which decode as others would.
    """
    each = [(folder, label, per_class, size, distinct) for label in range(classes)]
    if classes * min(per_class, distinct or per_class) < 500:  # before which starting processes takes longer
        for one in each:
            _write_class(*one)
        return
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        list(pool.map(_write_class, *zip(*each, strict=True)))


def _write_class(folder: Path, label: int, per_class: int, size: tuple[int, int], distinct: int | None) -> None:
    rng, here = np.random.default_rng(label), folder / f"c{label:04d}"
    here.mkdir(parents=True)
    for number in range(per_class):
        path = here / f"{number:08d}.jpg"
        if distinct is not None and number >= distinct:
            path.hardlink_to(here / f"{number % distinct:08d}.jpg")
            continue
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)).astype(np.float32)
        grainy = (smooth + rng.normal(0, 14, smooth.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(grainy).save(path, quality=90)


def some_answers(classes: int, features: int) -> list[Answer]:
    """Five answers about each of five of so many features, for each class, so that a build takes one pass."""
    rng = np.random.default_rng(0)
    return [
        Answer(f"a{person}", f"c{c:04d}", c, int(j), rank, MAIN_OBJECT, 5, "")
        for c in range(classes)
        for rank, j in enumerate(rng.choice(features, FEATURES, replace=False), start=1)
        for person in range(5)
    ]


def write_store(folder: Path, classes: int, per_class: int, size: tuple[int, int] = SIZE) -> Store:
    """An annotated store of images named as `write_photos` names them: per class three core and two spurious maps."""
    n = classes * per_class
    writer = StoreWriter(folder, images=n, features=FEATURES, grid=GRID)
    rng = np.random.default_rng(1)
    for shard in range(-(-n // SHARD_ROWS)):
        rows = len(writer.rows(shard))
        peaks = rng.random((rows, FEATURES), dtype=np.float32)
        writer.write_shard(shard, _maps(rng, rows), peaks, peaks)
    writer.finish(_manifest(classes, n), _images(classes, per_class, size), _features(classes), [])
    return Store(folder)


def write_mask_files(store: Store, folder: Path) -> None:
    """The 2022 release's way: a JPEG of 224 x 224 gray pixels for each image and feature."""
    for row, image_id in enumerate(store.rows.image_ids.to_pylist()):
        for slot in range(FEATURES):
            path = folder / f"feature_{slot}" / f"{image_id}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            grid = Image.fromarray(store.maps[row, slot])
            grid.resize((224, 224), Image.Resampling.BILINEAR).save(path, quality=75)


def _maps(rng: np.random.Generator, rows: int) -> NDArray[np.uint8]:
    """As many zeros as half of a ReLU's outputs, and a peak of 255."""
    maps = rng.integers(-255, 256, (rows, FEATURES, *GRID)).clip(0).astype(np.uint8)
    maps[:, :, 3, 3] = 255
    return maps


def _images(classes: int, per_class: int, size: tuple[int, int]) -> pa.Table:
    n = classes * per_class
    box = Preprocessing().crop_box(*size)
    labels = np.repeat(np.arange(classes, dtype=np.int32), per_class)
    ids = [f"c{label:04d}/{number:08d}" for label in range(classes) for number in range(per_class)]
    same = [(side, np.int32) for side in size]
    same += [(side, np.float64) for side in (box.left, box.top, box.width, box.height)]
    in_top = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(n * FEATURES, dtype=np.bool_)), FEATURES)
    columns = [pa.array(ids), pa.array(labels), pa.array(labels)]
    columns += [pa.array(np.full(n, value, dtype=dtype)) for value, dtype in same]
    return pa.Table.from_arrays([*columns, in_top.cast(pa.list_(pa.bool_()))], schema=IMAGES_SCHEMA)


def _features(classes: int) -> list[Feature]:
    return [
        Feature(label, f"c{label:04d}", slot, slot + 1, kind=SPURIOUS if slot in (1, 3) else CORE)
        for label in range(classes)
        for slot in range(FEATURES)
    ]


def _manifest(classes: int, n: int) -> Manifest:
    return Manifest(
        class_names=tuple(f"c{label:04d}" for label in range(classes)),
        images=n,
        features_per_class=FEATURES,
        grid=GRID,
        shard_rows=SHARD_ROWS,
        split="train",
        preprocessing=Preprocessing(),
        group_by="label",
        top_images=65,
        weights_sha256="0" * 64,
        architecture="synthetic",
        feature_count=2048,
        quarantined=0,
        annotations_sha256="0" * 64,
        majority=3,
        versions={},
        files={},
    )
