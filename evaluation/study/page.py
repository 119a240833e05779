"""The report of a study: a JSON of everything, the chart, and one HTML page that needs nothing else. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.score.records import plain
from salient_imagenet_data.evaluation.study.chart import chart
from salient_imagenet_data.evaluation.study.measures import BY_KEY
from salient_imagenet_data.evaluation.study.plan import Plan
from salient_imagenet_data.evaluation.study.rows import Row
from salient_imagenet_data.evaluation.study.sayings import sayings, verdict
from salient_imagenet_data.evaluation.study.tables import (
    OfMethod,
    Ordering,
    agreements,
    methods_in,
    name_of,
    orderings,
    starts_of,
)
from salient_imagenet_data.evaluation.study.words import COLUMNS, cells, title
from salient_imagenet_data.pictures.page import check_page, render
from salient_imagenet_data.ranking.left_out import LeftOutFacts
from salient_imagenet_data.whole_file import write_text

ROOM = "salient_imagenet_data.evaluation.study"
REPORT_JSON, REPORT_PAGE, CHART = "study.json", "index.html", "study.svg"


@dataclass(frozen=True)
class Study:
    """All that a study says. about: plan and images. starts: the networks that all methods began with. treatments:
    methods at their weights. headline: as of `orderings`. agreement: by key of a measure and of
    another, the rank correlation between them, None where there is none. failed: treatments that could not be used,
    each with its network and why."""

    about: dict[str, Any]
    starts: tuple[str, ...]
    treatments: tuple[str, ...]
    headline: tuple[Ordering, ...]
    methods: tuple[OfMethod, ...]
    agreement: dict[str, dict[str, float]]
    failed: tuple[tuple[str, str, str], ...]
    counts: dict[str, tuple[int, int]]
    rows: tuple[Row, ...]

    @property
    def left_out(self) -> str:
        """What counts for nothing, in words; "" where nothing was asked for."""
        given = self.about.get("left_out")
        return LeftOutFacts(**given).words if given else ""

    @property
    def judged(self) -> bool:
        """Whether the truth is known."""
        return any(row.truth for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, with null where there is no value."""
        return plain(self)


def study_of(rows: Sequence[Row], plan: Plan, about: Mapping[str, Any]) -> Study:
    """Of the rows of a study. counts: the least and the most over rows. Raises SalientError where no method worked."""
    if all(row.failed for row in rows):
        got = f"{len(rows)} that could not be used, the first for: {rows[0].failed}" if rows else "none"
        raise SalientError("nothing was measured", expected="a method that can be used", got=got)
    there, table = agreements(rows)
    agreement = {
        a.key: {b.key: float(v) for b, v in zip(there, line, strict=True)} for a, line in zip(there, table, strict=True)
    }
    worked = [row for row in rows if not row.failed]
    names = dict.fromkeys(name for row in worked for name in row.counts)
    counts = {name: (min(r.counts[name] for r in worked), max(r.counts[name] for r in worked)) for name in names}
    return Study(
        {"plan": asdict(plan), **about},
        starts_of(rows),
        tuple(dict.fromkeys(map(name_of, rows))),
        tuple(orderings(rows)),
        tuple(methods_in(rows)),
        agreement,
        tuple((row.start, name_of(row), row.failed) for row in rows if row.failed),
        counts,
        tuple(rows),
    )


def write_study(study: Study, folder: Path) -> Path:
    """Write study.json, study.svg, where there is a truth, and index.html into `folder`; returns the page's path.
    Raises SalientError if a page that we did not make is there."""
    check_page(folder / REPORT_PAGE)
    write_text(folder / REPORT_JSON, json.dumps(study.to_json(), indent=1, allow_nan=False) + "\n")
    drawn = chart(study.headline) if study.headline else ""
    if drawn:
        write_text(folder / CHART, drawn + "\n")
    values = {
        "chart": drawn,
        "verdict": verdict(study.headline),
        "columns": COLUMNS,
        "cells": cells,
        "title": title,
        "measures": BY_KEY,
    }
    values["sayings"] = sayings(study.headline, study.methods)
    write_text(folder / REPORT_PAGE, render(ROOM, "study.html", study=study, **values))
    return folder / REPORT_PAGE
