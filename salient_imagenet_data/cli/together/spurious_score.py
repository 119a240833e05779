"""The command spurious-score."""

from __future__ import annotations

from typing import get_args

import click

from salient_imagenet_data.cli.commands import (
    ARCHITECTURE,
    DEVICE,
    OUTPUTS,
    READINGS,
    batch_size_option,
    cli,
    in_json,
    tell,
)
from salient_imagenet_data.cli.images import IMAGES, GivenImages, images_options
from salient_imagenet_data.networks.classes import Reading


@cli.command("spurious-score")
@images_options(required=True, help="Images of the classes. " + IMAGES)
@click.option("--split", default="val", help="Split of the images.")
@click.option("--spurious", required=True, help="Images of spurious features, in folders of the classes they are of.")
@click.option("--model", "models", multiple=True, metavar="SPEC", help="Model to ask; may be given several times.")
@click.option("--weights", multiple=True, help="One for each --model, or alone: as of `train`, or of --architecture.")
@ARCHITECTURE
@click.option("--class-names", "outputs", metavar="FILE", help=OUTPUTS)
@click.option(
    "--classes", type=click.Choice(get_args(Reading)), default="all", help="Among what answers are: " + READINGS
)
@batch_size_option(64)
@click.option("--workers", type=click.IntRange(1), default=2, help="Threads that read images.")
@DEVICE
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, by model.")
def spurious_score(
    images: GivenImages,
    split: str,
    spurious: str,
    models: tuple[str, ...],
    weights: tuple[str, ...],
    architecture: str | None,
    outputs: str | None,
    classes: Reading,
    batch_size: int,
    workers: int,
    device: str | None,
    as_json: bool,
) -> None:
    """Measure how well a classifier tells images of a class from images that only show its spurious feature.

    Of the probability of the class, as area under the ROC curve and as average precision, 1 for a classifier that is
    not misled, averaged over the classes that --spurious has folders of.
    """
    from salient_imagenet_data.evaluation.run.settings import Settings
    from salient_imagenet_data.evaluation.spurious_score import spurious_score as measured
    from salient_imagenet_data.evaluation.spurious_score import table
    from salient_imagenet_data.networks.classifiers import told
    from salient_imagenet_data.networks.devices import check_device
    from salient_imagenet_data.networks.opening import classifiers_of

    own, others = images.source(split), images.at(spurious).source(split)
    openers = classifiers_of(own.class_names, models, weights, architecture, outputs=(outputs,) if outputs else ())
    settings = Settings(batch_size, workers, device=check_device(device), classes=classes)
    scores = []
    for opener in openers.values():
        classifier = opener()
        for line in told(classifier.details, classifier.preprocessing):
            tell(line)
        scores.append(measured(classifier, own, others, settings=settings))
    by_name = {score.model["name"]: score.to_json() for score in scores}
    click.echo(in_json(by_name) if as_json else table(scores))
