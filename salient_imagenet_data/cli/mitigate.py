"""The commands that make a classifier rely less on spurious pixels: retrain-head, finetune."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from salient_imagenet_data.cli.commands import DEVICE, FILE, IMAGES, check_device, check_out, cli
from salient_imagenet_data.cli.evaluate import FOLD, SALIENCY, openers_of

if TYPE_CHECKING:
    from torch import nn

    from salient_imagenet_data.evaluation.models import Classifier
    from salient_imagenet_data.store import Store

# Spelled out, because the rooms are imported inside the functions; a test compares them.
LOSSES = ("none", "energy", "l1", "ppce", "rrr_star", "rrr", "grad_mask", "act_diff", "corm")
CHOICES = ("least", "random", "most")

_NETWORK = (
    click.argument("store"),
    click.option("--images", required=True, help=IMAGES),
    click.option("--model", metavar="SPEC", help="timm:NAME, torchvision:NAME, hf:NAME or MODULE:FUNCTION."),
    click.option("--weights", help="A file or hf://owner/name/file. Alone: as of `train`, or of --architecture."),
    click.option("--architecture", help="Network of --weights alone: resnet50, torchvision:NAME or timm:NAME."),
    click.option("--out", type=FILE, required=True, help="Weights to write, .safetensors."),
    click.option("--overwrite", is_flag=True, help="Replace weights that are there."),
    FOLD,
    click.option("--workers", type=click.IntRange(0), default=0, help="Processes that read images."),
    click.option("--seed", type=click.IntRange(0), default=0),
    click.option("--skip-missing", is_flag=True, help="Leave out images that are not there."),
    DEVICE,
)


def _network(command: Any) -> Any:
    """What a command needs that changes one network on a store's images."""
    for option in reversed(_NETWORK):
        command = option(command)
    return command


@cli.command("retrain-head")
@_network
@click.option("--choose", type=click.Choice(CHOICES), default="least", help="Of each class, by spuriosity.")
@click.option("--most", type=click.IntRange(1), default=100, help="Images of a class, and at most half of them.")
@click.option("--decay", type=float, default=1e-3, help="How strongly the head is held where it was.")
@click.option("--batch-size", type=click.IntRange(1), default=64)
def retrain_head(
    store: str,
    images: str,
    model: str | None,
    weights: str | None,
    architecture: str | None,
    out: Path,
    overwrite: bool,
    fold: str,
    workers: int,
    seed: int,
    skip_missing: bool,
    device: str | None,
    choose: Any,
    most: int,
    decay: float,
    batch_size: int,
) -> None:
    """Fit a classifier's linear head anew on the images of each class that show its spurious features least."""
    from salient_imagenet_data.evaluation.heads import retrain_head as retrain
    from salient_imagenet_data.evaluation.protocols import rows_in
    from salient_imagenet_data.folds import Fold
    from salient_imagenet_data.sources import open_source
    from salient_imagenet_data.store import Store

    check_out(out, overwrite)
    opened = Store(store)
    classifier = _classifier(model, weights, architecture, opened)
    network, fitted = retrain(
        classifier,
        opened,
        open_source(images, opened.manifest.split),
        choice=choose,
        most=most,
        decay=decay,
        rows=rows_in(opened, Fold.parse(fold)),
        seed=seed,
        batch_size=batch_size,
        workers=workers,
        missing="skip" if skip_missing else "error",
        device=check_device(device),
    )
    _save(network, out, model)
    before, after = fitted.loss
    click.echo(f"wrote {out}: loss {before:.4f} -> {after:.4f} on {fitted.images} images, {fitted.steps} steps")


@cli.command()
@_network
@click.option("--loss", type=click.Choice(LOSSES), default="energy", help="Guidance by the core masks.")
@click.option(
    "--loss-weight", "weight", type=click.FloatRange(0), default=10.0, help="Of it, beside the cross entropy."
)
@click.option(
    "--saliency",
    "method",
    type=click.Choice(SALIENCY),
    help="Of the losses on attributions.  [default: input_x_gradient]",
)
@click.option("--layer", help="Module to look at, or `image`.  [default: the last grid for grad_cam, else image]")
@click.option("--epochs", type=click.IntRange(1), default=1)
@click.option("--batch-size", type=click.IntRange(1), default=32)
@click.option("--learning-rate", type=float, default=1e-4)
@click.option("--weight-decay", type=click.FloatRange(0), default=1e-4)
@click.option("--flip/--no-flip", default=True, help="Mirror half of the images.")
def finetune(
    store: str,
    images: str,
    model: str | None,
    weights: str | None,
    architecture: str | None,
    out: Path,
    overwrite: bool,
    fold: str,
    workers: int,
    skip_missing: bool,
    device: str | None,
    **options: Any,
) -> None:
    """Train a classifier further, guided to look at the core masks."""
    from salient_imagenet_data.evaluation.finetune import FinetuneConfig
    from salient_imagenet_data.evaluation.finetune import finetune as train_further
    from salient_imagenet_data.evaluation.protocols import rows_in
    from salient_imagenet_data.folds import Fold
    from salient_imagenet_data.sources import open_source
    from salient_imagenet_data.store import Store

    check_out(out, overwrite)
    config, opened = FinetuneConfig(**options), Store(store)
    network = train_further(
        _classifier(model, weights, architecture, opened),
        opened,
        open_source(images, opened.manifest.split),
        config,
        rows=rows_in(opened, Fold.parse(fold)),
        workers=workers,
        missing="skip" if skip_missing else "error",
        device=check_device(device),
        report=lambda epoch, classified, guided: click.echo(
            f"epoch {epoch}/{config.epochs}  cross entropy {classified:.4f}, {config.loss} {guided:.4f}", err=True
        ),
    )
    _save(network, out, model)
    click.echo(f"wrote {out}")


def _classifier(model: str | None, weights: str | None, architecture: str | None, store: Store) -> Classifier:
    models, files = (() if value is None else (value,) for value in (model, weights))
    (opener,) = openers_of(models, files, architecture, store, model_frame=True).values()
    return opener()


def _save(network: nn.Module, out: Path, model: str | None) -> None:
    """Write a network as the file that it could have been read from: `--model` or `--architecture` stay the same."""
    from salient_imagenet_data.builder.model import ImageClassifier, SmallNetModel, save_smallnet
    from salient_imagenet_data.checkpoint import save_network
    from salient_imagenet_data.evaluation.models import OPENERS, Normalised

    own = model is not None and model.partition(":")[0] not in OPENERS  # a function's network is read as it is
    if not own and isinstance(network, SmallNetModel):
        save_smallnet(network, out)
    elif not own and isinstance(network, (ImageClassifier, Normalised)):
        save_network(network.net, out, network.mean, network.std)
    else:
        save_network(network, out)
