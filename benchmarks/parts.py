"""The parts of a build on a CUDA device, each alone: reading, decoding, resizing, batches, forward passes.

    python benchmarks/parts.py [--device cuda] [--pictures 1024] [--threads 16]

Images a second of made JPEGs of 500 x 375. Reading is of files to their bytes, on threads of one process. Decoding is
nvJPEG's alone, in memory, by torchcodec and by torchvision, and also from several threads. Resizing is of 256 decoded
pictures. Batches are what a build takes, by each decoder. Forward passes are of a
ResNet-50 with random weights, on crops that are on the device.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any, get_args

import torch
import torchvision
from synthetic import write_photos
from torch import Tensor

from salient_imagenet_data.builder.choices import Decoder, Precision
from salient_imagenet_data.builder.units import nvjpeg
from salient_imagenet_data.builder.units.batching import batches
from salient_imagenet_data.builder.units.decoding import cropped, file_or_crop
from salient_imagenet_data.builder.units.engine import default_threads
from salient_imagenet_data.builder.units.forward import numerics, run_model
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.images.reading import read_ahead
from salient_imagenet_data.networks.devices import move
from salient_imagenet_data.networks.robust import ImageClassifier

WAYS: tuple[tuple[Precision, bool, int], ...] = (
    ("tf32", False, 64), ("bf16", False, 64), ("bf16", False, 256), ("bf16", True, 64), ("bf16", True, 256),
)  # fmt: skip


def timed(what: str, count: int, work: Callable[[], Any], device: str) -> None:
    """Print images a second of work that has been done once before."""
    start = time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    print(f"{what}: {count / (time.perf_counter() - start):.0f} images/s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--pictures", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=default_threads(), help="that read, or processes that decode")
    options = parser.parse_args()
    device, threads, like = options.device, options.threads, Preprocessing()
    name = platform.machine() if device == "cpu" else torch.cuda.get_device_name(device)
    print(f"{date.today()}: {name}, torch {torch.__version__}, torchvision {torchvision.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder) / "photos", 16, options.pictures // 16)
        source = FolderSource(Path(folder) / "photos")
        count = len(source)

        def read() -> list[Tensor]:
            found = read_ahead(range(count), lambda i: file_or_crop(source, i, like), threads=threads, window=512)
            return [file for _, file in found if isinstance(file, Tensor)]

        files = read()
        timed("reading", count, read, device)
        by_torchcodec = nvjpeg._torchcodec
        for library in ("torchcodec", "torchvision"):
            if library == "torchvision":
                nvjpeg._torchcodec = lambda: None
            elif by_torchcodec() is None:
                print("torchcodec: not installed")
                continue
            decode(files, library, device)
        nvjpeg._torchcodec = by_torchcodec
        pictures = [picture for picture in nvjpeg.decoded(files[:256], device) if picture is not None]

        def resize() -> None:
            for picture in pictures:
                cropped(picture, like)

        resize()
        timed("resizing", len(pictures), resize, device)
        for decoder in get_args(Decoder):
            if decoder == "nvjpeg" and device == "cpu":
                continue

            def every(times: int, decoder: Decoder = decoder) -> None:
                indices = [*range(count)] * times
                with closing(batches(source, indices, like, 64, [], decoder, device=device, threads=threads)) as found:
                    for _ in found:
                        pass

            every(1)
            timed(f"batches by {decoder}", 4 * count, lambda: every(4), device)
    forward(device)


def decode(files: list[Tensor], library: str, device: str) -> None:
    """In calls of several sizes, and from several threads."""

    def some(start: int, size: int) -> None:
        nvjpeg.decoded(files[start : start + size], device)

    for size in (64, 256, 512):
        some(0, size)
        timed(
            f"decoding by {library}, {size} a call",
            len(files),
            lambda size=size: [some(start, size) for start in range(0, len(files), size)],  # type: ignore[misc]
            device,
        )
    for threads in (2, 4):
        with ThreadPoolExecutor(threads) as pool:
            timed(
                f"decoding by {library}, 128 a call from {threads} threads",
                len(files),
                lambda pool=pool: list(pool.map(lambda start: some(start, 128), range(0, len(files), 128))),  # type: ignore[misc]
                device,
            )


def forward(device: str) -> None:
    """ResNet-50, as the builder runs it."""
    torch.manual_seed(0)
    net = ImageClassifier("resnet50", torchvision.models.resnet50(), Preprocessing()).eval().requires_grad_(False)
    move(net, device)
    for precision, compiled, size in WAYS if device != "cpu" else (("bf16", False, 8),):
        crops = torch.randint(0, 256, (size, 224, 224, 3), dtype=torch.uint8, device=device).permute(0, 3, 1, 2)
        times = max(2, 4096 // size) if device != "cpu" else 1

        def run(times: int, precision: Precision = precision, size: int | None = size if compiled else None) -> None:
            with numerics(precision, device):
                for _ in range(times):
                    run_model(net, crops, precision, device, compile_for=size)  # noqa: B023

        run(3)
        what = f"forward, {precision}{' compiled' if compiled else ''}, batches of {size}"
        timed(what, times * size, lambda: run(times), device)  # noqa: B023


if __name__ == "__main__":
    main()
