"""The builder against its limits and against the straightforward pipeline, in one run on the same JPEG files.

    python benchmarks/builder.py [--images 250] [--precision fp32 bf16] [--compile] [--decoder pillow+torch]
    python benchmarks/builder.py --device cuda --images 50000 --distinct 4000 --classes 1000 --compile \
        --precision tf32 bf16 --decoder simplejpeg nvjpeg --passes 1
    python benchmarks/builder.py --rounds 3 --images 8000 --architecture shufflenet_v2_x2_0 --crop 64 --size 96x72

Makes JPEGs of ImageNet's size (500 x 375, about 85 kB) in ten classes and a network with random weights. Then, in
images a second: decoding alone (decode, resize, crop, on the same threads), forward passes alone (crops ready in
memory), a build with known pairs (one pass), a build that ranks in two passes, and the straightforward pipeline of the
2022 code: float32, one process, a forward pass for the features and then one for each of an image's five features.

With `--rounds`, what a build from scratch costs beside one with known pairs: these and two passes in turn, with
the medians of the ratios by the clock and by time on the CPU, which a busy machine changes less.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
import torchvision
from PIL import Image
from synthetic import SIZE, some_answers, write_photos
from torch.nn import functional

from salient_imagenet_data.annotation.verdicts import Annotations
from salient_imagenet_data.builder.build import build
from salient_imagenet_data.builder.choices import Decoder, Precision
from salient_imagenet_data.builder.config import BuildConfig, RunConfig
from salient_imagenet_data.builder.units.batching import batches
from salient_imagenet_data.builder.units.engine import default_threads
from salient_imagenet_data.builder.units.forward import numerics, run_model
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.images.source import ImageSource
from salient_imagenet_data.networks.devices import default_batch_size, move
from salient_imagenet_data.networks.robust import ImageClassifier


def rate(count: int, run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return count / (time.perf_counter() - start)


def synchronise(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def straightforward(model: ImageClassifier, source: ImageSource, features: Annotations, device: str) -> None:
    """Features of every image; then, one image and feature at a time, the map, resized and written as a JPEG.

    In the precision of torch's defaults, where convolutions on a CUDA device take TensorFloat-32.
    """
    precision: Precision = "tf32" if torch.device(device).type == "cuda" else "fp32"
    wanted = [[a.feature_index for a in features.answers if a.class_index == c] for c in range(len(source.class_names))]
    with tempfile.TemporaryDirectory() as folder, numerics(precision, device):
        for batch in batches(source, range(len(source)), model.preprocessing, 64, []):
            run_model(model, batch.images, precision, device)
        for index in range(len(source)):
            for feature in wanted[source.entry(index).label]:
                crop = model.preprocessing.apply(source.pixels(index))
                maps, _ = run_model(model, torch.from_numpy(crop).permute(2, 0, 1)[None], precision, device)
                one = maps[:, feature : feature + 1]
                mask = functional.interpolate(one / one.max().clamp_min(1e-12), size=(224, 224), mode="bilinear")[0, 0]
                picture = Image.fromarray((mask.cpu().numpy() * 255).astype(np.uint8))
                picture.save(Path(folder) / f"{index}_{feature}.jpg")


def in_turn(
    make: Callable[[str, Annotations | None, RunConfig], Any], known: Annotations, run: RunConfig, rounds: int
) -> None:
    """Print the seconds of each build, and the medians of the ratios to the one with known pairs of the same round."""
    clocks = {"clock": time.perf_counter, "CPU": time.process_time}
    kinds = {"known pairs": (known, run), "from scratch": (None, run), "two passes": (None, replace(run, pilot=0))}
    ratios: dict[tuple[str, str], list[float]] = {}
    print("| round | " + " | ".join(f"{kind}, s" for kind in kinds) + " |")
    print("| --- | --- | --- | --- |")
    for number in range(rounds):
        took: dict[str, dict[str, float]] = {}
        for kind, (answers, how) in kinds.items():
            before = {name: clock() for name, clock in clocks.items()}
            make(f"{number} {kind}", answers, how)
            took[kind] = {name: clock() - before[name] for name, clock in clocks.items()}
            for name in clocks:
                ratios.setdefault((kind, name), []).append(took[kind][name] / took["known pairs"][name])
        cells = [" / ".join(f"{took[kind][name]:.1f}" for name in clocks) for kind in kinds]
        print(f"| {number + 1}, clock / CPU | " + " | ".join(cells) + " |", flush=True)
    for kind in ("from scratch", "two passes"):
        said = ", ".join(f"{np.median(ratios[kind, name]):.3f} by the {name}" for name in clocks)
        print(f"{kind}: {said}, times known pairs (medians)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=250)
    parser.add_argument("--distinct", type=int, help="pictures, which share so many names; default: one each")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--baseline-images", type=int, default=20)
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--architecture", default="resnet50")
    parser.add_argument("--compile", action="store_true", help="also compiled, which is done before the clock starts")
    parser.add_argument("--compile-only", action="store_true", help="all compiled")
    parser.add_argument("--decoder", nargs="+", default=["pillow"], choices=get_args(Decoder))
    parser.add_argument("--passes", type=int, default=2, choices=(1, 2), help="1: known pairs only")
    parser.add_argument("--batch-size", type=int, help="default: that of the builder on this device")
    parser.add_argument("--rounds", type=int, help="builds in turn instead of the table")
    parser.add_argument("--crop", type=int, default=224, help="side; the shorter side is resized to 256 / 224 of it")
    parser.add_argument("--size", default="x".join(map(str, SIZE)), help="of the photos, WIDTHxHEIGHT")
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.manual_seed(0)
    classes, device = options.classes, options.device
    net = torchvision.models.get_model(options.architecture, num_classes=classes)
    preprocessing = Preprocessing(options.crop * 256 // 224, options.crop)
    model = ImageClassifier(options.architecture, net, preprocessing).eval().requires_grad_(False)
    move(model, device)
    known = Annotations(tuple(some_answers(classes, model.weight.shape[1])), "0" * 64)
    run = RunConfig(options.threads, device)
    size = options.batch_size or default_batch_size(device, model.preprocessing.crop)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        width, height = map(int, options.size.split("x"))
        distinct = None if options.distinct is None else options.distinct // classes
        write_photos(root / "all", classes, options.images // classes, (width, height), distinct)
        source = FolderSource(root / "all")
        if options.rounds:
            print(f"{len(source)} JPEGs of {options.size}, {options.architecture} at {options.crop}, batches of {size}")
            print(f"{device}, torch {torch.__version__}, {torch.get_num_threads()} threads")
            config = BuildConfig(group_by="label", batch_size=size, decoder=options.decoder[0], attacked=0)

            def built(name: str, annotations: Annotations | None, how: RunConfig) -> None:
                build(source, model, root / name, weights_sha256="0", annotations=annotations, config=config, run=how)

            built("warm", known, run)
            in_turn(built, known, run, options.rounds)
            return
        first = min(10, classes)
        write_photos(root / "few", first, max(1, options.baseline_images // first))
        few = FolderSource(root / "few")
        kilobytes = (
            np.mean([path.stat().st_size for path in itertools.islice((root / "all").rglob("*.jpg"), 500)]) / 1000
        )
        print(f"{len(source)} JPEGs of {kilobytes:.0f} kB, {options.architecture}, batches of {size}")
        print(f"{machine(device)}, torch {torch.__version__}, {options.threads} threads that decode", flush=True)

        def decode(images: int, decoder: Decoder) -> None:
            indices, threads = range(images), options.threads
            with closing(
                batches(source, indices, preprocessing, size, [], decoder, device=device, threads=threads)
            ) as stream:
                for _ in stream:
                    pass
            synchronise(device)

        decoding = {}
        for decoder in options.decoder:
            decode(min(2 * size, len(source)), decoder)  # the first use of a decoder or a device is slower
            decoding[decoder] = rate(len(source), partial(decode, len(source), decoder))
            print(f"decoding alone, {decoder}: {decoding[decoder]:.1f} images/s", flush=True)
        straightforward(model, few, known, device)
        baseline = rate(len(few), lambda: straightforward(model, few, known, device))
        crops = torch.randint(0, 256, (size, options.crop, options.crop, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
        crops, forwards = crops.to(device), max(1, min(options.images, 12800) // size)
        print(f"straightforward pipeline: {baseline:.2f} images/s", flush=True)
        print("| network | decoder | forward alone | one pass | of the limit | x straightforward | two passes |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        ways = (True,) if options.compile_only else (False, True) if options.compile else (False,)
        for precision, compiled in itertools.product(options.precision, ways):
            name = precision + (" compiled" if compiled else "")
            plain = BuildConfig(group_by="label", precision=precision, compiled=compiled, batch_size=size, attacked=0)

            def forward(config: BuildConfig = plain) -> None:
                with numerics(config.precision, device):
                    for _ in range(forwards):
                        compile_for = size if config.compiled else None
                        run_model(model, crops, config.precision, device, compile_for=compile_for)
                synchronise(device)

            forward()
            alone = rate(forwards * size, forward)
            for decoder in options.decoder:

                def make(
                    passes: str, annotations: Annotations | None, config: BuildConfig, name: str = f"{name} {decoder}"
                ) -> None:
                    out, how = root / f"{passes} {name}", replace(run, pilot=0)
                    build(source, model, out, weights_sha256="0", annotations=annotations, config=config, run=how)

                config = replace(plain, decoder=decoder)
                once = rate(len(source), lambda: make("once", known, config))  # noqa: B023
                twice = f"{rate(len(source), lambda: make('twice', None, config)):.1f}" if options.passes == 2 else ""  # noqa: B023
                limit = min(decoding[decoder], alone)
                figures = f"{once / limit:.0%} | {once / baseline:.1f} | {twice}"
                print(f"| {name} | {decoder} | {alone:.1f} | {once:.1f} | {figures} |", flush=True)


def machine(device: str) -> str:
    """The device's own name."""
    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else device


if __name__ == "__main__":
    main()
