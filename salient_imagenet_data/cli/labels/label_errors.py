"""label-errors: images whose label may be wrong, as a list that other commands leave out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click
from click.core import ParameterSource

from salient_imagenet_data.cli.commands import (
    ARCHITECTURE,
    DEVICE,
    FILE,
    FOLD,
    JSON,
    OUTPUTS,
    WORKERS,
    batch_size_option,
    cli,
    in_json,
    leave_out_option,
    left_out_of,
    settings_of,
    tell,
)
from salient_imagenet_data.cli.images import IMAGES, GivenImages, images_options
from salient_imagenet_data.evaluation.labels.choices import DECAY, FOLDS, USUAL, Prune

if TYPE_CHECKING:
    from salient_imagenet_data.folds import Fold


ABOUT_IMAGES = (
    *("model", "weights", "architecture", "outputs", "folds", "decay", "fold"),
    *("batch_size", "workers", "skip_missing", "device"),
)
"""Options that say nothing beside a file of predictions."""


@cli.command("label-errors")
@click.argument("store")
@click.argument("predictions", type=FILE, required=False)
@images_options(help="Without predictions: the images, on which a head is fitted fold by fold. " + IMAGES)
@click.option("--model", metavar="SPEC", help="With --images: timm:NAME, torchvision:NAME, hf:NAME or MODULE:FUNCTION.")
@click.option("--weights", help="With --images: a file or hf://owner/name/file. Alone: as of `train`.")
@ARCHITECTURE
@click.option("--class-names", "outputs", metavar="FILE", help=OUTPUTS)
@click.option(
    "--folds",
    type=click.IntRange(2, 100),
    default=FOLDS,
    help="With --images: parts, each asked about by a head of the others.",
)
@click.option("--decay", type=float, default=DECAY, help="With --images: how strongly a head is held at zero.")
@click.option(
    "--prune",
    type=click.Choice(get_args(Prune)),
    default=USUAL,
    help="Whose labels are least likely: of each pair of classes, of each class, or by both.",
)
@leave_out_option("Images that are not asked about, such as those that the model was trained on")
@click.option("--out", type=FILE, help="CSV of the candidates to write: what --leave-out reads.")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
@FOLD
@batch_size_option(64)
@WORKERS
@click.option("--skip-missing", is_flag=True, help="Leave out, and count, images not there or not decoding.")
@DEVICE
@JSON
def label_errors_command(
    store: str,
    predictions: Path | None,
    images: GivenImages | None,
    model: str | None,
    weights: str | None,
    architecture: str | None,
    outputs: str | None,
    folds: int,
    decay: float,
    prune: Prune,
    leave_out: Path | None,
    out: Path | None,
    overwrite: bool,
    fold: Fold,
    batch_size: int,
    workers: int,
    skip_missing: bool,
    device: str | None,
    as_json: bool,
) -> None:
    """List images whose label may be wrong, by confident learning on probabilities that are out of sample.

    These are a file of predictions of a model that was not trained on the images (`evaluate --top-k 0`), or, with
    --images and a network, those of linear heads that are fitted fold by fold. A candidate is for a person to look at;
    strike from the file those whose label is right before anything is left out.
    """
    from salient_imagenet_data.errors import SalientError
    from salient_imagenet_data.evaluation.labels.answered import from_predictions
    from salient_imagenet_data.evaluation.labels.candidates import label_errors
    from salient_imagenet_data.evaluation.run.predictions import read_predictions
    from salient_imagenet_data.evaluation.score.records import to_json
    from salient_imagenet_data.store.reading import Store
    from salient_imagenet_data.whole_file import check_new, write_text

    if out is not None:
        check_new(out, overwrite)
    if (predictions is None) == (images is None):
        raise SalientError("probabilities", expected="either a file of predictions, or --images with a network")
    if predictions is not None:
        context = click.get_current_context()
        for option in context.command.params:
            if option.name in ABOUT_IMAGES and context.get_parameter_source(option.name) is not ParameterSource.DEFAULT:
                raise SalientError(
                    f"{option.opts[0]}: is about --images", then="leave it out, or the file of predictions"
                )
        opened = Store(store)
        left_out = left_out_of(leave_out, opened)
        answered = from_predictions(read_predictions(predictions, len(opened.class_names)), opened)
        found, facts = answered.without(left_out), left_out.facts(answered.image_ids)
        tell(f"out of sample only if the model was not trained on these images, of split {opened.manifest.split}")
    else:
        from salient_imagenet_data.cli.mitigate import inputs_of
        from salient_imagenet_data.evaluation.labels.crossed import cross_validated
        from salient_imagenet_data.evaluation.plan.plan import left_out_in

        assert images is not None
        opened = Store(store)
        left_out = left_out_of(leave_out, opened)
        settings = settings_of(batch_size, workers, device, skip_missing, fold, left_out)
        classifier, source = inputs_of(opened, images, model, weights, architecture, outputs)
        found = cross_validated(classifier, opened, source, folds, decay, settings)
        facts = left_out_in(opened, fold, left_out)
        tell("the heads are out of sample; the body of the network is only if it was not trained on these labels")
    if facts is not None:
        tell(facts.words)
    result = label_errors(found, opened.class_names, prune)
    if out is not None:
        write_text(out, result.table(opened.class_names))
        tell(f"wrote {out}: {len(result.candidates)} images")
    click.echo(in_json(to_json(result) | {"left_out": to_json(facts)}) if as_json else result.words(opened.class_names))
