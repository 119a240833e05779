"""The commands that make a store: build, sheets, apply."""

from __future__ import annotations

import shlex
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import click

from salient_imagenet_data.builder.choices import BASES, Decoder, Edition, GroupBy, Precision, Stage
from salient_imagenet_data.cli.building.network import GivenNetwork, network_options
from salient_imagenet_data.cli.building.running import GivenRun, run_options
from salient_imagenet_data.cli.commands import (
    ATTACK,
    FILE,
    FOLDER,
    READINGS,
    VERSION,
    attack_of,
    cli,
    leave_out_option,
    tell,
)
from salient_imagenet_data.cli.images import GivenImages, images_options, tell_classes
from salient_imagenet_data.cli.localise import BY_BOXES, by_boxes
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.networks.classes import Reading


@cli.command()
@images_options(required=True)
@click.option("--split", default="train", help="Split of the images, and its name in the store.")
@network_options
@click.option("--out", required=True, help="Store to write: a folder, or a URL of fsspec such as s3://bucket/store.")
@click.option("--annotations", help="File of answers, or `official`. Their pairs are the features; else the ranking's.")
@click.option("--pairs-of", metavar="STORE", help="Its pairs, and the answers about them, are the features.")
@click.option(
    "--trust-annotations", is_flag=True, help="Build although the answers or pairs look like another network's."
)
@click.option(
    "--basis",
    metavar="|".join(BASES),
    help="What features are: neurons of the network, principal components of each class's, or latents of a sparse "
    "autoencoder's file, .safetensors; with ,relu behind it where you know that it is a rectified one and it does not "
    "say so.  [default: neurons, or what those of --pairs-of are]",
)
@click.option("--edition", type=click.Choice(get_args(Edition)), default="full", help="All images, or top images only.")
@click.option("--group-by", type=click.Choice(get_args(GroupBy)), default="prediction", help="A class's images.")
@click.option(
    "--classes", type=click.Choice(get_args(Reading)), default="all", help="Among what predictions are: " + READINGS
)
@click.option("--top-features", type=click.IntRange(1), default=5, help="Features a class.")
@click.option("--top-images", type=click.IntRange(1), default=65, help="Images of a pair that count as its top.")
@click.option("--majority", type=click.IntRange(1), default=3, help="Answers that make a feature spurious.")
@click.option("--data-version", default="1.0.0", help=VERSION)
@click.option("--precision", type=click.Choice(get_args(Precision)), default="fp32", help="Of the network's layers.")
@click.option("--compile", "compiled", is_flag=True, help="Run the network through torch.compile.")
@click.option(
    "--decoder",
    type=click.Choice(get_args(Decoder)),
    default="pillow",
    help="Of images: the reference, a faster one, or the CUDA device.",
)
@leave_out_option("Images that no ranking counts and that are no feature's top image")
@click.option("--attacked", type=click.IntRange(0), default=64, help="Images to measure robustness on; 0: none.")
@click.option("--stop-after", type=click.Choice(get_args(Stage)), default="maps", help="Last stage.")
@run_options
@click.option("--resume", is_flag=True, help="Go on with a build that was stopped.")
@click.option("--overwrite", is_flag=True, help="Replace a store that is there.")
def build(
    images: GivenImages,
    network: GivenNetwork,
    given: GivenRun,
    out: str,
    annotations: str | None,
    pairs_of: str | None,
    trust_annotations: bool,
    basis: str | None,
    stop_after: Any,
    resume: bool,
    overwrite: bool,
    leave_out: Path | None,
    **options: Any,
) -> None:
    """Build a store: features, ranking and maps of every image. Under torchrun, on several GPUs."""
    from salient_imagenet_data.annotation.official import annotations_of
    from salient_imagenet_data.annotation.restricting import of_classes
    from salient_imagenet_data.builder.build import build_until
    from salient_imagenet_data.builder.config import BuildConfig
    from salient_imagenet_data.builder.finish import fewer_features, predicted_outside, without_features
    from salient_imagenet_data.images.source import id_chunks
    from salient_imagenet_data.networks.classifiers import told
    from salient_imagenet_data.networks.openers.published import check_answers
    from salient_imagenet_data.ranking.left_out import NOTHING, LeftOut, LeftOutFacts
    from salient_imagenet_data.store.reading import Store

    if annotations and pairs_of:
        raise click.UsageError("give --annotations or --pairs-of, not both")
    if annotations == "official" and not trust_annotations:
        check_answers(network.weights)
    source = images.source(options["split"])
    runner, on = given.runner(), given.on()
    if network.probe is not None:
        if runner.leader:
            here = given.here()
            size = given.batch(here, (network.preprocessing or Preprocessing()).crop)
            network.fit(source, BuildConfig(batch_size=size, **options), given.config(here))
        runner.wait()
        network = network.fitted()
    left_out = NOTHING
    if leave_out is not None:
        left_out = LeftOut.read(leave_out).among(chain.from_iterable(id_chunks(source)), str(images), tell)
    model, sha256 = network.open(source.class_names)
    assert model.class_map is not None
    unnamed = model.class_map.by == "position"
    if unnamed:
        tell_classes(source)
    details = {k: v for k, v in model.details.items() if k != "classes" or not unnamed}
    for line in told(details, model.preprocessing):
        tell(line)
    known = None
    if annotations:
        restricted = of_classes(annotations_of(annotations, tell), source.class_names)
        known = restricted.annotations
        if line := restricted.line():
            tell(line)
    store = build_until(
        source,
        model,
        out,
        stop_after=stop_after,
        weights_sha256=sha256,
        annotations=known,
        pairs_of=Store(pairs_of) if pairs_of else None,
        basis=basis,
        config=BuildConfig(batch_size=given.batch(on, model.preprocessing.crop), **options),
        run=given.config(on, check_annotations=not trust_annotations),
        engine=runner,
        resume=resume,
        overwrite=overwrite,
        left_out=left_out,
    )
    if not runner.leader:
        return
    if store is None:
        click.echo(f"stopped after {stop_after}; go on with the same command and --resume")
        return
    m = store.manifest
    click.echo(f"wrote {out}: {m.images} images, {len(store.features)} features, {m.quarantined} images in quarantine")
    if m.left_out:
        tell(LeftOutFacts(**m.left_out).words + ", of ranking and top images")
    few = fewer_features(store, options["top_features"])
    for line in filter(None, (predicted_outside(store), without_features(store), few)):
        tell(line)
    if m.annotations_sha256 is None:
        click.echo("next: " + shlex.join(["salient-imagenet", "label", out, *images.options()]))


