"""Size and speed of the data set on the Hub, beside baselines in the same run: python -m benchmarks.hub [--rows N]

Maps are drawn, not measured: a blob over weak noise, cut off at 0, as in tests/hub/stores.py. No network is run.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.hub.batches import ExportedRows
from salient_imagenet_data.hub.export import ExportConfig, export
from salient_imagenet_data.hub.parquet import write_shard
from salient_imagenet_data.hub.png import encode_mask
from salient_imagenet_data.imagenet import wnids
from salient_imagenet_data.masks import quantise, to_uint8, union_in_crop
from salient_imagenet_data.store.features import Feature
from salient_imagenet_data.store.manifest import Manifest
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.store.tables import IMAGES_SCHEMA
from salient_imagenet_data.store.writing import StoreWriter
from salient_imagenet_data.table.configs import FEATURES, GRIDS
from tests.hub.stores import realistic_maps

K, GRID, THREADS = 5, (7, 7), 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        print(f"{'what':<66} {'value':>12}  {'baseline':>12}  ratio")
        store = synthetic_store(Path(folder) / "store", rows)
        whole = sum(p.stat().st_size for p in store.path.rglob("*") if p.is_file())
        line("store: bytes a map, all files", whole / rows / K, None, "{:.1f}")
        line("store: MB of the full edition, 1,281,167 rows", whole / rows * 1_281_167 / 1e6, None, "{:.0f}")
        line(
            "store: seconds to open, without the first map", timed(lambda: Store(store.path).kind_table), None, "{:.2f}"
        )
        grids(store, Path(folder))
        masks(store)
        streaming_and_cache(store, Path(folder))


def grids(store: Store, folder: Path) -> None:
    """Export of `grids` alone, beside the same rows through Python objects."""
    config, reader = ExportConfig(), ExportedRows(store)
    total = len(store)
    starts = range(0, total, config.grid_shard_rows)

    def write(start: int) -> None:
        stop = min(start + config.grid_shard_rows, total)
        batches = reader.batches(GRIDS, start, stop, config.grid_group_rows)
        write_shard(folder / "grids" / f"{start // config.grid_shard_rows}.parquet", reader.schema(GRIDS), batches)

    cpu = time.process_time()
    with ThreadPoolExecutor(THREADS) as pool:
        seconds = timed(lambda: list(pool.map(write, starts)))
    cpu = time.process_time() - cpu
    few = min(total, 10_000)
    (batch,) = ExportedRows(store).batches(GRIDS, 0, few, few)
    values = batch.to_pylist()
    slow = timed(lambda: pq.write_table(pa.Table.from_pylist(values, schema=reader.schema(GRIDS)), folder / "slow"))
    line(
        f"grids: export, rows a second, {THREADS} threads (baseline: Python rows)",
        total / seconds,
        few / slow,
        "{:,.0f}",
    )
    line("grids: export, rows a second of one core's time", total / cpu, None, "{:,.0f}")
    size = sum(p.stat().st_size for p in (folder / "grids").iterdir())
    sample = np.ascontiguousarray(store.maps[:100_000])
    raw = sample.nbytes + 8 * sample.shape[0] * K
    line("grids: bytes a map, all columns (baseline: raw arrays)", size / total / K, raw / len(sample) / K, "{:.1f}")
    line("grids: MB of the full edition, 1,281,167 rows", size / total * 1_281_167 / 1e6, None, "{:.0f}")


def masks(store: Store) -> None:
    """Bytes of a mask at 224, beside other lossless gray encodings of the same masks."""
    stream = np.random.default_rng(0)
    images = [
        to_uint8(union_in_crop(store.maps[row], np.arange(K) < stream.integers(1, K + 1), 224, 224))
        for row in range(200)
    ]
    ours = mean_size(images, encode_mask)
    saved: dict[str, Callable[[NDArray[np.uint8]], bytes]] = {
        "Pillow PNG": lambda m: pillow(m, format="PNG"),
        "Pillow PNG, optimize": lambda m: pillow(m, format="PNG", optimize=True),
        "JPEG 2000": lambda m: pillow(m, format="JPEG2000", irreversible=False),
        "TIFF, deflate": lambda m: pillow(m, format="TIFF", compression="tiff_adobe_deflate", tiffinfo={317: 2}),
        "TIFF, LZMA": lambda m: pillow(m, format="TIFF", compression="lzma", tiffinfo={317: 2}),
    }
    for name, encode in saved.items():
        line(f"masks: bytes at 224 x 224 (baseline: {name})", ours, mean_size(images, encode), "{:,.0f}")
    seconds = timed(lambda: [encode_mask(image) for image in images])
    slow = timed(lambda: [saved["Pillow PNG"](image) for image in images])
    line("masks: encoded a second (baseline: Pillow PNG)", len(images) / seconds, len(images) / slow, "{:,.0f}")


def streaming_and_cache(store: Store, folder: Path) -> None:
    """Time to the first row of a folder with all rows in `grids`, and of loading it from the cache."""
    out = folder / "repository"
    few = ExportConfig()
    (out / "grids").mkdir(parents=True)
    for path in sorted((folder / "grids").iterdir(), key=lambda p: int(p.stem)):
        shutil.move(
            path, out / "grids" / f"train-{int(path.stem):05d}-of-{-(-len(store) // few.grid_shard_rows):05d}.parquet"
        )
    small = synthetic_store(folder / "small", 64)
    exported = export(small, folder / "small.hub")
    readme = (exported / "README.md").read_text().replace("num_examples: 64\n", f"num_examples: {len(store)}\n")
    (out / "README.md").write_text(readme)
    shutil.copytree(exported / FEATURES, out / FEATURES)
    shutil.copytree(exported / "masks", out / "masks")

    def first_row() -> Any:
        return next(iter(datasets.load_dataset(str(out), "grids", split="train", streaming=True)))

    first = timed(first_row)  # imports the readers
    line("grids: seconds to the first row, streaming (baseline: first time)", timed(first_row), first, "{:.2f}")
    cache = str(folder / "cache")

    def load() -> Any:
        return datasets.load_dataset(str(out), "grids", split="train", cache_dir=cache)

    first = timed(load)
    assert len(load()) == len(store)
    line("grids: seconds to load from the cache (baseline: first time)", timed(load), first, "{:.2f}")


def synthetic_store(folder: Path, rows: int) -> Store:
    """A store of ImageNet's classes; the same 65,536 drawn rows over and over, each time shifted by a row."""
    labels = np.sort(np.arange(rows) % 1000)
    names = wnids()
    writer = StoreWriter(folder, images=rows, features=K, grid=GRID)
    maps, peaks = quantise(realistic_maps(min(rows, 65_536), K, GRID, 0))
    activations = (peaks * np.random.default_rng(1).uniform(0.1, 0.5, peaks.shape)).astype(np.float32)
    for shard in writer.missing():
        chosen = (np.asarray(writer.rows(shard)) * 31) % len(maps)
        writer.write_shard(shard, maps[chosen], peaks[chosen], activations[chosen])
    box = Preprocessing().crop_box(500, 375)
    ids = [f"{names[label]}_{index}" for index, label in enumerate(labels)]
    table = pa.table(
        {
            "image_id": ids,
            "label": labels.astype(np.int32),
            "prediction": labels.astype(np.int32),
            "width": np.full(rows, 500, np.int32),
            "height": np.full(rows, 375, np.int32),
            **{f"crop_{n}": np.full(rows, getattr(box, n)) for n in ("left", "top", "width", "height")},
            "in_top": pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(rows * K, bool)), K).cast(
                pa.list_(pa.bool_())
            ),
        },
        schema=IMAGES_SCHEMA,
    )
    features = [
        Feature(
            label,
            name,
            (label * 7 + rank) % 2048,
            rank,
            1.0 / rank,
            0,
            0,
            0,
            "spurious" if rank == K else "core",
            "background" if rank == K else None,
        )
        for label, name in enumerate(names)
        for rank in range(1, K + 1)
    ]
    manifest = Manifest(
        names, rows, K, GRID, writer.shard_rows, "train", Preprocessing(), "label", 65, "00" * 32, "drawn", 2048, 0,
        "00" * 32, 3, {}, {},
    )  # fmt: skip
    writer.finish(manifest, table, features, [])
    return Store(folder)


def pillow(mask: NDArray[np.uint8], **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, **options)
    return buffer.getvalue()


def mean_size(images: list[NDArray[np.uint8]], encode: Callable[[NDArray[np.uint8]], bytes]) -> float:
    return sum(len(encode(image)) for image in images) / len(images)


def timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def line(what: str, value: float, baseline: float | None, form: str) -> None:
    other = "" if baseline is None else form.format(baseline)
    ratio = "" if baseline is None else f"{value / baseline:.2f}"
    print(f"{what:<66} {form.format(value):>12}  {other:>12}  {ratio}")


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    datasets.disable_progress_bars()
    main()
