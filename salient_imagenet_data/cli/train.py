"""The command that trains a small network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from salient_imagenet_data.cli.commands import DEVICE, FILE, cli, numbers, tell
from salient_imagenet_data.cli.images import IMAGES, GivenImages, images_options


@cli.command()
@images_options(help=f"To train on. {IMAGES}")
@click.option("--split", default="train", help="Split of the images, where there are several.")
@click.option("--scenes", type=click.IntRange(1), help="Train on so many embedded scenes instead.")
@click.option("--scene-seed", type=int, default=1, help="Seed of the scenes.")
@click.option("--correlation", type=click.FloatRange(0, 1), default=0.9, help="How often a cue goes with its class.")
@click.option("--test-images", help="To measure accuracy on; their classes are joined by name.")
@click.option("--test-split", default="test", help="Split of the test images, where there are several.")
@click.option("--out", type=FILE, required=True, help="Weights to write, .safetensors.")
@click.option("--overwrite", is_flag=True, help="Replace weights that are there.")
@click.option("--resize", type=click.IntRange(1), help="Shorter side after resizing.  [default: --crop]")
@click.option("--crop", type=click.IntRange(1), default=32, help="Side of the square crop.")
@click.option("--epsilon", type=float, default=0.25, help="Radius of the l2 perturbations; 0 trains plainly.")
@click.option("--steps", type=int, default=1, help="Gradient steps of a perturbation.")
@click.option("--epochs", type=int, default=6)
@click.option("--batch-size", type=int, default=128)
@click.option("--learning-rate", type=float, default=0.2)
@click.option("--widths", default="32,64,128", help="Channels of the stages; the last are the features.")
@click.option("--blocks", type=int, default=2, help="Residual blocks of a stage.")
@click.option("--shift", type=int, default=2, help="Random shift of the images, in pixels.")
@click.option("--stem-stride", type=click.IntRange(1, 2), default=1, help="2 halves the resolution at once.")
@click.option("--seed", type=int, default=0)
@DEVICE
def train(
    images: GivenImages | None,
    split: str,
    scenes: int | None,
    scene_seed: int,
    correlation: float,
    test_images: str | None,
    test_split: str,
    out: Path,
    overwrite: bool,
    resize: int | None,
    crop: int,
    widths: str,
    device: str | None,
    **options: Any,
) -> None:
    """Train a small classifier, robust to l2 perturbations, and say what it is worth for masks."""
    from salient_imagenet_data.builder.train import TrainConfig, load_images
    from salient_imagenet_data.builder.train import train as train_model
    from salient_imagenet_data.builder.worth import check_test_classes, worth
    from salient_imagenet_data.geometry import Preprocessing
    from salient_imagenet_data.networks.devices import check_device
    from salient_imagenet_data.networks.saving import check_out
    from salient_imagenet_data.networks.smallnet import save_smallnet
    from salient_imagenet_data.scenes import SceneSource

    if (images is None) == (scenes is None):
        raise click.UsageError("give either --images FOLDER or --scenes NUMBER")
    check_out(out, overwrite)
    on, config = check_device(device), TrainConfig(widths=numbers(widths, int, "--widths"), **options)
    preprocessing = Preprocessing(resize or crop, crop)
    source = (
        images.source(split)
        if images is not None
        else SceneSource(scenes or 1, seed=scene_seed, correlation=correlation)
    )
    test = (images or GivenImages("")).at(test_images).source(test_split) if test_images is not None else None
    place = None if test is None else check_test_classes(test, source.class_names)
    pixels, labels, broken = load_images(source, preprocessing, config.memory_limit)
    tell(f"{len(pixels)} images of {len(source.class_names)} classes, {len(broken)} unreadable")
    test_pixels, test_labels = pixels, labels
    if test is not None and place is not None:
        test_pixels, test_labels, broken = load_images(test, preprocessing, config.memory_limit)
        test_labels = place[test_labels]
        tell(f"{len(test_pixels)} test images of {len(place)} classes, {len(broken)} unreadable")
    model = train_model(
        pixels,
        labels,
        source.class_names,
        preprocessing,
        config,
        on,
        lambda epoch, loss, left: tell(
            f"epoch {epoch}/{config.epochs}  loss {loss:.3f}" + (f"  {_duration(left)} left" if left else "")
        ),
    )
    save_smallnet(model, out)
    click.echo(f"wrote {out}")
    found = worth(model, test_pixels, test_labels, config.epsilon or TrainConfig().epsilon, seen=test is None)
    for line in found.lines():
        click.echo(line, err=line.startswith("warning"))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