@cli.command()
@click.argument("store")
@images_options(required=True)
@click.option("--out", type=FOLDER, required=True, help="Folder for the sheets.")
@ATTACK
@BY_BOXES
def sheets(
    store: str,
    images: GivenImages,
    out: Path,
    attack: str | None,
    architecture: str | None,
    boxes: Path | None,
    device: str | None,
) -> None:
    """Draw what each feature shows, one PNG a class, and an answers.csv to fill in."""
    from salient_imagenet_data.annotation.sheets import write_sheets
    from salient_imagenet_data.store.reading import Store

    opened = Store(store)
    order = by_boxes(opened, boxes)
    attacks = attack_of(opened, attack, architecture, device)
    paths = write_sheets(opened, images.of(opened), out, attack=attacks, order=order)
    click.echo(f"wrote {len(paths)} sheets and answers.csv to {out}")


@cli.command()
@click.argument("store")
@click.argument("answers", type=FILE, required=False)
@click.option("--majority", type=click.IntRange(1), default=3, help="Answers that make a feature spurious.")
@click.option("--data-version", help=VERSION + "  [default: as it is]")
def apply(store: str, answers: Path | None, majority: int, data_version: str | None) -> None:
    """Call a store's features core or spurious, from people's answers. No map is rebuilt.

    ANSWERS: a CSV or Parquet file, or the file of `label`; without it, the one that lies beside the store.
    """
    from salient_imagenet_data.annotation.applying import annotate, changes, place_to_annotate
    from salient_imagenet_data.annotation.files import read_annotations
    from salient_imagenet_data.annotation.restricting import of_classes
    from salient_imagenet_data.app.label.schema import is_database
    from salient_imagenet_data.store.reading import Store

    place_to_annotate(store)
    opened = Store(store)
    if answers is None or is_database(answers):
        from salient_imagenet_data.app.label.book import read_book
        from salient_imagenet_data.app.label.desk import identity_of, unknown_in
        from salient_imagenet_data.app.label.exporting import annotations_in
        from salient_imagenet_data.app.label.opening import place_of_answers

        ledger = read_book(place_of_answers(store, answers), identity_of(opened))
        if line := unknown_in(ledger, opened):
            tell(line)
        read = annotations_in(ledger, opened)
    else:
        read = read_annotations(answers)
    if read.unanswered:
        tell(f"{read.unanswered} rows of {answers} have no answer and are left out")
    restricted = of_classes(read, opened.class_names)
    if line := restricted.line():
        tell(line)
    annotated = annotate(store, restricted.annotations, majority=majority, data_version=data_version)
    if line := changes(opened.features, annotated.features).line():
        tell(line)
    kinds = [feature.kind for feature in annotated.features]
    click.echo(f"{kinds.count('core')} core, {kinds.count('spurious')} spurious, {kinds.count(None)} without answers")
