"""The commands that make a classifier rely less on spurious pixels: retrain-head, spufix, finetune."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from salient_imagenet_data.cli.commands import (
    ARCHITECTURE,
    DEVICE,
    FILE,
    FOLD,
    OUTPUTS,
    PLACE,
    READINGS,
    SEED,
    WORKERS,
    batch_size_option,
    cli,
    leave_out_option,
    left_out_of,
    numbers,
    options,
    settings_of,
    tell,
)
from salient_imagenet_data.cli.images import GivenImages, images_options
from salient_imagenet_data.evaluation.mitigation.choices import CHOICES, HEAD_METHODS, LOSSES, HeadName
from salient_imagenet_data.evaluation.saliency.methods import DEPTHS, METHODS
from salient_imagenet_data.loaders.augment.choices import BACKGROUNDS
from salient_imagenet_data.networks.classes import Reading

if TYPE_CHECKING:
    from salient_imagenet_data.evaluation.run.settings import Settings
    from salient_imagenet_data.folds import Fold
    from salient_imagenet_data.images.source import ImageSource
    from salient_imagenet_data.networks.classifiers import Classifier
    from salient_imagenet_data.store.reading import Store

_CHANGED = (
    click.argument("store"),
    images_options(required=True),
    click.option("--model", metavar="SPEC", help="timm:NAME, torchvision:NAME, hf:NAME or MODULE:FUNCTION."),
    click.option("--weights", help="A file or hf://owner/name/file. Alone: as of `train`, or of --architecture."),
    ARCHITECTURE,
    click.option("--class-names", "outputs", metavar="FILE", help=OUTPUTS),
    click.option("--out", type=FILE, required=True, help="Weights to write, .safetensors."),
    click.option("--overwrite", is_flag=True, help="Replace weights that are there."),
    FOLD,
    leave_out_option("Images that it learns nothing from"),
    WORKERS,
    click.option("--skip-missing", is_flag=True, help="Leave out images that are not there."),
    DEVICE,
)
_TRAINED = (
    click.option(
        "--classes", type=click.Choice(get_args(Reading)), default="all", help="Among what losses are: " + READINGS
    ),
    SEED,
)


READ_BY: dict[str, tuple[HeadName, ...]] = {
    "choice": ("spuriosity",),
    "most": ("spuriosity",),
    "decay": ("spuriosity", "jtt", "group-dro"),
    "rule": ("dfr", "jtt", "group-dro"),
    "penalties": ("dfr",),
    "upweights": ("jtt",),
    "adjustment": ("group-dro",),
}
"""The methods of `retrain-head` that read an option."""


def _of(option: str, words: str, usual: str) -> str:
    """An option's help: which methods read it, and what it is where it is not given."""
    return f"{words}  [{', '.join(READ_BY[option])}; default: {usual}]"


_changed = options(_CHANGED)
"""What a command needs that changes one network on a store's images."""
_network = options((*_CHANGED, *_TRAINED))
"""And one that trains it."""


@cli.command("retrain-head")
@_network
@click.option(
    "--method", type=click.Choice(HEAD_METHODS), default="spuriosity", help="How: on chosen images, or with groups."
)
@click.option("--choose", "choice", type=click.Choice(CHOICES), help=_of("choice", "Images of each class.", "least"))
@click.option("--most", type=click.IntRange(1), help=_of("most", "Images of a class, and at most half of them.", "100"))
@click.option("--decay", type=float, help=_of("decay", "How strongly the head is held where it was.", "0.001"))
@click.option(
    "--shown",
    "rule",
    metavar="SHARE|split",
    help=_of("rule", "Images of a class that show its cue, as of `groups`.", "0.5"),
)
@click.option(
    "--penalty",
    "penalties",
    metavar="C,...",
    help=_of("penalties", "Inverse of the l1 penalty, to choose from.", "1,0.7,0.3,0.1,0.07,0.03,0.01"),
)
@click.option(
    "--upweight",
    "upweights",
    metavar="N,...",
    help=_of("upweights", "How often an error counts, to choose from.", "4,6,20,50,100"),
)
@click.option(
    "--adjustment", type=click.FloatRange(0), help=_of("adjustment", "Of a group's loss: this / sqrt(images).", "0")
)
@batch_size_option(64)
def retrain_head(
    store: str,
    images: GivenImages,
    model: str | None,
    weights: str | None,
    architecture: str | None,
    outputs: str | None,
    classes: Reading,
    out: Path,
    overwrite: bool,
    fold: Fold,
    leave_out: Path | None,
    workers: int,
    seed: int,
    skip_missing: bool,
    device: str | None,
    method: HeadName,
    batch_size: int,
    **chosen: Any,
) -> None:
    """Fit a classifier's linear head anew, so that it leans less on what is spurious.

    `spuriosity` tunes it on the images of each class that show its spurious features least, `dfr` fits another on as
    many images of each group, `jtt` lets weigh more what the network has wrong, `group-dro` makes the loss of the worst
    group small. A group is the images of one class that show its cue, or that do not.
    """
    from salient_imagenet_data.evaluation.mitigation.heads.retrain import retrain_head as retrain
    from salient_imagenet_data.networks.saving import check_out, save_as_read
    from salient_imagenet_data.store.reading import Store

    how = _head_method(method, {name: value for name, value in chosen.items() if value is not None})
    check_out(out, overwrite)
    opened = Store(store)
    left_out = left_out_of(leave_out, opened)
    settings = settings_of(batch_size, workers, device, skip_missing, fold, left_out, seed=seed, classes=classes)
    classifier, source = inputs_of(opened, images, model, weights, architecture, outputs)
    network, fitted = retrain(classifier, opened, source, how, settings)
    save_as_read(network, out, model, classifier.class_names)
    _tell_left_out(opened, settings)
    before, after = fitted.loss
    click.echo(f"wrote {out}: loss {before:.4f} -> {after:.4f} on {fitted.images} images, {fitted.steps} steps")
    if fitted.note:
        click.echo(fitted.note)


