"""leaderboard: the reports of a folder in one page, beside published results of the same models."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from salient_imagenet_data.cli.commands import FILE, FOLDER, JSON, cli, in_json, tell
from salient_imagenet_data.evaluation.numbers.choices import Scale


@cli.command()
@click.argument("folder", type=FOLDER)
@click.option("--out", type=FILE, help="Page to write.  [default: leaderboard.html in the folder]")
@click.option(
    "--results",
    type=FILE,
    multiple=True,
    help="Table of published results, named as in timm's results/; repeat: results-imagenet.csv and shifted sets.",
)
@click.option(
    "--as",
    "same_as",
    multiple=True,
    metavar="OURS=NAME",
    help="A model of the folder is this one of the tables, by timm's name; repeat for several.",
)
@click.option("--scale", type=click.Choice(get_args(Scale)), default="logit", help="On which lines are fitted.")
@click.option(
    "--line-of", multiple=True, metavar="PATTERN", help="Only models of such names make lines, as '*.a1_in1k'."
)
@click.option("--hub", type=FOLDER, help="Folder for evaluation results as the Hub reads them; nothing is uploaded.")
@click.option(
    "--dataset", metavar="ORG/NAME[@COMMIT]", help="With --hub: the data set on the Hub that holds the masks."
)
@click.option("--source", metavar="URL", help="With --hub: where the evaluation can be read, such as the report.")
@JSON
def leaderboard(
    folder: Path,
    out: Path | None,
    results: tuple[Path, ...],
    same_as: tuple[str, ...],
    scale: Scale,
    line_of: tuple[str, ...],
    hub: Path | None,
    dataset: str | None,
    source: str | None,
    as_json: bool,
) -> None:
    """Merge the reports at and below a folder into one sortable page, beside published results where they are given.

    With --hub also a file for the repository of each model, .eval_results/NAME.yaml, and eval.yaml for that of the data
    set.
    """
    from salient_imagenet_data.errors import SalientError, many
    from salient_imagenet_data.evaluation.published.printing import lines as in_lines
    from salient_imagenet_data.evaluation.published.robustness import fit_lines
    from salient_imagenet_data.evaluation.published.tables import read_table, shifts
    from salient_imagenet_data.evaluation.report.hub_results import (
        check_hub_results,
        hub_results,
        on_hub,
        write_hub_results,
    )
    from salient_imagenet_data.evaluation.report.leaderboard import PAGE, boards, read_summaries, write_page
    from salient_imagenet_data.pictures.page import check_page

    if not folder.is_dir():
        raise SalientError(f"{folder}: not a folder", expected="a folder with report.json files at or below it")
    if not results and (same_as or line_of):
        raise SalientError("--as and --line-of say how published results are read", then="give --results")
    if (hub is None) != (dataset is None) or (source is not None and hub is None):
        raise SalientError("results for the Hub", expected="--hub and --dataset, and --source only beside them")
    there = None if dataset is None else on_hub(dataset, source)
    path = out or folder / PAGE
    lines = fit_lines(shifts([read_table(table) for table in results]), scale, line_of) if results else None
    check_page(path)
    tables = boards(read_summaries(folder), lines, _pairs(same_as))
    if hub is not None and there is not None:
        files = hub_results(tables, there)
        check_hub_results(files, hub)  # all that may be refused, before the page is written
    write_page(tables, path)
    if hub is not None and there is not None:
        write_hub_results(files, hub)
        tell(f"wrote {hub}: evaluation results of {many(len(files) - 1, 'model')}, for the Hub")
    wrote = f"wrote {path}: {sum(len(board.rows) for board in tables)} models"
    if as_json:
        tell(wrote)
        click.echo(in_json([board.to_json() for board in tables]))
        return
    click.echo(wrote)
    for board in tables:
        if board.published is not None:
            click.echo(f"\n{board.store.name}")
            click.echo(in_lines(board.published))


def _pairs(texts: tuple[str, ...]) -> dict[str, str]:
    from salient_imagenet_data.errors import SalientError

    found: dict[str, str] = {}
    for text in texts:
        ours, _, name = text.rpartition("=")
        if not ours or not name:
            raise click.BadParameter(f"expected OURS=NAME, got {text!r}", param_hint="--as")
        if found.setdefault(ours, name) != name:
            raise SalientError(f"--as {ours}: said twice", expected="one of them", got=f"{found[ours]} and {name}")
    return found
