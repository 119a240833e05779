"""The command that trains a network: a small one from scratch, or any pretrained one further."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
from click.core import ParameterSource

from salient_imagenet_data.builder.choices import HeadOf, Norm, PassPrecision, Statistics
from salient_imagenet_data.cli.commands import DEVICE, FILE, OUTPUTS, SEED, cli, numbers, options, tell
from salient_imagenet_data.cli.images import IMAGES, GivenImages, images_options

if TYPE_CHECKING:
    from salient_imagenet_data.builder.worth import Worth
    from salient_imagenet_data.images.source import ImageSource

SMALL = {
    "scenes": click.option("--scenes", type=click.IntRange(1), help="Train on so many embedded scenes instead."),
    "scene_seed": click.option("--scene-seed", type=click.IntRange(0), default=1, help="Seed of the scenes."),
    "correlation": click.option(
        "--correlation", type=click.FloatRange(0, 1), default=0.9, help="How often a cue goes with its class."
    ),
    "widths": click.option("--widths", default="32,64,128", help="Channels of the stages; the last are the features."),
    "blocks": click.option("--blocks", type=int, default=2, help="Residual blocks of a stage."),
    "shift": click.option("--shift", type=int, default=2, help="Random shift of the images, in pixels."),
    "input_dropout": click.option(
        "--input-dropout", type=float, default=0.0, help="Share of the pixels that each training image lacks."
    ),
    "stem_stride": click.option(
        "--stem-stride", type=click.IntRange(1, 2), default=1, help="2 halves the resolution at once."
    ),
}
"""Options of a small network from scratch."""
FROM = {
    "weights": click.option("--weights", help="File of weights for the network of --from, instead of its own."),
    "outputs": click.option("--class-names", "outputs", metavar="FILE", help=OUTPUTS),
    "head": click.option(
        "--head",
        type=click.Choice(get_args(HeadOf)),
        help="Keep the outputs of the classes, by name, or make new ones.  [default: cut where all are found]",
    ),
    "norm": click.option("--norm", type=click.Choice(get_args(Norm)), default="l2", help="Of the perturbations."),
    "replays": click.option(
        "--replays", type=int, default=1, help="Above 1 the free variant: use a batch so often, each pass for both."
    ),
    "first_crop": click.option(
        "--first-crop", type=int, help="Side of the crops at first, growing to --crop.  [default: --crop]"
    ),
    "area": click.option(
        "--area", type=float, default=0.25, help="Smallest share of an image that a training crop shows."
    ),
    "warmup": click.option("--warmup", type=float, default=1.0, help="Epochs in which the learning rate rises."),
    "weight_decay": click.option("--weight-decay", type=float, default=1e-4, help="Of the weights in training."),
    "average": click.option(
        "--average", type=float, default=0.998, help="Decay of the mean of the weights, which is written; 0: the last."
    ),
    "statistics": click.option(
        "--statistics",
        type=click.Choice(get_args(Statistics)),
        default="batch",
        help="Of batch normalisation: of each batch, or as they came.",
    ),
    "precision": click.option(
        "--precision",
        type=click.Choice(get_args(PassPrecision)),
        help="Of the passes; weights stay float32.  [default: float32 on a CPU, else bfloat16]",
    ),
    "attacked": click.option(
        "--attacked", type=click.IntRange(1), default=2000, help="Images of the attack at the end, at most."
    ),
    "autoattack": click.option(
        "--autoattack",
        type=click.IntRange(1),
        help="Attack so many images at the end by AutoAttack too, which is slow.",
    ),
    "resume": click.option("--resume", is_flag=True, help="Go on after the last epoch of a run that stopped."),
}
"""Options of a fine-tuning."""
BOTH = ("epsilon", "epochs", "batch_size", "learning_rate")
"""Options whose defaults are the recipe's."""


