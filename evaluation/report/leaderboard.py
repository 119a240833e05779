"""One static page over many evaluations: a sortable table for each store. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.numbers.estimates import Estimate
from salient_imagenet_data.evaluation.plan.vocabulary import BY_KEY, better, corrupted_words, corruption_words
from salient_imagenet_data.evaluation.published.joining import check_same_as
from salient_imagenet_data.evaluation.published.robustness import (
    Lines,
    OfModel,
    Published,
    published,
)
from salient_imagenet_data.evaluation.report.answer import short_names
from salient_imagenet_data.evaluation.report.page import REPORT_JSON, ROOM
from salient_imagenet_data.evaluation.score.records import plain
from salient_imagenet_data.evaluation.score.results import FAMILY, ModelResult, StoreFacts, Summary
from salient_imagenet_data.pictures.page import check_page, render
from salient_imagenet_data.whole_file import write_text

PAGE = "leaderboard.html"


@dataclass(frozen=True)
class Cell:
    """A figure of a model. beside: words that stand under it, or ""."""

    estimate: Estimate
    beside: str = ""


@dataclass(frozen=True)
class Row:
    """A model's figures by column. shown: its name as short as tells it from the others of the board. frame: that it
    saw images in another frame than its own, in words, or ""."""

    name: str
    shown: str
    cells: dict[str, Cell]
    frame: str = ""


@dataclass(frozen=True)
class Board:
    """One table: a store, the columns, and models sorted by the first of them. published: what tables of published
    results say of them; None where none were given."""

    store: StoreFacts
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    published: Published | None = None

    @property
    def measured(self) -> tuple[str, ...]:
        """The columns that were measured on the store; effective robustness is of other people's tables."""
        return tuple(c for c in self.columns if c.partition(",")[0] != BY_KEY["effective_robustness"].name)

    def to_json(self) -> dict[str, Any]:
        """All of it, JSON-ready."""
        found: dict[str, Any] = plain(self)
        return found


def read_summaries(folder: Path) -> dict[str, Summary]:
    """The evaluations in the .json files at and below a folder, by file. Files that do not say that they are one, and
    hidden folders, are passed over.

    Raises SalientError, naming the file, for an evaluation, or a report.json, that is no JSON or has fields that cannot
    be, and for a folder without an evaluation.
    """
    found = {}
    for path in sorted(folder.rglob("*.json")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts[:-1]):
            continue
        raw = path.read_bytes()
        if path.name != REPORT_JSON and FAMILY.encode() not in raw:
            continue
        try:
            content = json.loads(raw.decode())
        except (ValueError, RecursionError) as error:
            raise SalientError(f"{path}: not JSON", got=str(error)) from error
        if isinstance(content, dict) and str(content.get("format", "")).startswith(FAMILY):
            found[str(path)] = Summary.from_json(content, str(path))
    if not found:
        raise SalientError(
            f"{folder}: no evaluation in it", expected="report.json files", then="run `salient-imagenet evaluate --out`"
        )
    return found


def boards(
    summaries: Mapping[str, Summary], lines: Lines | None = None, same_as: Mapping[str, str] | None = None
) -> list[Board]:
    """One table a store (its weights, annotations and split) and fold. summaries: by file. Several evaluations of one
    model, under other protocols or conditions, are merged. lines: of published results; same_as: which of them are of
    which of our models, where the user says so (`evaluation.published`).

    Raises SalientError, naming both files, where one store has two different results of one model, and for names in
    `same_as` that there are not.
    """
    if lines is not None:
        ours = tuple(dict.fromkeys(model.name for summary in summaries.values() for model in summary.models))
        check_same_as(same_as or {}, ours, lines.shifts)
    stores: dict[tuple[object, ...], StoreFacts] = {}
    models: dict[tuple[object, ...], dict[str, tuple[str, ModelResult]]] = {}
    for file, summary in summaries.items():
        key = summary.store.identity
        stores.setdefault(key, summary.store)
        rows = models.setdefault(key, {})
        for model in summary.models:
            before, merged = rows.get(model.name, (file, model))
            both = merge(merged, model)
            if both is None:
                raise SalientError(
                    f"two different results of {model.name} on {summary.store.name}",
                    got=f"{before} and {file}",
                    then="keep one of them",
                )
            rows[model.name] = (before, both)
    return [
        _board(stores[key], [model for _, model in rows.values()], lines, same_as or {}) for key, rows in models.items()
    ]


