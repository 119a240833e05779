"""What it costs to open a store of the full edition's shape with its checks, and to read all maps.

    python -m benchmarks.opening [--images 1281167]

Prints milliseconds: of opening (the best of 20), of the first use of images.parquet, and of reading all maps with the
sha256 of each shard and, as the baseline, by Zarr alone.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr

from benchmarks.synthetic import write_store
from salient_imagenet_data.store.reading import Store


def milliseconds(work: Callable[[], object], times: int) -> float:
    """The best of some times."""
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best * 1000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=1_281_167)
    images = parser.parse_args().images
    with tempfile.TemporaryDirectory(prefix="opening-") as folder:
        path = write_store(Path(folder) / "store", 1000 if images > 1000 else 1, max(1, images // 1000)).path
        m = Store(path).manifest
        print(f"{m.images} images, {len(m.files)} files, {sum(m.sizes.values()) / 1e6:.0f} MB")
        print(f"opening: {milliseconds(lambda: Store(path), 20):.1f} ms")
        print(f"labels at first use: {milliseconds(lambda: Store(path).rows.labels, 5):.1f} ms")
        print(f"all maps: {milliseconds(lambda: np.asarray(Store(path).maps), 3):.0f} ms")
        alone = milliseconds(lambda: zarr.open_array(path / "maps.zarr" / "maps", mode="r")[...], 3)
        print(f"all maps by Zarr alone: {alone:.0f} ms")


if __name__ == "__main__":
    main()
