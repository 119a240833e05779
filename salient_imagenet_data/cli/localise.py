"""The commands that hold a store's maps against people's boxes and against relevance, and other methods' claims against
its features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from salient_imagenet_data.cli.commands import (
    ARCHITECTURE,
    DEVICE,
    FILE,
    FOLD,
    FOLDER,
    JSON,
    LEAVE_OUT,
    OUTPUTS,
    PLACE,
    SEED,
    WORKERS,
    batch_size_option,
    cli,
    in_json,
    left_out_of,
    settings_of,
    tell,
)
from salient_imagenet_data.cli.images import GivenImages, images_options
from salient_imagenet_data.cli.mitigate import inputs_of
from salient_imagenet_data.evaluation.relevance.choices import BYS, RULES

if TYPE_CHECKING:
    from salient_imagenet_data.evaluation.relevance.choices import By, Rules
    from salient_imagenet_data.folds import Fold
    from salient_imagenet_data.store.reading import Store

BY_BOXES = click.option(
    "--boxes",
    type=PLACE,
    help="People's boxes, as of `localise`: first what lies most against its answer, or off the object.",
)


def by_boxes(store: Store, boxes: Path | None) -> dict[tuple[int, int], str] | None:
    """The order in which people look at a store's features, by what `BY_BOXES` gave; None without."""
    if boxes is None:
        return None
    from salient_imagenet_data.evaluation.localisation.localise import doubtful_first
    from salient_imagenet_data.evaluation.localisation.localise import localise as localise_store
    from salient_imagenet_data.evaluation.localisation.truth import read_truth

    return doubtful_first(localise_store(store, read_truth(boxes)))


@cli.command()
@click.argument("store")
@click.option(
    "--boxes",
    type=PLACE,
    required=True,
    help="CSV, Kaggle's LOC_*_solution.csv, COCO's JSON, a folder of ImageNet's XML, or a folder of mask PNGs.",
)
@LEAVE_OUT
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every class and feature.")
def localise(store: str, boxes: Path, leave_out: Path | None, as_json: bool) -> None:
    """Measure how far core and spurious maps lie on the object, against boxes drawn by people. Needs no image.

    Mass inside: share of a map in the boxes. Lift: that over the share of the crop that the boxes are, 1 for a map that
    says nothing. Pointing: how often the maximum lies inside. IoU: at the best threshold.
    """
    from salient_imagenet_data.evaluation.localisation.localise import lines
    from salient_imagenet_data.evaluation.localisation.localise import localise as localise_store
    from salient_imagenet_data.evaluation.localisation.truth import read_truth
    from salient_imagenet_data.store.reading import Store

    opened = Store(store)
    found = localise_store(opened, read_truth(boxes), left_out_of(leave_out, opened))
    click.echo(in_json(found.to_json()) if as_json else lines(found))


@cli.command("score-discovery")
@click.argument("store")
@click.argument("claims", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every feature and claim.")
def score_discovery(store: str, claims: Path, as_json: bool) -> None:
    """Measure how much of what people called spurious another method finds, by region and by words. Needs no image.

    CLAIMS: a CSV `class,claim,words,image,left,top,right,bottom,mask`, or a JSON list of claims. The same claims
    assigned to other classes are the control.
    """
    from salient_imagenet_data.evaluation.claims.printing import lines
    from salient_imagenet_data.evaluation.claims.reading import read_claims
    from salient_imagenet_data.evaluation.claims.scoring import score_discovery as score
    from salient_imagenet_data.store.reading import Store

    found = score(Store(store), read_claims(claims))
    click.echo(in_json(found.to_json()) if as_json else lines(found))


@cli.command()
@click.argument("store")
@images_options(required=True)
@click.option("--model", metavar="SPEC", help="timm:NAME, torchvision:NAME or MODULE:FUNCTION.")
@click.option("--weights", help="A file or hf://owner/name/file. Alone: as of `train`, or of --architecture.")
@ARCHITECTURE
@click.option("--class-names", "outputs", metavar="FILE", help=OUTPUTS)
@click.option("--class", "classes", multiple=True, help="Only this class, by its name; repeat for several.")
@click.option("--out", type=FOLDER, help="Folder for a page with pictures, a JSON, a table and the maps.")
@click.option(
    "--per-class", type=click.IntRange(2), default=100, help="Images of each class, at most, drawn at random."
)
@click.option(
    "--by", type=click.Choice(BYS), default="units", help="What images are alike in: where relevance is, or of what."
)
@click.option(
    "--clusters", type=click.IntRange(2), help="So many clusters.  [default: by the largest gap of eigenvalues]"
)
@click.option("--rules", type=click.Choice(RULES), default="epsilon_plus_flat", help="How relevance is handed back.")
@FOLD
@LEAVE_OUT
@click.option("--skip-missing", is_flag=True, help="Leave out, and count, images not there or not decoding.")
@batch_size_option(16)
@WORKERS
@SEED
@DEVICE
@JSON
def relevance(
    store: str,
    images: GivenImages,
    model: str | None,
    weights: str | None,
    architecture: str | None,
    outputs: str | None,
    classes: tuple[str, ...],
    out: Path | None,
    per_class: int,
    by: By,
    clusters: int | None,
    rules: Rules,
    fold: Fold,
    leave_out: Path | None,
    skip_missing: bool,
    batch_size: int,
    workers: int,
    seed: int,
    device: str | None,
    as_json: bool,
) -> None:
    """Find where to look in a class without masks: which units have its relevance, and what sorts of maps it has.

    Clusters nominate units to look at first. With the store's own network also whether each feature's activation map
    is where its relevance comes from.
    """
    from salient_imagenet_data.evaluation.relevance.printing import lines
    from salient_imagenet_data.evaluation.relevance.records import Asked
    from salient_imagenet_data.evaluation.relevance.relevance import relevance as find
    from salient_imagenet_data.evaluation.relevance.writing import check_folder, write
    from salient_imagenet_data.store.reading import Store

    if out is not None:
        check_folder(out)
    opened = Store(store)
    left_out = left_out_of(leave_out, opened)
    settings = settings_of(batch_size, workers, device, skip_missing, fold, left_out, seed=seed)
    classifier, source = inputs_of(opened, images, model, weights, architecture, outputs)
    asked = Asked(rules, by, clusters, per_class)
    found = find(classifier, opened, source, classes, asked, settings, tell)
    if out is not None:
        tell(f"wrote {write(found, out, opened, source, classifier.preprocessing or opened.manifest.preprocessing)}")
    click.echo(in_json(found.to_json()) if as_json else lines(found))
