"""overlap: whether classifiers fail on the same images."""

from __future__ import annotations

from pathlib import Path

import click

from salient_imagenet_data.cli.commands import FILE, JSON, LEAVE_OUT, cli, in_json, left_out_of, tell


@cli.command()
@click.argument("store")
@click.argument("predictions", type=FILE, nargs=-1, required=True)
@click.option(
    "--condition", "conditions", multiple=True, metavar="NAME", help="Only this, as clean or noise_0.25@core; repeat."
)
@click.option("--picture", type=FILE, help="SVG to write: a matrix of the models for each condition.")
@click.option("--overwrite-picture", is_flag=True, help="Replace a picture that is there.")
@LEAVE_OUT
@JSON
def overlap(
    store: str,
    predictions: tuple[Path, ...],
    conditions: tuple[str, ...],
    picture: Path | None,
    overwrite_picture: bool,
    leave_out: Path | None,
    as_json: bool,
) -> None:
    """Tell whether classifiers fail on the same images, clean and with core or spurious pixels corrupted."""
    from salient_imagenet_data.evaluation.failures.overlap import overlaps
    from salient_imagenet_data.evaluation.failures.picture import matrices
    from salient_imagenet_data.evaluation.failures.printing import lines
    from salient_imagenet_data.evaluation.run.predictions import read_predictions
    from salient_imagenet_data.store.reading import Store
    from salient_imagenet_data.whole_file import check_new, write_text

    if picture is not None:
        check_new(picture, overwrite_picture, ending=".svg", option="--picture", flag="--overwrite-picture")
    opened = Store(store)
    files = [read_predictions(path, len(opened.class_names)) for path in predictions]
    found = overlaps(files, opened, conditions, left_out_of(leave_out, opened))
    if picture is not None:
        write_text(picture, matrices(found))
        tell(f"wrote {picture}")
    click.echo(in_json(found.to_json()) if as_json else lines(found))