@cli.command()
@images_options(help=f"To train on. {IMAGES}")
@click.option("--split", default="train", help="Split of the images, where there are several.")
@click.option("--test-images", help="To measure accuracy on; their classes are joined by name.")
@click.option("--test-split", default="test", help="Split of the test images, where there are several.")
@click.option("--out", type=FILE, required=True, help="Weights to write, .safetensors.")
@click.option("--overwrite", is_flag=True, help="Replace weights that are there.")
@click.option(
    "--from",
    "start",
    metavar="SPEC",
    help="Train a pretrained network further: timm:NAME, torchvision:NAME, hf:NAME, or a file of `train`.",
)
@click.option("--resize", type=click.IntRange(1), help="Shorter side after resizing.  [default: --crop]")
@click.option("--crop", type=click.IntRange(1), help="Side of the square crop.  [default: 32; the network's own]")
@click.option(
    "--epsilon",
    type=float,
    help="Radius of the perturbations, pixels in [0, 1]; 0 trains plainly.  "
    "[default: 0.25; with --from l2 3 at 224 pixels, linf 4/255]",
)
@click.option("--steps", type=int, default=1, help="Gradient steps of a perturbation.")
@click.option("--epochs", type=int, help="How often each image is trained on.  [default: 6; with --from 10]")
@click.option("--batch-size", type=int, help="Of all processes together.  [default: 128; with --from 64]")
@click.option("--learning-rate", type=float, help="Its highest value in training.  [default: 0.2; with --from 0.03]")
@SEED
@options([*SMALL.values(), *FROM.values()])
@DEVICE
@click.pass_context
def train(
    context: click.Context,
    /,
    images: GivenImages | None,
    split: str,
    test_images: str | None,
    test_split: str,
    out: Path,
    overwrite: bool,
    start: str | None,
    resize: int | None,
    crop: int | None,
    device: str | None,
    **given: Any,
) -> None:
    """Train a classifier, robust to small perturbations, and say what it is worth for masks.

    Without --from a small network from scratch, for small images; with it any pretrained one, for photographs. Options
    from --scenes to --stem-stride are of the small network, from --weights to --resume of the other.
    """
    from salient_imagenet_data.builder.training.run import check_state
    from salient_imagenet_data.networks.devices import check_device
    from salient_imagenet_data.networks.saving import check_out

    others = SMALL if start is not None else FROM
    for option in context.command.params:
        if option.name in others and context.get_parameter_source(option.name) is not ParameterSource.DEFAULT:
            what = "is of a small network from scratch" if start is not None else "goes with --from"
            raise click.UsageError(f"{option.opts[0]} {what}")
    if start is not None and images is None:
        raise click.UsageError("--from needs --images FOLDER")
    goes_on = start is not None and check_state(out, given["resume"], overwrite)
    check_out(out, overwrite or goes_on)
    on = check_device(device)
    recipe = {k: v for k, v in given.items() if k not in others and not (k in BOTH and v is None)}
    test = (images or GivenImages("")).at(test_images) if test_images is not None else None
    if start is not None:
        assert images is not None
        _further(start, images, split, test, test_split, out, goes_on, resize, crop, on, recipe)
    else:
        _small(images, split, test, test_split, out, resize, crop or 32, on, recipe)


def _small(
    images: GivenImages | None,
    split: str,
    test_images: GivenImages | None,
    test_split: str,
    out: Path,
    resize: int | None,
    crop: int,
    device: str,
    given: dict[str, Any],
) -> None:
    """A small network from scratch, of images that fit in memory."""
    from salient_imagenet_data.builder.train import TrainConfig, load_images
    from salient_imagenet_data.builder.train import train as train_model
    from salient_imagenet_data.builder.worth import check_test_classes, worth
    from salient_imagenet_data.geometry import Preprocessing
    from salient_imagenet_data.networks.smallnet import save_smallnet
    from salient_imagenet_data.scenes import SceneSource

    scenes, seed, correlation = (given.pop(name) for name in ("scenes", "scene_seed", "correlation"))
    if (images is None) == (scenes is None):
        raise click.UsageError("give either --images FOLDER or --scenes NUMBER")
    config = TrainConfig(widths=numbers(given.pop("widths"), int, "--widths"), **given)
    preprocessing = Preprocessing(resize or crop, crop)
    source: ImageSource = (
        images.source(split) if images is not None else SceneSource(scenes or 1, seed=seed, correlation=correlation)
    )
    test = None if test_images is None else test_images.source(test_split)
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
        device,
        lambda epoch, loss, left: tell(
            f"epoch {epoch}/{config.epochs}  loss {loss:.3f}" + (f"  {_duration(left)} left" if left else "")
        ),
    )
    save_smallnet(model, out)
    click.echo(f"wrote {out}")
    _tell_worth(worth(model, test_pixels, test_labels, config.epsilon or TrainConfig().epsilon, seen=test is None))