def _head_method(name: HeadName, chosen: dict[str, Any]) -> Any:
    """The method of a name with the options that were given. Raises UsageError for one that the method does not
    read."""
    from salient_imagenet_data.evaluation.mitigation.heads.dfr import DFR
    from salient_imagenet_data.evaluation.mitigation.heads.group_dro import GroupDRO
    from salient_imagenet_data.evaluation.mitigation.heads.jtt import JTT
    from salient_imagenet_data.evaluation.mitigation.heads.least_spurious import Spuriosity
    from salient_imagenet_data.evaluation.numbers.groups import Rule

    methods: dict[HeadName, Any] = {"spuriosity": Spuriosity, "dfr": DFR, "jtt": JTT, "group-dro": GroupDRO}
    for option in chosen:
        if name not in READ_BY[option]:
            flag = {"choice": "choose", "rule": "shown", "penalties": "penalty", "upweights": "upweight"}
            raise click.UsageError(
                f"--{flag.get(option, option)} is read by --method {' and '.join(READ_BY[option])}, not by {name}"
            )
    for option in ("penalties", "upweights"):
        if option in chosen:
            chosen[option] = numbers(chosen[option], float, "--" + {"penalties": "penalty"}.get(option, "upweight"))
    if "rule" in chosen:
        chosen["rule"] = Rule.parse(chosen["rule"])
    return methods[name](**chosen)


@cli.command()
@_changed
@batch_size_option(64)
def spufix(
    store: str,
    images: GivenImages,
    model: str | None,
    weights: str | None,
    architecture: str | None,
    outputs: str | None,
    out: Path,
    overwrite: bool,
    fold: Fold,
    leave_out: Path | None,
    workers: int,
    skip_missing: bool,
    device: str | None,
    batch_size: int,
) -> None:
    """Take off the logit of each class what its spurious features add to it, without training."""
    from salient_imagenet_data.evaluation.mitigation.spufix import spufix as corrected
    from salient_imagenet_data.networks.saving import check_out, save_as_read
    from salient_imagenet_data.store.reading import Store

    check_out(out, overwrite)
    opened = Store(store)
    settings = settings_of(batch_size, workers, device, skip_missing, fold, left_out_of(leave_out, opened))
    classifier, source = inputs_of(opened, images, model, weights, architecture, outputs)
    network, taken = corrected(classifier, opened, source, settings=settings)
    save_as_read(network, out, model, classifier.class_names)
    _tell_left_out(opened, settings)
    if taken.without:
        tell(f"{taken.without} spurious features have no direction in this network, and are left as they are")
    click.echo(
        f"wrote {out}: {taken.directions} directions of {taken.classes} classes, found on {taken.images} images, whose "
        f"logits fall by {taken.loss:.4f} on average"
    )


