"""People's answers about (class, feature) pairs, and what the majority makes of them.

Two CSV layouts are read into one table. Ours: `annotator, class_name, class_index, feature_index,
feature_rank, answer, confidence, reason`. The official one of 2022: `WorkerId, Input.wordnet_id,
Input.class_index, Input.feature_index, Input.feature_rank, Answer.main, Answer.confidence, Answer.reasons`.
Parquet files with either set of columns are read as well.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow.parquet as pq

from salient_imagenet_data.annotation.answers import COLUMNS, OFFICIAL_COLUMNS, Answer
from salient_imagenet_data.annotation.verdicts import Annotations
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.names import (
    ANSWERS,
)


def read_annotations(path: str | Path) -> Annotations:
    """Read a CSV or Parquet file of answers. Raises SalientError naming file and row (1 is the first answer)."""
    path = Path(path)
    if not path.is_file():
        raise SalientError(f"{path}: no such file", expected="a CSV or Parquet file of answers")
    data = path.read_bytes()
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        columns, rows = table.column_names, table.to_pylist()
    else:
        try:
            reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
            columns, rows = list(reader.fieldnames or ()), list(reader)
        except (UnicodeDecodeError, csv.Error) as error:
            raise SalientError(f"{path}: not a CSV file", got=str(error)) from error
    return Annotations(check_answers(_rows(columns, rows, str(path)), str(path)), hashlib.sha256(data).hexdigest())


def write_annotations(path: str | Path, answers: Iterable[Answer]) -> None:
    """Write answers in our CSV layout."""
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([getattr(answer, column) for column in COLUMNS] for answer in answers)


def check_answers(answers: Iterable[Answer], name: str) -> tuple[Answer, ...]:
    """Check what no single row can show: one answer a person and pair, one rank a pair and one pair a rank."""
    seen: dict[tuple[str, int, int], int] = {}
    ranks: dict[tuple[int, int], int] = {}
    owners: dict[tuple[int, int], int] = {}
    result = tuple(answers)
    for row, answer in enumerate(result, start=1):
        place = f"{name}, row {row}"
        key = (answer.annotator, answer.class_index, answer.feature_index)
        if key in seen:
            raise SalientError(
                f"{place}: second answer of {answer.annotator} for class {key[1]}, feature {key[2]}",
                got=f"the first in row {seen[key]}",
                then="keep one of the two",
            )
        seen[key] = row
        rank = ranks.setdefault((answer.class_index, answer.feature_index), answer.feature_rank)
        owner = owners.setdefault((answer.class_index, answer.feature_rank), answer.feature_index)
        if rank != answer.feature_rank or owner != answer.feature_index:
            raise SalientError(
                f"{place}: rank {answer.feature_rank} of class {key[1]} does not belong to feature {key[2]}",
                got=f"rank {rank} for this feature, feature {owner} at this rank, in rows above",
            )
    if not result:
        raise SalientError(f"{name}: no answers", expected="at least one row")
    return result


def _rows(columns: list[str], rows: list[dict[str, object]], name: str) -> Iterable[Answer]:
    for layout in (COLUMNS, OFFICIAL_COLUMNS):
        if set(layout) <= set(columns):
            break
    else:
        raise SalientError(
            f"{name}: columns of no known layout",
            expected=f"{', '.join(COLUMNS)} (or the official names: {', '.join(OFFICIAL_COLUMNS)})",
            got=", ".join(columns) or "no header",
        )
    for number, row in enumerate(rows, start=1):
        yield _parse(dict(zip(COLUMNS, (row[c] for c in layout), strict=True)), f"{name}, row {number}")


def _parse(row: Mapping[str, object], place: str) -> Answer:
    answer = str(row["answer"] or "").strip()
    if answer not in ANSWERS:
        raise SalientError(f"{place}: unknown answer", expected=", ".join(ANSWERS), got=repr(answer))
    confidence = _integer(row["confidence"], "confidence", place)
    if not 1 <= confidence <= 5:
        raise SalientError(f"{place}: confidence out of range", expected="1 to 5", got=str(confidence))
    rank = _integer(row["feature_rank"], "feature_rank", place)
    if rank < 1:
        raise SalientError(f"{place}: feature_rank out of range", expected="1 or more", got=str(rank))
    annotator = str(row["annotator"] or "").strip()
    if not annotator:
        raise SalientError(f"{place}: no annotator", expected="a name or number for the person who answered")
    return Answer(
        annotator,
        str(row["class_name"] or "").strip(),
        _integer(row["class_index"], "class_index", place),
        _integer(row["feature_index"], "feature_index", place),
        rank,
        answer,
        confidence,
        str(row["reason"] or "").strip(),
    )


def _integer(value: object, column: str, place: str) -> int:
    text = str(value if value is not None else "").strip()
    try:
        number = float(text)
        if number != int(number) or number < 0:
            raise ValueError(text)
    except (ValueError, OverflowError) as error:
        missing = "nothing" if text == "" else repr(text)
        raise SalientError(f"{place}: {column} is not a whole number", expected="a number >= 0", got=missing) from error
    return int(number)
