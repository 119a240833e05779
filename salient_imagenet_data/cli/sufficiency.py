"""The commands of what suffices for an answer: sis, sis-retrain, certify."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from salient_imagenet_data.cli.commands import (
    DEVICE,
    FOLDER,
    JSON,
    PICTURE,
    SEED,
    WORKERS,
    batch_size_option,
    check_picture,
    cli,
    fold_of,
    in_json,
    left_out_of,
    numbers,
    settings_of,
    tell,
)
from salient_imagenet_data.cli.evaluate import models_options
from salient_imagenet_data.cli.images import GivenImages, images_options
from salient_imagenet_data.evaluation.sufficiency.choices import SELECTIONS, Choice

if TYPE_CHECKING:
    from salient_imagenet_data.evaluation.sufficiency.choices import Selection
    from salient_imagenet_data.folds import Fold


@cli.command()
@models_options
@click.option("--name", "names", multiple=True, help="What a model is called; one for each, in order.")
@click.option("--out", type=FOLDER, required=True, help="Folder for the orders; the same command goes on with it.")
@click.option("--overwrite", is_flag=True, help="Make orders again that --out holds.")
@click.option("--selection", type=click.Choice(SELECTIONS), default="gradient", help="How pixels are ordered.")
@click.option("--cell", type=click.IntRange(1), default=1, help="Side in pixels of what is masked as one.")
@click.option(
    "--step", type=click.IntRange(1), help="Masked at a time, of gradient.  [default: 100 of 299 x 299, in proportion]"
)
@click.option("--fill", metavar="R,G,B", help="Of masked pixels, in [0, 1].  [default: the mean of the images]")
@click.option("--wrong-class/--no-wrong-class", default=True, help="Also for a class that is not the answer.")
@click.option("--tau", type=float, default=0.9, help="Confidence that is sufficient.")
@click.option("--border", type=click.IntRange(1), help="Its width in pixels.  [default: holds 5 % of the pixels]")
@click.option("--ensemble", is_flag=True, help="Also all models as one.")
@click.option("--input-dropout", type=float, help="Also each model with this share of its input pixels dropped.")
@PICTURE
@batch_size_option(32)
@WORKERS
@SEED
def sis(
    store: str,
    images: GivenImages,
    models: tuple[str, ...],
    weights: tuple[str, ...],
    architecture: str | None,
    outputs: tuple[str, ...],
    names: tuple[str, ...],
    fold: Fold,
    leave_out: Path | None,
    out: Path,
    overwrite: bool,
    selection: Selection,
    cell: int,
    step: int | None,
    fill: str | None,
    wrong_class: bool,
    tau: float,
    border: int | None,
    ensemble: bool,
    input_dropout: float | None,
    picture: Path | None,
    overwrite_picture: bool,
    batch_size: int,
    workers: int,
    seed: int,
    skip_missing: bool,
    device: str | None,
    as_json: bool,
) -> None:
    """Find the few pixels that suffice classifiers for their answers, and where these lie."""
    from salient_imagenet_data.evaluation.sufficiency.figures import lines
    from salient_imagenet_data.evaluation.sufficiency.measure import Asked
    from salient_imagenet_data.evaluation.sufficiency.sis import sis as find
    from salient_imagenet_data.networks.opening import open_networks
    from salient_imagenet_data.store.reading import Store

    check_picture(picture, overwrite_picture)
    opened = Store(store)
    left_out = left_out_of(leave_out, opened)
    source = images.of(opened)
    colour: Any = None if fill is None else numbers(fill, float, "--fill")
    choice, asked = Choice(selection, cell, step, colour, wrong_class), Asked(tau, border)
    settings = settings_of(batch_size, workers, device, skip_missing, fold, left_out, seed=seed)
    found = find(
        open_networks(opened, models, weights, architecture, names=names or None, outputs=outputs),
        opened,
        source,
        out,
        choice,
        asked,
        settings,
        ensemble=ensemble,
        input_dropout=input_dropout,
        overwrite=overwrite,
        report=tell,
    )
    if as_json:
        click.echo(in_json({name: figures.to_json() for name, (_, figures) in found.items()}))
    else:
        click.echo("\n\n".join(lines(name, figures) for name, (_, figures) in found.items()))
    if picture is not None:
        from salient_imagenet_data.evaluation.sufficiency.picture import save_sheet

        tell(save_sheet(next(iter(found.values()))[0], opened, source, tau, picture))


@cli.command("sis-retrain")
@click.argument("store")
@click.argument("orders", type=FOLDER)
@images_options(required=True)
@click.option("--share", type=float, default=0.05, help="Of the pixels that are shown.")
@click.option("--border", type=click.IntRange(1), help="Its width in pixels.  [default: holds 5 % of the pixels]")
@click.option(
    "--test-fold",
    default="1/5",
    metavar="N/M",
    callback=lambda context, parameter, text: fold_of(text),
    help="Part N of M of the images to test on; the others are trained on.",
)
@click.option("--epochs", type=click.IntRange(1), default=6, help="How often each image is trained on.")
@click.option("--batch-size", type=click.IntRange(1), default=128, help="Images of a step of training.")
@click.option("--learning-rate", type=float, default=0.2, help="Its highest value in training.")
@click.option("--widths", default="32,64,128", help="Channels of the stages of the network.")
@click.option("--stem-stride", type=click.IntRange(1, 2), default=1, help="2 halves the resolution at once.")
@SEED
@DEVICE
@JSON
def sis_retrain(
    store: str,
    orders: Path,
    images: GivenImages,
    share: float,
    border: int | None,
    test_fold: Fold,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    widths: str,
    stem_stride: int,
    seed: int,
    device: str | None,
    as_json: bool,
) -> None:
    """Train new classifiers on nothing but the pixels that were masked last, and on as many others.

    ORDERS is a classifier's folder below `sis --out`.
    """
    from salient_imagenet_data.evaluation.sufficiency.orders import read_orders
    from salient_imagenet_data.evaluation.sufficiency.retrain import RECIPE, retrain
    from salient_imagenet_data.networks.devices import check_device
    from salient_imagenet_data.store.reading import Store

    opened = Store(store)
    config = replace(
        RECIPE,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        widths=numbers(widths, int, "--widths"),
        stem_stride=stem_stride,
        seed=seed,
    )
    found = retrain(
        read_orders(orders),
        opened,
        images.of(opened),
        config,
        share=share,
        border_pixels=border,
        test=test_fold,
        device=check_device(device),
        report=tell if as_json else click.echo,
    )
    if as_json:
        click.echo(in_json([each.to_json() for each in found]))


@cli.command()
@models_options
@click.option("--name", "names", multiple=True, help="What a model is called; one for each, in order.")
@click.option("--alpha", type=float, default=0.9, help="Share of the whole image's probability that certifies.")
@click.option("--threshold", type=float, default=0.5, help="Of the masks: pixels that reach it are shown.")
@click.option("--fill", default="fill_gray", help="What hides the other pixels: a corruption of `evaluate`.")
@click.option("--steps", type=click.IntRange(0), default=8, help="Of the search for masks as large; 0: no search.")
@click.option(
    "--grid",
    type=click.IntRange(1),
    help="Cells a side of masks that are searched.  [default: of the store's maps]",
)
@PICTURE
@batch_size_option(32)
@WORKERS
@SEED
def certify(
    store: str,
    images: GivenImages,
    models: tuple[str, ...],
    weights: tuple[str, ...],
    architecture: str | None,
    outputs: tuple[str, ...],
    names: tuple[str, ...],
    fold: Fold,
    leave_out: Path | None,
    alpha: float,
    threshold: float,
    fill: str,
    steps: int,
    grid: int | None,
    picture: Path | None,
    overwrite_picture: bool,
    batch_size: int,
    workers: int,
    seed: int,
    skip_missing: bool,
    device: str | None,
    as_json: bool,
) -> None:
    """Measure whether the pixels of core and spurious masks alone make classifiers answer the class.

    Completeness: p(class, mask alone) / p(class, whole image), at most 1. A mask certifies at alpha if that is at least
    alpha; a wrong class is held to the same bar. Beside each: another image's mask, as many pixels elsewhere, and as
    many searched for, for the class and against it.
    """
    from salient_imagenet_data.evaluation.certificates.certify import certify as certify_model
    from salient_imagenet_data.evaluation.certificates.choices import Asked
    from salient_imagenet_data.evaluation.certificates.figures import lines
    from salient_imagenet_data.evaluation.certificates.picture import save_sheet
    from salient_imagenet_data.networks.classifiers import told
    from salient_imagenet_data.networks.opening import open_networks
    from salient_imagenet_data.store.reading import Store

    check_picture(picture, overwrite_picture)
    opened = Store(store)
    left_out = left_out_of(leave_out, opened)
    source = images.of(opened)
    asked = Asked(alpha, threshold, fill, steps, grid)
    settings = settings_of(batch_size, workers, device, skip_missing, fold, left_out, seed=seed)
    results = {}
    for name, opener in open_networks(
        opened, models, weights, architecture, names=names or None, outputs=outputs
    ).items():
        classifier = replace(opener(), name=name)
        for line in told(classifier.details, classifier.preprocessing):
            tell(line)
        results[name] = certify_model(classifier, opened, source, asked, settings, report=tell)
        if picture is not None and len(results) == 1:
            tell(save_sheet(classifier, opened, source, asked, settings, picture))
    if as_json:
        click.echo(in_json({name: found.to_json() for name, found in results.items()}))
    else:
        click.echo("\n\n".join(lines(name, found) for name, found in results.items()))