@cli.command()
@_network
@click.option("--loss", type=click.Choice(LOSSES), default="energy", help="Guidance by the core masks.")
@click.option(
    "--loss-weight", "weight", type=click.FloatRange(0), default=10.0, help="Of it, beside the cross entropy."
)
@click.option(
    "--saliency",
    "method",
    type=click.Choice(METHODS),
    help="Of the losses on attributions.  [default: input_x_gradient]",
)
@click.option("--layer", help="Module to look at, or `image`.  [default: the last grid for grad_cam, else image]")
@click.option("--depth", type=click.Choice(DEPTHS), help="How deep to look, instead of naming a layer.")
@click.option(
    "--sweep",
    metavar="W,W,...",
    help="Choose the weight among these, by the accuracy on the least spurious of held-out images.",
)
@click.option(
    "--annotated-fraction",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    help="Share of each class's images whose mask is used, by a hash of their ids and the seed.",
)
@click.option(
    "--boxes",
    type=PLACE,
    help="Guide by people's boxes, as of `localise`, instead of the core masks.",
)
@click.option(
    "--augment", type=click.Choice(BACKGROUNDS), help="Change the background of half of the images that have a mask."
)
@click.option("--epochs", type=click.IntRange(1), default=1, help="How often each image is trained on.")
@click.option("--batch-size", type=click.IntRange(1), default=32, help="Images of a step of training.")
@click.option("--learning-rate", type=float, default=1e-4, help="Of training.")
@click.option("--weight-decay", type=click.FloatRange(0), default=1e-4, help="Of the weights in training.")
@click.option("--flip/--no-flip", default=True, help="Mirror half of the images.")
def finetune(
    store: str,
    images: GivenImages,
    model: str | None,
    weights: str | None,
    architecture: str | None,
    outputs: str | None,
    classes: Reading,
    out: Path,
    overwrite: bool,
    fold: Fold,
    leave_out: Path | None,
    workers: int,
    seed: int,
    skip_missing: bool,
    device: str | None,
    batch_size: int,
    sweep: str | None,
    boxes: Path | None,
    **recipe: Any,
) -> None:
    """Train a classifier further, guided to look at the core masks.

    What was done stands beside the weights: OUT.safetensors has OUT.finetune.json.
    """
    from salient_imagenet_data.errors import SalientError
    from salient_imagenet_data.evaluation.localisation.truth import read_truth
    from salient_imagenet_data.evaluation.mitigation.finetune import FinetuneConfig, finetune_on, found_for
    from salient_imagenet_data.evaluation.mitigation.record import check_record, write_record
    from salient_imagenet_data.evaluation.mitigation.sweep import check_sweep
    from salient_imagenet_data.evaluation.mitigation.sweep import sweep as choose
    from salient_imagenet_data.networks.saving import check_out, save_as_read
    from salient_imagenet_data.store.reading import Store

    def report(epoch: int, classified: float, guided: float) -> None:
        losses = f"cross entropy {classified:.4f}, {config.loss} {guided:.4f}"
        tell(f"epoch {epoch}/{config.epochs}  {losses}")

    check_out(out, overwrite)
    check_record(out, overwrite)
    config = FinetuneConfig(**recipe)
    grid = None if sweep is None else check_sweep(config.loss, numbers(sweep, float, "--sweep"))
    given = click.get_current_context().get_parameter_source("weight")
    if grid and given == click.core.ParameterSource.COMMANDLINE:
        raise SalientError("the weight is said twice", expected="--loss-weight or --sweep", got="both")
    truth = None if boxes is None else read_truth(boxes)
    opened = Store(store)
    left_out = left_out_of(leave_out, opened)
    settings = settings_of(batch_size, workers, device, skip_missing, fold, left_out, seed=seed, classes=classes)
    classifier, source = inputs_of(opened, images, model, weights, architecture, outputs)
    joined = found_for(classifier, opened, source, settings)
    chosen = None
    if grid:
        chosen = choose(classifier, joined, config, grid, settings, boxes=truth, report=lambda t: tell(t.words))
        config = dataclasses.replace(config, weight=chosen.chosen)
        tell(f"weight {config.weight:g} is taken, and the training done on all {len(joined)} images")
    network, done = finetune_on(classifier, joined, config, settings, boxes=truth, report=report)
    if done.annotation is not None:
        tell(done.annotation.words)
    save_as_read(network, out, model, classifier.class_names)
    _tell_left_out(opened, settings)
    write_record(out, joined, config, settings, done, boxes=boxes, sweep=chosen)
    click.echo(f"wrote {out}")


def _tell_left_out(store: Store, settings: Settings) -> None:
    """What the settings leave out, where it was asked for."""
    from salient_imagenet_data.evaluation.plan.plan import left_out_in

    if facts := left_out_in(store, settings.fold, settings.left_out):
        tell(facts.words)


def inputs_of(
    store: Store,
    images: GivenImages,
    model: str | None,
    weights: str | None,
    architecture: str | None,
    outputs: str | None,
) -> tuple[Classifier, ImageSource]:
    """The classifier, and the store's images."""
    from salient_imagenet_data.networks.classifiers import told
    from salient_imagenet_data.networks.opening import open_networks

    models, files, labels = (() if value is None else (value,) for value in (model, weights, outputs))
    (opener,) = open_networks(store, models, files, architecture, outputs=labels).values()
    classifier = opener()
    for line in told(classifier.details, classifier.preprocessing):
        tell(line)
    return classifier, images.of(store)
