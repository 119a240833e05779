"""The table of agreement: a line for each feature, written by `relevance` and read by what shows features. No torch."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.relevance.agreement import Agreement
from salient_imagenet_data.names import MANIFEST
from salient_imagenet_data.store.features import Feature
from salient_imagenet_data.store.manifest import Manifest, file_sha256
from salient_imagenet_data.store.reading import Store

JSON, TABLE = "relevance.json", "agreement.csv"
COLUMNS = (
    *("class_index", "class", "feature_index", "rank", "kind", "images"),
    *("correlation", "iou", "other_correlation", "other_iou", "gain_low", "gain_high", "low", "flag"),
)


@dataclass(frozen=True)
class Flag:
    """What the table says of a feature: over so many images, the rank correlation of its activation map with its unit's
    relevance, and with that of the class's other units, None where there is none; whether the first is low; and what to
    make of it, in words."""

    images: int
    correlation: float | None
    other: float | None
    low: bool
    words: str


@dataclass(frozen=True)
class Flags:
    """of: by class index and feature index. as_it_is: whether the store is as it was then, answers and all."""

    of: Mapping[tuple[int, int], Flag]
    as_it_is: bool

    def told(self, folder: Path, store: Store) -> str:
        """How many features they are about, in a line."""
        low = sum(flag.low for flag in self.of.values())
        then = "" if self.as_it_is else "; the store's manifest was another then"
        return (
            f"{folder}: relevance of {len(self.of)} of {len(store.features)} features, {low} with low agreement{then}"
        )


def same_network(details: Mapping[str, Any], manifest: Manifest) -> bool:
    """Whether a network of these details is the one that a store was built with."""
    mine = details.get("network_sha256")
    return details.get("weights_sha256") == manifest.weights_sha256 or (
        mine is not None and mine == manifest.network.get("network_sha256")
    )


def table_of(found: Iterable[tuple[Feature, Agreement]]) -> str:
    """The text of `TABLE`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for f, a in found:
        about = (f.class_index, f.class_name, f.feature_index, f.rank, f.kind or "")
        writer.writerow([*about, *_cells(a)])
    return text.getvalue()


def read_flags(folder: Path, store: Store) -> Flags:
    """What `relevance --out` found of a store's features; those of classes that it did not look at have none.

    Raises SalientError for a folder of anything else, or of other features than the store's.
    """
    about = _about(folder)
    if not same_network(about["network"], store.manifest):
        raise SalientError(
            f"{folder}: relevance of another network than the one that {store.path} was built with",
            got=str(about["network"].get("name")),
            then="run `salient-imagenet relevance` with the store's own",
        )
    features = {(f.class_name, f.feature_index): f for f in store.features}
    found = {}
    for number, row in _rows(folder / TABLE):
        feature = features.get((row["class"], int(row["feature_index"])))
        if feature is None or feature.rank != int(row["rank"]):
            raise SalientError(
                f"{folder / TABLE}: line {number} is of no feature of {store.path}",
                got=f"class {row['class']}, feature {row['feature_index']}, rank {row['rank']}",
                then="run `salient-imagenet relevance` on this store",
            )
        own, other = (float(row[name]) if row[name] else None for name in ("correlation", "other_correlation"))
        flag = Flag(int(row["images"]), own, other, row["low"] == "1", row["flag"])
        found[feature.class_index, feature.feature_index] = flag
    if not found:
        raise SalientError(f"{folder / TABLE}: no agreement in it", got="; ".join(map(str, about["notes"])))
    return Flags(found, about["store_sha256"] == file_sha256(store.path / MANIFEST))


def _about(folder: Path) -> dict[str, Any]:
    """What `JSON` says. Raises SalientError where it is none of ours."""
    path = folder / JSON
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SalientError(f"{path}: not what `relevance --out` writes", got=str(error)) from error
    if not isinstance(about, dict) or not {"network", "store_sha256", "notes"} <= about.keys():
        raise SalientError(f"{path}: not what `relevance --out` writes", expected="network, store_sha256 and notes")
    return about


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The lines of a table, each with its number and with numbers where they belong."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            names, rows = tuple(reader.fieldnames or ()), [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SalientError(f"{path}: not a table of agreement", got=str(error)) from error
    if names != COLUMNS:
        raise SalientError(f"{path}: not a table of agreement", expected=",".join(COLUMNS), got=",".join(names))
    for number, row in rows:
        if not _whole(row):
            raise SalientError(f"{path}: line {number} is damaged", expected=",".join(COLUMNS))
    return rows


def _whole(row: Mapping[str | None, Any]) -> bool:
    """Whether a line has all cells and no more, and numbers where they are read."""
    if None in row or None in row.values():
        return False
    counts = all(row[name].isdecimal() for name in ("feature_index", "rank", "images"))
    return counts and row["low"] in ("0", "1") and _number(row["correlation"]) and _number(row["other_correlation"])


def _number(text: str) -> bool:
    """Whether it is a number, or nothing."""
    try:
        return not text or math.isfinite(float(text))
    except ValueError:
        return False


def _cells(a: Agreement) -> list[str | int | bool]:
    estimates = (a.correlation, a.iou, a.other_correlation, a.other_iou)
    numbers = [f"{e.value:.4f}" if e.n else "" for e in estimates]
    gain = a.correlation_gain
    ends = [f"{end:.4f}" if gain.n else "" for end in (gain.low, gain.high)]
    return [a.correlation.n, *numbers, *ends, int(a.low), a.words]
