"""The commands that hold a store's maps against people's boxes, and other methods' claims against its features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from salient_imagenet_data.cli.commands import FILE, cli, in_json

if TYPE_CHECKING:
    from salient_imagenet_data.store.reading import Store

BY_BOXES = click.option(
    "--boxes",
    type=click.Path(path_type=Path),
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
    type=click.Path(path_type=Path),
    required=True,
    help="CSV, Kaggle's LOC_*_solution.csv, COCO's JSON, a folder of ImageNet's XML, or a folder of mask PNGs.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every class and feature.")
def localise(store: str, boxes: Path, as_json: bool) -> None:
    """Measure how far core and spurious maps lie on the object, against boxes drawn by people. Needs no image.

    Mass inside: share of a map in the boxes. Lift: that over the share of the crop that the boxes are, 1 for a map that
    says nothing. Pointing: how often the maximum lies inside. IoU: at the best threshold.
    """
    from salient_imagenet_data.evaluation.localisation.localise import lines
    from salient_imagenet_data.evaluation.localisation.localise import localise as localise_store
    from salient_imagenet_data.evaluation.localisation.truth import read_truth
    from salient_imagenet_data.store.reading import Store

    found = localise_store(Store(store), read_truth(boxes))
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
