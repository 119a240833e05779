"""Tables of published results: CSV files as in the folder `results/` of timm's repository, a model a row.

    model,top1,top1_err,top5,top5_err,param_count,img_size,crop_pct,interpolation,top1_diff,top5_diff,rank_diff

`model`, `top1` (percent) and, where it is there, `img_size` are read; what was measured says the file's name:
`results-imagenet.csv`, `results-imagenet-a.csv`. The differences are worked out anew, by name. timm's `-clean` tables
are of the classes of ImageNet-A or -R in ImageNet itself. Nothing is downloaded: the files are the user's copies.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from salient_imagenet_data.errors import SalientError, many

PREFIX, CLEAN, BASE = "results-", "-clean", "imagenet"
WORDS = {
    BASE: "ImageNet",
    "imagenet-real": "ImageNet-ReaL",
    "imagenet-a": "ImageNet-A",
    "imagenet-r": "ImageNet-R",
    "sketch": "ImageNet-Sketch",
    "imagenetv2-matched-frequency": "ImageNetV2",
    "inv2-matched-frequency": "ImageNetV2",
}
"""What timm's files are of; other sets are called as the file."""


class Key(NamedTuple):
    """A model at an image size; size None where the table does not say it."""

    model: str
    size: int | None


@dataclass(frozen=True)
class Table:
    """A table that was read. of: "imagenet-a" of results-imagenet-a.csv. top1: share of images that are right, in
    [0, 1]. ambiguous: models that stand there twice at one size with different results, and are left out."""

    path: Path
    of: str
    top1: dict[Key, float]
    ambiguous: tuple[str, ...]


@dataclass(frozen=True)
class Shift:
    """A shifted test set beside what the same models do without the shift. name, against: of both in words. part:
    whether the latter is of the same classes. pairs: (clean, shifted) top-1 accuracy in [0, 1] by model and size, of
    those in both tables. only: how many models and sizes stand in the shifted table alone. ambiguous: as of `Table`, of
    either."""

    name: str
    against: str
    part: bool
    pairs: dict[Key, tuple[float, float]]
    only: int
    ambiguous: tuple[str, ...]


def read_table(path: Path) -> Table:
    """Read a table. Raises SalientError, naming file and line, for a name that does not say what was measured, for a
    file that is no such table, and for accuracies that are no percentages."""
    of = path.name.removesuffix(".csv").removeprefix(PREFIX)
    if not path.name.startswith(PREFIX) or not path.name.endswith(".csv") or not of:
        raise SalientError(
            f"{path}: the name does not say what was measured", expected="as timm's, such as results-imagenet-a.csv"
        )
    if not path.is_file():
        raise SalientError(f"{path}: no such file", expected="a table of timm's results")
    reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig", errors="replace"), newline=""))
    missing = [name for name in ("model", "top1") if name not in (reader.fieldnames or ())]
    if missing:
        raise SalientError(
            f"{path}: no column {missing[0]}",
            expected="model, top1 and, where a model stands there at several sizes, img_size",
            got=", ".join(reader.fieldnames or ())[:200] or "no header",
        )
    top1: dict[Key, float] = {}
    twice: dict[str, None] = {}
    for row in reader:
        place = f"{path}, line {reader.line_num}"
        key, value = _key(row, place), _share(row["top1"], place)
        if top1.setdefault(key, value) != value:
            twice[key.model] = None
    kept = {key: value for key, value in top1.items() if key.model not in twice}
    if not kept:
        raise SalientError(f"{path}: no results", expected="a model a row")
    return Table(path, of, kept, tuple(twice))


def _key(row: dict[str, str | None], place: str) -> Key:
    model, size = (row["model"] or "").strip(), (row.get("img_size") or "").strip()
    if not model:
        raise SalientError(f"{place}: no model")
    if size and not size.isdecimal():
        raise SalientError(f"{place}: img_size", expected="a whole number", got=size)
    return Key(model, int(size) if size else None)


def _share(text: str | None, place: str) -> float:
    try:
        percent = float(text or "")
    except ValueError:
        percent = -1.0
    if not 0.0 <= percent <= 100.0:  # NaN too
        raise SalientError(f"{place}: top1", expected="a percentage", got=repr(text))
    return percent / 100.0


def shifts(tables: Sequence[Table]) -> tuple[Shift, ...]:
    """Every shifted table beside the one without the shift: of the same classes, `-clean`, where it was given, else all
    of ImageNet. Models are joined by name and size.

    Raises SalientError where two tables are of one set, where nothing is shifted, and without what it would be held
    against.
    """
    by_set, by_name = dict[str, Table](), dict[str, Table]()
    for table in tables:
        name = _name(table)
        if name in by_name:
            raise SalientError(f"two tables of {name}", got=f"{by_name[name].path} and {table.path}")
        by_set[table.of] = by_name[name] = table
    shifted = [table for table in tables if table.of != BASE and not table.of.endswith(CLEAN)]
    if not shifted:
        raise SalientError(
            "no table of a shifted set among the results",
            expected="results-imagenet-a.csv, results-sketch.csv or the like",
            got=", ".join(by_set),
        )
    return tuple(_shift(table, by_set) for table in shifted)


def _name(table: Table) -> str:
    return WORDS.get(table.of, table.of)


def _shift(table: Table, by_set: dict[str, Table]) -> Shift:
    name = _name(table)
    own, base = by_set.get(table.of + CLEAN), by_set.get(BASE)
    clean = own or base
    if clean is None:
        raise SalientError(
            f"{table.path}: nothing without the shift to hold it against",
            expected=f"also {PREFIX}{BASE}.csv, or {PREFIX}{table.of}{CLEAN}.csv where the set has some classes only",
        )
    pairs = {key: (clean.top1[key], value) for key, value in table.top1.items() if key in clean.top1}
    if not pairs:
        raise SalientError(f"{table.path} and {clean.path} have no model at one size in common")
    against = f"the classes of {name} in ImageNet" if own else WORDS[BASE]
    ambiguous = tuple(dict.fromkeys((*clean.ambiguous, *table.ambiguous)))
    return Shift(name, against, own is not None, pairs, len(table.top1) - len(pairs), ambiguous)


def in_words(shift: Shift) -> str:
    """How many models two tables share, and what was left out."""
    words = f"{shift.name} against {shift.against}: {many(len(shift.pairs), 'model')} in both tables"
    if shift.only:
        words += f", {shift.only} only in that of {shift.name}"
    if shift.ambiguous:
        words += f", left out {many(len(shift.ambiguous), 'model')} with two results at one size"
    return words
