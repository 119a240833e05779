"""What each corruption and region costs beside one ResNet-50 forward pass, on the same device in the same run.

    python benchmarks/corruptions.py [--device cuda] [--batch 16] [--threads 1]

Random images and random 7 x 7 soft masks at 224 pixels; the network's weights are random, which costs the same.
The median of several rounds, in which every line takes its turn, so that a busy machine slows all of them alike.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torchvision.models import resnet50
from torchvision.transforms import v2

from salient_imagenet_data.loaders import (
    Blur,
    Composite,
    Corruption,
    Fill,
    GaussianNoise,
    Inpaint,
    Region,
    Shuffle,
    Swap,
    Tile,
    corrupt,
    image_seeds,
    region_masks,
)

CORRUPTIONS: tuple[Corruption, ...] = (
    GaussianNoise(),
    GaussianNoise(l2_norm=30.0),
    Fill("gray"),
    Fill("mean"),
    Blur(),
    Shuffle(),
    Tile(),
    Inpaint(),
    Swap(),
    Composite(v2.JPEG(10), as_uint8=True),
)
REGIONS = (
    Region("neither"),
    Region("core", threshold=0.5),
    Region("not_core", dilation=15, normalise=True),
    Region("core", "random"),
)


def jobs(batch: int, device: str) -> dict[str, Callable[[], object]]:
    """What is timed, by name; the forward pass first."""
    torch.manual_seed(0)
    net = resnet50().eval().to(device)
    images, others = torch.rand(2, batch, 3, 224, 224, device=device)
    grids = torch.rand(2 * batch, 1, 7, 7, device=device) ** 2
    core, spurious = torch.nn.functional.interpolate(grids, (224, 224), mode="bilinear").chunk(2)
    seeds = image_seeds(0, [str(i) for i in range(batch)])
    found: dict[str, Callable[[], object]] = {"ResNet-50 forward": lambda: net(images)}
    for c in CORRUPTIONS:
        found[c.name] = lambda c=c: corrupt(images, core, c, seeds, others=others)  # type: ignore[misc]
    for r in REGIONS:
        found[f"region {r.label}"] = lambda r=r: region_masks(core, spurious, r, seeds)  # type: ignore[misc]
    return found


def measure(work: dict[str, Callable[[], object]], rounds: int, device: str) -> dict[str, float]:
    """Median seconds of each job."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(rounds + 1):
        for name, job in work.items():
            start = time.perf_counter()
            job()
            if device != "cpu":
                torch.cuda.synchronize(device)
            if turn:  # the first round warms up
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with torch.inference_mode():
        found = measure(jobs(options.batch, options.device), options.rounds, options.device)
    forward = next(iter(found.values()))
    print(f"torch {torch.__version__}, {options.device}, {options.threads} threads, batches of {options.batch}")
    for name, seconds in found.items():
        share = seconds / forward
        verdict = "" if name == "ResNet-50 forward" else "ok" if share <= 0.1 else "over 10 %"
        print(f"{name:42} {1000 * seconds / options.batch:9.2f} ms an image {100 * share:7.1f} %  {verdict}")


if __name__ == "__main__":
    main()
