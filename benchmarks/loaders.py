"""What masks cost a training loop's input, and how fast a store of a million images opens.

    python benchmarks/loaders.py loop [--images 200]
    python benchmarks/loaders.py open [--images 1280000]

`loop`: one worker's images a second of processor time, over the same JPEG files with the same crop and transform, for
an ImageFolder-style set without masks, ours with masks, and one that opens a JPEG of each feature's mask as the 2022
release does. The loaders take turns, batch by batch, so that a busy machine slows all of them alike; medians.

`open`: seconds and memory from a new process to the first batch, and the same for a process that only imports.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

BATCH = 20


def loops(folder: Path) -> dict[str, Callable[[], Iterable[Any]]]:
    """Loaders by name, the one without masks first. Built in `folder`: photos, store, mask files."""
    import numpy as np
    import torch
    from PIL import Image
    from synthetic import FEATURES, write_mask_files
    from torch.utils.data import DataLoader, Dataset
    from torchvision import tv_tensors
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    from salient_imagenet_data.loaders import SalientImageNet, collate, masks_of_batch
    from salient_imagenet_data.store.reading import Store

    store = Store(folder / "store")
    write_mask_files(store, folder / "masks")
    after = v2.Compose(
        [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
    )
    crop = v2.Compose([v2.Resize(256), v2.CenterCrop(224), v2.PILToTensor()])

    def image(picture: Image.Image) -> Any:
        return after(tv_tensors.Image(crop(picture)))

    class MaskFiles(Dataset[Any]):
        """Image, label, and core and spurious masks: the largest of the files of each kind, through the same crop."""

        def __init__(self) -> None:
            self.folder = ImageFolder(str(folder / "photos"))

        def __len__(self) -> int:
            return len(self.folder)

        def __getitem__(self, item: int) -> Any:
            path = Path(self.folder.samples[item][0])
            picture, label = self.folder[item]
            name = f"{path.parent.name}/{path.stem}.JPEG"
            files = [folder / "masks" / f"feature_{slot}" / name for slot in range(FEATURES)]
            masks = [np.asarray(Image.open(file)) for file in files]
            kinds = [[masks[k] for k in slots] for slots in ((0, 2, 4), (1, 3))]
            made = [crop(Image.fromarray(np.max(kind, axis=0))).float() / 255 for kind in kinds]
            return image(picture), label, *made

    def batches(dataset: Any, **options: Any) -> Callable[[], Iterable[Any]]:
        return lambda: DataLoader(dataset, batch_size=BATCH, **options)

    compact = SalientImageNet(store, folder / "photos", after, return_maps=True)

    def expanded() -> Iterator[Any]:
        for batch in DataLoader(compact, batch_size=BATCH, collate_fn=collate):
            yield batch, masks_of_batch(batch, "core"), masks_of_batch(batch, "spurious")

    return {
        "ImageFolder, no masks": batches(ImageFolder(str(folder / "photos"), image)),
        "compact masks": batches(compact, collate_fn=collate),
        "compact, made full on the CPU": expanded,
        "full-size soft masks": batches(SalientImageNet(store, folder / "photos", after), collate_fn=collate),
        "a JPEG file a feature": batches(MaskFiles()),
    }


def loop(images: int, rounds: int, size: tuple[int, int]) -> None:
    """Print images a second of processor time, and what masks cost."""
    import torch
    from synthetic import write_photos, write_store

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_photos(folder / "photos", images // BATCH, BATCH, size)
        write_store(folder / "store", images // BATCH, BATCH, size)
        work = loops(folder)
        times: dict[str, list[float]] = {key: [] for key in work}
        for turn in range(rounds + 1):
            running = {key: iter(make()) for key, make in work.items()}
            for _ in range(images // BATCH):
                for key, batches in running.items():
                    start = time.process_time()
                    next(batches)
                    if turn:  # the first pass warms up
                        times[key].append((time.process_time() - start) / BATCH)
    first = next(iter(times))
    base = statistics.median(times[first])
    # Of the ratios to the batch without masks of the same turn, the median: what slows the machine slows both.
    each = {
        key: base * statistics.median(t / b for t, b in zip(values, times[first], strict=True))
        for key, values in times.items()
    }
    print(
        f"torch {torch.__version__}, one process, one thread, {images} images of {size[0]} x {size[1]}, {rounds} passes"
    )
    for key, seconds in each.items():
        cost = f"masks {1000 * (seconds - base):6.2f} ms = {100 * (1 - base / seconds):5.1f} % of the throughput"
        print(f"{key:32} {1000 * seconds:7.2f} ms an image {1 / seconds:7.1f} images/s, {cost}")
    slow, full, small = each["a JPEG file a feature"], each["full-size soft masks"], each["compact masks"]
    print(f"whole loop against mask files: full-size {slow / full:.2f} x, compact {slow / small:.2f} x")
    print(f"masks alone against mask files: full-size {(slow - base) / max(full - base, 1e-9):.1f} x")


OPEN = """
import json, sys, time
start = time.perf_counter()
from salient_imagenet_data.loaders import NumpyLoader
from salient_imagenet_data.store.reading import Store
import zarr, numpy, pyarrow.parquet, pyarrow.compute
imported = time.perf_counter()
if len(sys.argv) > 1:
    batch = next(iter(NumpyLoader(sys.argv[1], batch_size=64, return_maps=True, seed=0)))
    assert batch["maps"].shape[0] == 64 and batch["maps"].any()
done = time.perf_counter()
(line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
peak = int(line.split()[1]) / 1024
print(json.dumps({"imports_s": imported - start, "first_batch_s": done - imported, "peak_MB": peak}))
"""


def opening(images: int) -> None:
    """Print seconds from `Store(...)` to the first shuffled batch, and the process's peak memory."""
    from synthetic import write_store

    with tempfile.TemporaryDirectory() as name:
        store = Path(name) / "store"
        write_store(store, 1000, images // 1000)
        size = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
        print(f"{images} images, {size / 1e6:.0f} MB on disk")
        for title, arguments in (("imports only", []), ("first open", [str(store)]), ("opened again", [str(store)])):
            run = subprocess.run([sys.executable, "-c", OPEN, *arguments], check=True, capture_output=True, text=True)
            found = json.loads(run.stdout)
            print(f"{title:14} " + ", ".join(f"{key} {value:.2f}" for key, value in found.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("loop", "open"))
    parser.add_argument("--images", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", default="500x375", help="width x height of the photos, such as 256x256")
    options = parser.parse_args()
    if options.what == "loop":
        width, height = map(int, options.size.split("x"))
        loop(options.images or 200, options.rounds, (width, height))
    else:
        opening(options.images or 1_280_000)


if __name__ == "__main__":
    main()