def merge(first: ModelResult, second: ModelResult) -> ModelResult | None:
    """Two evaluations of one model as one; None where they contradict each other. Other protocols may look at other
    images: the clean accuracy is then of the larger part."""
    same = all(getattr(first, part) == getattr(second, part) for part in ("name", "model", "seed", "fold", "left_out"))
    if not same or (first.images == second.images and first.clean_accuracy != second.clean_accuracy):
        return None
    first, second = (first, second) if first.images >= second.images else (second, first)
    conditions = {c.name: c for c in first.conditions}
    claims = {c.name: c for c in first.controls}
    if any(conditions.setdefault(c.name, c) != c for c in second.conditions):
        return None
    for claim in second.controls:
        if claims.setdefault(claim.name, claim).drop != claim.drop:
            return None
    ratios = {**second.ratios, **first.ratios}
    gap = first.spurious_gap or second.spurious_gap
    return replace(
        first,
        conditions=tuple(conditions.values()),
        controls=tuple(claims.values()),
        ratios=ratios,
        spurious_gap=gap,
        groups=first.groups or second.groups,
        feature_gaps=first.feature_gaps if len(first.feature_gaps) >= len(second.feature_gaps) else second.feature_gaps,
    )


def _board(store: StoreFacts, models: Sequence[ModelResult], lines: Lines | None, same_as: Mapping[str, str]) -> Board:
    names = [model.name for model in models]
    shown = zip(names, short_names(names), models, strict=True)
    rows = [Row(name, short, cells(model), model.frame) for name, short, model in shown]
    columns = tuple(dict.fromkeys(column for row in rows for column in row.cells))
    said = None
    if lines is not None:
        ours = {c: {row.name: row.cells[c].estimate.value for row in rows if c in row.cells} for c in columns}
        said = published({model.name: model.model for model in models}, ours, lines, same_as)
        for row in rows:
            row.cells.update(_published_cells(said.joined.get(row.name)))
        columns = tuple(dict.fromkeys(column for row in rows for column in (*columns, *row.cells)))
    rows.sort(key=lambda row: (-row.cells[columns[0]].estimate.value, row.name))
    return Board(store, columns, tuple(rows), said)


def _published_cells(model: OfModel | None) -> dict[str, Cell]:
    """Effective robustness by column, on the sets that have the model."""
    found = {}
    for name, on in model.on.items() if model else ():
        words = f"{on.shifted:.3f}, {on.expected:.3f} expected of {on.clean:.3f}"
        found[f"{BY_KEY['effective_robustness'].name}, {name}"] = Cell(on.effective, words)
    return found


def cells(model: ModelResult) -> dict[str, Cell]:
    """A model's figures by column."""
    found = {BY_KEY["clean_accuracy"].name: Cell(model.clean_accuracy)}
    found |= {condition.figure: Cell(condition.accuracy) for condition in model.conditions if condition.claim}
    for claim in model.controls:
        if claim.random is not None:
            what = corrupted_words(claim.corruption, claim.region)
            found[f"{BY_KEY['excess'].name}, {what}"] = Cell(claim.random.excess)
    for ratio, rows in model.ratios.items():
        for row in rows:
            if not row.control:
                found[f"{ratio.upper()}, {corruption_words(row.corruption)}"] = Cell(row.ratio, row.sides)
    if model.spurious_gap is not None:
        found[BY_KEY["spurious_gap"].name] = Cell(model.spurious_gap)
    if model.groups is not None:
        found |= {BY_KEY[key].name: Cell(figure) for key, figure in model.groups.named.items()}
    return found


def write_leaderboard(
    folder: Path, out: Path, lines: Lines | None = None, same_as: Mapping[str, str] | None = None
) -> list[Board]:
    """Write the page over all evaluations below `folder`; returns what is on it. lines, same_as: as of `boards`.

    Raises SalientError if a page that we did not make stands at `out`.
    """
    check_page(out)
    tables = boards(read_summaries(folder), lines, same_as)
    write_page(tables, out)
    return tables


def write_page(tables: Sequence[Board], out: Path) -> None:
    """Write the page of some boards. Raises SalientError if a page that we did not make stands at `out`."""
    check_page(out)
    write_text(out, render(ROOM, "leaderboard.html", boards=tables, better=better))
