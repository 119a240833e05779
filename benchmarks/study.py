"""Writes the tables of docs/study.md and its chart from what `study` has found.

    salient-imagenet study --out /tmp/study/scenes
    salient-imagenet study val_store --images imagenette ... --out /tmp/study/own
    python benchmarks/study.py --scenes /tmp/study/scenes --own /tmp/study/own

Nothing is measured here: a figure of the page is one of `study.json`. Without --own that part of the page stays.
"""

from __future__ import annotations

import json
import shutil
import textwrap
from pathlib import Path

import click
import numpy as np

from salient_imagenet_data.evaluation.score.records import from_json
from salient_imagenet_data.evaluation.study.page import CHART, REPORT_JSON
from salient_imagenet_data.evaluation.study.rows import Row
from salient_imagenet_data.evaluation.study.sayings import sayings, verdict
from salient_imagenet_data.evaluation.study.tables import agreements, methods_in, orderings, starts_of
from salient_imagenet_data.evaluation.study.words import headline, methods
from salient_imagenet_data.whole_file import write_text

DOCS = Path(__file__).parents[1] / "docs"


def rows_of(folder: Path) -> list[Row]:
    """Of a study."""
    data = json.loads((folder / REPORT_JSON).read_text(encoding="utf-8"))
    return [from_json(Row, row, REPORT_JSON) for row in data["rows"]]


def between(page: Path, mark: str, text: str) -> None:
    """Put text into a page between two marks."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(f"<!-- {mark} -->\n")
    _, end, after = rest.partition(f"<!-- end of {mark} -->\n")
    if not end:
        raise click.ClickException(f"{page}: no place for {mark}")
    write_text(page, f"{before}{begin}\n{text}\n{end}{after}")


def wrapped(saying: str) -> str:
    """A point of a list, in lines of the page's length."""
    return textwrap.fill(saying, 120, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)


def counted(rows: list[Row]) -> str:
    """How much the tables are of."""
    images, treated = rows[0].counts["images"], len({(r.method, r.weight) for r in rows})
    return f"{len(starts_of(rows))} networks, {treated} treatments of each, {images} test images."


def agreement(rows: list[Row]) -> str:
    """Markdown: which measures agree with which most, and least, without a truth."""
    there, table = agreements(rows)
    lines = ["| measure | as accuracy orders them | most alike | most unlike |", "| --- | ---: | --- | --- |"]
    for place, measure in enumerate(there):
        others = [other for other in range(len(there)) if other != place and not np.isnan(table[place, other])]
        plain = "" if np.isnan(table[place, 0]) else f"{table[place, 0]:.2f}"
        ends = (
            [max(others, key=lambda o: table[place, o]), min(others, key=lambda o: table[place, o])] if others else []
        )
        told = [f"{there[o].title} ({table[place, o]:.2f})" for o in ends] or ["", ""]
        lines.append(f"| {measure.title} | {plain} | {' | '.join(told)} |")
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--scenes", type=click.Path(path_type=Path, file_okay=False), required=True, help="Of the scenes.")
@click.option("--own", type=click.Path(path_type=Path, file_okay=False), help="Of a store without a truth.")
def main(scenes: Path, own: Path | None) -> None:
    """Write the tables into the pages."""
    rows = rows_of(scenes)
    found = orderings(rows)
    told = "\n".join(map(wrapped, [verdict(found), *sayings(found, methods_in(rows))]))
    between(DOCS / "study.md", "headline", f"{counted(rows)}\n\n{headline(found)}")
    between(DOCS / "study.md", "sayings", f"{told}\n")
    between(DOCS / "study.md", "methods", methods(methods_in(rows)))
    shutil.copyfile(scenes / CHART, DOCS / CHART)
    if own is not None:
        rows = rows_of(own)
        between(DOCS / "study.md", "own", f"{agreement(rows)}\n{methods(methods_in(rows))}")


if __name__ == "__main__":
    main()
