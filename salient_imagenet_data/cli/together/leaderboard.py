"""leaderboard: the reports of a folder in one page."""

from __future__ import annotations

from pathlib import Path

import click

from salient_imagenet_data.cli.commands import FILE, FOLDER, cli


@cli.command()
@click.argument("folder", type=FOLDER)
@click.option("--out", type=FILE, help="Page to write.  [default: leaderboard.html in the folder]")
def leaderboard(folder: Path, out: Path | None) -> None:
    """Merge the reports at and below a folder into one sortable page."""
    from salient_imagenet_data.errors import SalientError
    from salient_imagenet_data.evaluation.report.leaderboard import PAGE, write_leaderboard

    if not folder.is_dir():
        raise SalientError(f"{folder}: not a folder", expected="a folder with report.json files at or below it")
    path = out or folder / PAGE
    click.echo(f"wrote {path}: {write_leaderboard(folder, path)} models")
