"""The builder's peak memory at N and at 10 N images, each in a process of its own: two passes, a pilot and one, or one.

    python benchmarks/memory.py [--images 16384] [--factor 10] [--architecture torchvision:shufflenet_v2_x2_0]

Makes JPEGs of 64 x 64 pixels in ten classes and a network with random weights, a quick one with as many features (2048)
as a ResNet-50, and runs `salient-imagenet build` on them. N should be a whole shard: so much is held of the features.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from synthetic import some_answers

from salient_imagenet_data.annotation.files import write_annotations
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.networks.robust import load_model

CLASSES = 10


def write_images(root: Path, count: int) -> None:
    """Small JPEGs of noise, shared evenly among the classes."""
    rng = np.random.default_rng(0)
    for number in range(count):
        folder = root / f"c{number % CLASSES:04d}"
        if number < CLASSES:
            folder.mkdir(parents=True)
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / f"{number:07d}.jpg")


def peak(arguments: list[str]) -> tuple[float, float]:
    """MiB of resident memory at the peak, and seconds, of one build."""
    code = (
        "import resource, sys\n"
        "from salient_imagenet_data.cli import cli\n"
        "cli.main(sys.argv[1:], standalone_mode=False)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return int(done.stdout.split()[-1]) / 1024, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=16384)
    parser.add_argument("--factor", type=int, default=10)
    parser.add_argument("--architecture", default="torchvision:shufflenet_v2_x2_0")
    options = parser.parse_args()
    torch.manual_seed(0)
    net = torchvision.models.get_model(options.architecture.partition(":")[2], num_classes=CLASSES)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        torch.save(net.state_dict(), root / "net.pt")
        model, _ = load_model(root / "net.pt", architecture=options.architecture, preprocessing=Preprocessing(64, 64))
        features = model.weight.shape[1]
        write_annotations(root / "answers.csv", some_answers(CLASSES, features))
        counts = (options.images, options.images * options.factor)
        print(f"{options.architecture}, {features} features, torch {torch.__version__}")
        print("| passes | images | peak, MiB | images/s |")
        print("| --- | --- | --- | --- |")
        for count in counts:
            write_images(root / str(count), count)
            known = ["--annotations", str(root / "answers.csv"), "--trust-annotations"]
            for passes, more in (("2", ["--pilot", "0"]), ("1, pilot", []), ("1, known pairs", known)):
                out = root / f"store {count} {passes}"
                arguments = ["build", "--images", str(root / str(count)), "--weights", str(root / "net.pt")]
                arguments += ["--architecture", options.architecture, "--resize", "64", "--crop", "64"]
                mib, seconds = peak([*arguments, "--group-by", "label", "--out", str(out), *more])
                print(f"| {passes} | {count:,} | {mib:.0f} | {count / seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
