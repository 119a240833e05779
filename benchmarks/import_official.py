"""Import of official-layout masks straight from a zip, beside the JPEG decoding rate of the same processes.

    python benchmarks/import_official.py                  # 50,000 masks, and memory at 50,000 and 200,000
    python benchmarks/import_official.py --masks 5000 --rounds 1

The release is synthetic: 224 x 224 masks resized from random 7 x 7 grids, JPEG quality 75, five features a class, 65
images a pair and class, deflated. The baseline decodes the same JPEG bytes, already in memory, by Pillow into
arrays, in as many processes, and counts from when all of them are ready; the import counts everything from the zip's
path to the finished store, starting its processes too. Both are run in turn, and the best of each counts. Processor
time is given beside wall time: other work on the machine disturbs it less.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
from PIL import Image

from salient_imagenet_data.geometry import to_crop_frame
from salient_imagenet_data.imagenet import wnids

FEATURES, PAIR_IMAGES, DIFFERENT = 5, 65, 2000
CHILD = """
if __name__ == "__main__":  # all below, since workers run this file's head again
    import resource, sys, time
    from salient_imagenet_data.official.importing import import_official
    start = time.perf_counter()
    store = import_official(sys.argv[1], sys.argv[2], workers=int(sys.argv[3]))
    seconds = time.perf_counter() - start
    used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    processor = sum(u.ru_utime + u.ru_stime for u in used)
    print(store.manifest.origin["masks"], seconds, processor, *(u.ru_maxrss / 1024 for u in used))
"""


def jpegs() -> list[bytes]:
    """DIFFERENT masks, which a release repeats under other names."""
    rng = np.random.default_rng(0)
    result = []
    for _ in range(DIFFERENT):
        grid = np.maximum(rng.normal(0.0, 1.0, (7, 7)), 0.0).astype(np.float32)
        pixels = np.rint(to_crop_frame(grid / grid.max(), 224, 224) * 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG")
        result.append(buffer.getvalue())
    return result


def write_release(path: Path, masks: int, data: list[bytes]) -> None:
    """A zip in the release's layout; the last class holds what is left."""
    left, number = masks // FEATURES, 0
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("salient_imagenet_dataset/wordnet_dict.py", repr(dict(enumerate(wnids()))))
        for wnid in wnids():
            names = [f"{wnid}_{i}" for i in range(min(left, max(PAIR_IMAGES, -(-masks // FEATURES // len(wnids())))))]
            left -= len(names)
            if not names:
                break
            folder = f"salient_imagenet_dataset/{wnid}"
            lines = [",".join(map(str, range(FEATURES))), *(",".join([n] * FEATURES) for n in names)]
            archive.writestr(f"{folder}/image_names_map.csv", "\n".join(lines))
            for feature in range(FEATURES):
                for name in names:
                    archive.writestr(f"{folder}/feature_{feature}/{name}.JPEG", data[number % len(data)])
                    number += 1


def decode_all(data: list[bytes], masks: int, ready: Barrier, done: Barrier, used: Queue[float]) -> None:
    """The baseline's process."""
    np.asarray(Image.open(io.BytesIO(data[0])))
    ready.wait()
    start = time.process_time()
    for i in range(masks):
        with Image.open(io.BytesIO(data[i % len(data)]), formats=("JPEG",)) as image:
            np.asarray(image)
    used.put(time.process_time() - start)
    done.wait()


def decode(data: list[bytes], masks: int, processes: int) -> tuple[float, float]:
    """Wall time in which `processes` processes decode all masks, and their processor time."""
    context = multiprocessing.get_context("spawn")
    ready, done, used = context.Barrier(processes + 1), context.Barrier(processes + 1), context.Queue()
    arguments = (data, masks // processes, ready, done, used)
    workers = [context.Process(target=decode_all, args=arguments) for _ in range(processes)]
    for worker in workers:
        worker.start()
    ready.wait()
    start = time.perf_counter()
    done.wait()
    seconds = time.perf_counter() - start
    processor = sum(used.get() for _ in workers)
    for worker in workers:
        worker.join()
    return seconds, processor


def imported(release: Path, out: Path, processes: int) -> tuple[float, ...]:
    """Masks, seconds, processor seconds, and peak memory in MiB of the importing process and its largest worker."""
    script = out.with_suffix(".py")
    script.write_text(CHILD)
    command = [sys.executable, str(script), str(release), str(out), str(processes)]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    shutil.rmtree(out)
    return tuple(float(value) for value in text.split())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--masks", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data, small, large = jpegs(), Path(folder) / "small.zip", Path(folder) / "large.zip"
        write_release(small, options.masks, data)
        decoding, importing = [], []
        for _ in range(options.rounds):
            decoding.append(decode(data, options.masks, options.processes))
            importing.append(imported(small, Path(folder) / "store", options.processes))
        write_release(large, 4 * options.masks, data)
        more = imported(large, Path(folder) / "store", options.processes)
        assert importing[0][0] == options.masks and more[0] == 4 * options.masks
        wall = min(s for s, _ in decoding), min(i[1] for i in importing)
        processor = min(p for _, p in decoding), min(i[2] for i in importing)
        result = {
            "masks": options.masks,
            "processes": options.processes,
            "rounds": options.rounds,
            "jpeg_bytes": round(sum(map(len, data)) / len(data)),
            "decode_masks_per_second": round(options.masks / wall[0]),
            "import_masks_per_second": round(options.masks / wall[1]),
            "import_over_decode": round(wall[0] / wall[1], 3),
            "import_over_decode_processor_time": round(processor[0] / processor[1], 3),
            "decode_seconds": [round(s, 2) for s, _ in decoding],
            "import_seconds": [round(i[1], 2) for i in importing],
            "import_seconds_4n": round(more[1], 2),
            "import_over_decode_4n": round(4 * wall[0] / more[1], 3),
            "peak_mib_n": {
                "process": round(max(i[3] for i in importing)),
                "worker": round(max(i[4] for i in importing)),
            },
            "peak_mib_4n": {"process": round(more[3]), "worker": round(more[4])},
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        }
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
