"""What batching over images gains in Batched Gradient SIS, against the same network one image at a time.

    python benchmarks/sis.py --images 64 --threads 2

Both order the pixels of the same scenes for the network's own answers, in the same run, by turns. One at a time: the
paper's pseudocode as it stands, which the published code runs on one image after another: a forward and a backward pass
a step, then FindSIS, which shows the subset from the end, a step at a time, until it suffices. In batches: `sis`, whose
sufficient subsets come from the confidences of the selection itself, and whose network has its normalisations in its
convolutions. The network's weights have no gradient in either. Sufficient is 0.9 of an image's own confidence, so that
every image has such a subset.

Prints JSON: seconds an image (least of the repeats; with --cpu-time of this process's time on the CPU, which other
processes on the machine disturb less, but which counts a second thread as if it were of no use), the ratio, that of the
selections alone, how far the orders agree, and the bound: microseconds an image of a forward and a backward pass of the
network as it is, one image at a time and in a batch, whose ratio is all that batching alone can give. Ends with
status 1 where the ratio is below `--at-least`.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable
from datetime import date
from importlib.resources import as_file, files

import click
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from salient_imagenet_data.evaluation.sufficiency.choices import Choice
from salient_imagenet_data.evaluation.sufficiency.folding import folded
from salient_imagenet_data.evaluation.sufficiency.selection import Selected, gradient_selection
from salient_imagenet_data.evaluation.sufficiency.subsets import sufficient_sizes
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.scenes import SceneSource

SHARE = 0.9


def one_at_a_time(model: nn.Module, image: Tensor, target: int, fill: Tensor, step: int) -> list[int]:
    """BatchedGradientBackSelect of an image (3, S, S)."""
    side = image.shape[-1]
    mask, stack = torch.zeros(side * side, device=image.device), list[int]()
    while len(stack) < side * side:
        variable = mask.clone().requires_grad_(True)
        shown = image * (1 - variable.view(1, side, side)) + fill * variable.view(1, side, side)
        p = model(shown[None]).softmax(dim=1)[0, target]
        (gradient,) = torch.autograd.grad(p, variable)
        chosen = gradient.masked_fill(mask > 0, -torch.inf).topk(min(step, side * side - len(stack))).indices
        mask[chosen] = 1.0
        stack += chosen.tolist()
    return stack


def find_sis(
    model: nn.Module, image: Tensor, target: int, fill: Tensor, stack: list[int], step: int, tau: float
) -> int:
    """FindSIS of an order: how many pixels suffice, -1 if all of them do not."""
    side = image.shape[-1]
    with torch.no_grad():
        for start in reversed([*range(0, len(stack), step), len(stack)]):
            mask = torch.zeros(side * side, device=image.device)
            mask[stack[:start]] = 1.0
            shown = torch.where(mask.view(1, side, side) > 0, fill, image)
            if float(model(shown[None]).softmax(dim=1)[0, target]) >= tau:
                return len(stack) - start
    return -1


def passes(model: nn.Module, images: Tensor, times: int, *, of_cpu: bool) -> float:
    """Microseconds an image of a forward and a backward pass to the images."""

    def once() -> None:
        variable = images.detach().requires_grad_(True)
        torch.autograd.grad(model(variable).logsumexp(dim=1).sum(), variable)

    once()
    taken = seconds(lambda: [once() for _ in range(times)], of_cpu=of_cpu)
    return 1e6 * taken / times / len(images)


def seconds(work: Callable[[], object], *, of_cpu: bool) -> float:
    clock = time.process_time if of_cpu else time.perf_counter
    start = clock()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - start


@click.command(help=__doc__)
@click.option("--images", default=64, show_default=True, help="In the batches.")
@click.option("--alone", default=4, show_default=True, help="Of these also one at a time.")
@click.option("--batch-size", default=64, show_default=True)
@click.option("--crop", default=32, show_default=True, help="32 as CIFAR-10, on which the paper worked most.")
@click.option("--repeats", default=3, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--cpu-time", is_flag=True, help="Of this process, not by the clock.")
@click.option("--at-least", default=0.0, show_default=True)
def main(
    images: int,
    alone: int,
    batch_size: int,
    crop: int,
    repeats: int,
    threads: int,
    device: str,
    cpu_time: bool,
    at_least: float,
) -> None:
    if cpu_time and device != "cpu":
        raise click.UsageError("--cpu-time says nothing of a device")
    torch.set_num_threads(threads)
    with as_file(files("salient_imagenet_data.scenes") / "standard.safetensors") as weights:
        model = load_model(weights)[0].eval().requires_grad_(False).to(device)
    scenes = SceneSource(images, seed=3)
    pixels = np.stack([scenes.pixels(index) for index in range(images)])
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255.0
    x = (F.interpolate(x, (crop, crop), mode="area") if crop < x.shape[-1] else x).to(device)
    fill = x.mean(dim=(0, 2, 3))
    p, step = model(x).softmax(dim=1), Choice().step_at(crop)
    targets, taus = p.argmax(dim=1), (SHARE * p.amax(dim=1)).tolist()
    stacks: dict[int, list[int]] = {}
    sizes: dict[int, int] = {}
    found: list[Selected] = []

    def select_alone() -> None:
        for k in range(alone):
            stacks[k] = one_at_a_time(model, x[k], int(targets[k]), fill[:, None, None], step)

    def find_alone() -> None:
        for k in range(alone):
            sizes[k] = find_sis(model, x[k], int(targets[k]), fill[:, None, None], stacks[k], step, taus[k])

    def batches() -> None:
        found.clear()
        with folded(model, x[:2]):
            for start in range(0, images, batch_size):
                part = x[start : start + batch_size].contiguous(memory_format=torch.channels_last)
                found.append(gradient_selection(model, part, targets[start : start + batch_size], fill, step=step))

    taken: dict[str, list[float]] = {"select": [], "find": [], "batches": []}
    plain: dict[str, list[float]] = {"alone": [], "in_batch": []}
    for _ in range(repeats):
        taken["select"].append(seconds(select_alone, of_cpu=cpu_time) / alone)
        taken["find"].append(seconds(find_alone, of_cpu=cpu_time) / alone)
        plain["alone"].append(passes(model, x[:1], 100, of_cpu=cpu_time))
        model.to(memory_format=torch.channels_last)
        many = x[:batch_size].contiguous(memory_format=torch.channels_last)
        plain["in_batch"].append(passes(model, many, 20, of_cpu=cpu_time))
        taken["batches"].append(seconds(batches, of_cpu=cpu_time) / images)
        model.to(memory_format=torch.contiguous_format)
    least = {name: min(values) for name, values in taken.items()}
    confidence = torch.cat([each.confidence for each in found]).cpu().numpy()
    ours = [int(sufficient_sizes(confidence[k : k + 1], crop * crop, step, taus[k])[0]) for k in range(alone)]
    orders, half = torch.cat([each.order for each in found]), crop * crop // 2
    shared = [len(set(stacks[k][:half]) & set(orders[k, :half].tolist())) / half for k in range(alone)]
    bound = {name: min(values) for name, values in plain.items()}
    ratio = (least["select"] + least["find"]) / least["batches"]
    result = {
        "date": date.today().isoformat(),
        "machine": torch.cuda.get_device_name(device)
        if device != "cpu"
        else platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "threads": threads,
        "time": "CPU" if cpu_time else "clock",
        "crop": crop,
        "step": step,
        "batch_size": batch_size,
        "seconds_an_image": {name: round(value, 4) for name, value in least.items()},
        "selection_ratio": round(least["select"] / least["batches"], 2),
        "ratio": round(ratio, 2),
        "passes_us_an_image": {name: round(value, 1) for name, value in bound.items()},
        "passes_ratio": round(bound["alone"] / bound["in_batch"], 2),
        "first_half_shared": [round(share, 3) for share in shared],
        "sizes_alone": list(sizes.values()),
        "sizes_in_batches": ours,
    }
    click.echo(json.dumps(result, indent=2))
    sys.exit(ratio < at_least)


if __name__ == "__main__":
    main()