def _further(
    spec: str,
    images: GivenImages,
    split: str,
    test_images: GivenImages | None,
    test_split: str,
    out: Path,
    goes_on: bool,
    resize: int | None,
    crop: int | None,
    device: str,
    given: dict[str, Any],
) -> None:
    """A pretrained network, fine-tuned by one process or by those of torchrun."""
    from salient_imagenet_data.builder.strong_attack import autoattack_accuracy, check_autoattack
    from salient_imagenet_data.builder.train import load_images
    from salient_imagenet_data.builder.training.processes import joined
    from salient_imagenet_data.builder.training.recipe import Recipe, usual_radius
    from salient_imagenet_data.builder.training.run import make_robust
    from salient_imagenet_data.builder.training.starting import asked, start_from
    from salient_imagenet_data.builder.worth import MEASURED, check_test_classes, sample, worth
    from salient_imagenet_data.networks.openers.labels import read_labels

    weights, head, outputs, resume = (given.pop(name) for name in ("weights", "head", "outputs", "resume"))
    attacked, strongly = (given.pop(name) for name in ("attacked", "autoattack"))
    if strongly:
        check_autoattack()
    source = images.source(split)
    test = None if test_images is None else test_images.source(test_split)
    place = None if test is None else check_test_classes(test, source.class_names)
    named = read_labels(outputs) if outputs else None
    start = start_from(*asked(spec, weights), source.class_names, head=head, outputs=named, resize=resize, crop=crop)
    side = start.preprocessing.crop
    given["first_crop"] = given["first_crop"] or side
    given["precision"] = given["precision"] or ("float32" if device == "cpu" else "bfloat16")
    usual = usual_radius(given["norm"], side)
    given.setdefault("epsilon", usual)
    recipe = Recipe(crop=side, **given)
    radius = recipe.epsilon or usual

    def to_measure_on(images: ImageSource) -> tuple[Any, Any]:
        chosen = sample(len(images), MEASURED).tolist()
        pixels, labels, broken = load_images(images, start.preprocessing, which=chosen)
        tell(f"{len(pixels)} {'training' if images is source else 'test'} images, {len(broken)} unreadable")
        return pixels, labels

    with joined(device) as processes:
        say = tell if processes.first else (lambda line: None)
        say(f"{start.name}: head {start.head}; images {start.preprocessing}")
        say(f"{len(source)} images of {len(source.class_names)} classes; {recipe.norm} epsilon {recipe.epsilon:g}")
        tests = None if test is None or not processes.first else to_measure_on(test)  # now: they may not decode
        if resume and not goes_on:
            say(f"no earlier training of {out} to go on with; this one begins")
        make_robust(
            start,
            source,
            recipe,
            out,
            resume=goes_on,
            device=device,
            processes=processes,
            report=lambda e: say(
                f"epoch {e.number}/{recipe.epochs}  {e.side} pixels  loss {e.loss:.3f}  right {e.right:.3f}"
                + (f"  {e.unreadable} unreadable" if e.unreadable else "")
                + (f"  {_duration(e.left)} left" if e.left else "")
            ),
        )
        if not processes.first:
            return
        click.echo(f"wrote {out}")
        pixels, labels = tests or to_measure_on(source)
        labels = labels if place is None else place[labels]
        _tell_worth(
            worth(
                start.model.to(device),
                pixels,
                labels,
                radius,
                seen=test is None,
                attacked=attacked,
                batch_size=recipe.batch_size,
                norm=recipe.norm,
            )
        )
        if strongly:
            some = sample(len(pixels), strongly)
            share = autoattack_accuracy(
                start.model, pixels[some], labels[some], len(source.class_names), radius, recipe.norm
            )
            click.echo(f"accuracy under AutoAttack of {recipe.norm} radius {radius:g}, {len(some)} images: {share:.4f}")


def _tell_worth(found: Worth) -> None:
    for line in found.lines():
        click.echo(line, err=line.startswith("warning"))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
