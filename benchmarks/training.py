"""Fine-tuning on this machine: what a pass costs by layout and precision, and what robust networks are worth.

    python benchmarks/training.py cost --architecture timm:tf_efficientnet_lite0 --weights FILE
    python benchmarks/training.py worth --architecture timm:tf_efficientnet_lite0 --weights FILE --weights FILE \
        --images imagenette/val --sides 128 --sides 224

Costs are processor time, so that other programs on the machine count less.
"""

from __future__ import annotations

import time

import click
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from salient_imagenet_data.builder.train import load_images
from salient_imagenet_data.builder.training.recipe import usual_radius
from salient_imagenet_data.builder.worth import worth
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.opening import open_source
from salient_imagenet_data.networks.classifiers import network_of
from salient_imagenet_data.networks.opening import open_network

BATCH, ROUNDS = 32, 3


@click.group()
def main() -> None:
    """Measure."""


@main.command()
@click.option("--architecture", required=True)
@click.option("--weights", required=True)
@click.option("--side", default=96)
def cost(architecture: str, weights: str, side: int) -> None:
    """Processor time of a forward and a backward pass, ms an image, on one thread."""
    torch.set_num_threads(1)
    for layout in (torch.contiguous_format, torch.channels_last):
        for half in (False, True):
            model = network_of(open_network(architecture, None, weights)).to(memory_format=layout)  # type: ignore[call-overload]
            model.train().requires_grad_(True)
            took = min(_pass(model, side, layout, half) for _ in range(ROUNDS))
            print(f"{'bfloat16' if half else 'float32':>8}  {layout!s:>23}  {took:.1f} ms an image", flush=True)


def _pass(model: nn.Module, side: int, layout: torch.memory_format, half: bool) -> float:
    images = torch.rand(BATCH, 3, side, side).contiguous(memory_format=layout)
    began = time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        output = model(images)
    functional.cross_entropy(output.float(), torch.zeros(BATCH, dtype=torch.int64)).backward()
    return (time.process_time() - began) / BATCH * 1e3


@main.command("worth")
@click.option("--architecture", required=True)
@click.option("--weights", "files", multiple=True, required=True)
@click.option("--images", required=True)
@click.option("--sides", multiple=True, type=int, default=[224])
@click.option("--attacked", default=200)
def worth_of(architecture: str, files: tuple[str, ...], images: str, sides: tuple[int, ...], attacked: int) -> None:
    """Clean and attacked accuracy at sides of the crop, of networks whose outputs are the classes of the images."""
    source = open_source(images, "val")
    for side in sides:
        pixels, labels, _ = load_images(source, Preprocessing(side, side, "bicubic"))
        for file in files:
            model = network_of(open_network(architecture, source.class_names, file))
            radius = usual_radius("l2", side)
            found = worth(model, pixels, labels, radius, seen=False, attacked=attacked, batch_size=25)
            count = min(attacked, len(pixels))
            print(
                f"{file}  {side} pixels  {len(np.unique(labels))} classes  clean {found.clean:.4f} of {len(pixels)}  "
                f"l2 {radius:.2f}: {found.robust:.4f} of {count}",
                flush=True,
            )


if __name__ == "__main__":
    main()
