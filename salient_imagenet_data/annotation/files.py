"""Files of people's answers about (class, feature) pairs.

Two CSV layouts are read into one table, with commas, semicolons or tabs. Ours: `annotator, class_name, class_index,
feature_index, feature_rank, answer, confidence, reason`. The official one of 2022: `WorkerId, Input.wordnet_id,
Input.class_index, Input.feature_index, Input.feature_rank, Answer.main, Answer.confidence, Answer.reasons`.
Parquet files with either set of columns are read as well.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from salient_imagenet_data.annotation.answers import COLUMNS, OFFICIAL_COLUMNS, Answer
from salient_imagenet_data.annotation.verdicts import Annotations
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.names import ANSWERS
from salient_imagenet_data.spreadsheets.reading import decoded, delimiter_of
from salient_imagenet_data.whole_file import write_text

NOBODY = "anonymous"
"""Annotator of an answer that names none."""


def read_annotations(path: str | Path) -> Annotations:
    """Read a CSV or Parquet file of answers. A row without an answer is left out and counted; `Annotations.unanswered`.

    Raises SalientError naming file and row (1 is the first answer).
    """
    path = Path(path)
    if not path.is_file():
        raise SalientError(f"{path}: no such file", expected="a CSV or Parquet file of answers")
    data = path.read_bytes()
    columns, rows = _parquet(data, path) if path.suffix == ".parquet" else _csv(_text(data, path), path)
    answers = [answer for answer in _rows(columns, rows, str(path)) if answer is not None]
    unanswered = sum(any(str(v or "").strip() for v in row.values()) for row in rows) - len(answers)
    if not answers:
        got = f"{unanswered} rows without one" if unanswered else "no rows"
        raise SalientError(f"{path}: no answers", expected="at least one in the column answer", got=got)
    check_answers(answers, str(path))
    return Annotations(tuple(a for _, a in answers), hashlib.sha256(data).hexdigest(), unanswered)


def _parquet(data: bytes, path: Path) -> tuple[list[str], list[dict[str, object]]]:
    try:
        # Not read_table, see `Store.features_table`.
        table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise SalientError(f"{path}: damaged, or no Parquet file", got=reason, then="write it anew") from error
    return table.column_names, table.to_pylist()


def _text(data: bytes, path: Path) -> str:
    if data.startswith(b"PK"):
        raise SalientError(f"{path}: a spreadsheet's own format", expected="CSV", then="save it as CSV (UTF-8)")
    if data.startswith(b"SQLite format 3\0"):
        raise SalientError(
            f"{path}: a file of SQLite, as `label` keeps answers in",
            expected="CSV",
            then="`export-answers` writes a CSV of it",
        )
    try:
        return decoded(data)
    except UnicodeDecodeError as error:
        raise SalientError(
            f"{path}: not a CSV file", expected="text in UTF-8", got=str(error), then="save it as CSV (UTF-8)"
        ) from error


def _csv(text: str, path: Path) -> tuple[list[str], list[dict[str, object]]]:
    """Columns and rows. A quotation mark that is opened and not closed in its row would hide the rows after it: an
    error, also where a later one happens to close it."""
    delimiter = delimiter_of(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    try:
        columns = [name.strip() for name in next(reader, [])]
        for row in reader:
            hidden = any(line.count(delimiter) >= len(columns) - 1 for f in row for line in f.splitlines()[1:])
            if hidden:
                raise csv.Error("a quotation mark that is not closed in its row")
            if len(row) > len(columns):
                raise csv.Error(f"{len(row)} fields under {len(columns)} columns")
            rows.append(row)
    except csv.Error as error:
        raise SalientError(
            f"{path}, row {len(rows) + 1}: not CSV",
            got=str(error),
            then='write a text with commas, or with " as "", between quotation marks',
        ) from error
    return columns, [dict(zip_longest(columns, row)) for row in rows]


def write_annotations(path: str | Path, answers: Iterable[Answer]) -> None:
    """Write answers in our CSV layout."""
    write_text(Path(path), csv_of(answers))


def csv_of(answers: Iterable[Answer], header: Sequence[str] = COLUMNS) -> str:
    """Answers as text of a CSV file. header: `COLUMNS`, or `OFFICIAL_COLUMNS`, which mean the same."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([getattr(answer, column) for column in COLUMNS] for answer in answers)  # None as nothing
    return table.getvalue()


def check_answers(answers: Iterable[tuple[int, Answer]], name: str) -> None:
    """Check what no single row can show: one answer a person and pair, one rank a pair and one pair a rank. answers:
    with their rows."""
    seen: dict[tuple[str, int, int], int] = {}
    ranks: dict[tuple[int, int], int] = {}
    owners: dict[tuple[int, int], int] = {}
    for row, answer in answers:
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


def _rows(columns: list[str], rows: list[dict[str, object]], name: str) -> Iterable[tuple[int, Answer] | None]:
    """Each row's number and answer; None for a row without an answer."""
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
        fields = dict(zip(COLUMNS, (row[c] for c in layout), strict=True))
        blank = not str(fields["answer"] or "").strip()
        yield None if blank else (number, parse_answer(fields, f"{name}, row {number}"))


def parse_answer(row: Mapping[str, object], place: str) -> Answer:
    """An answer of its fields, under the names of `COLUMNS`. place: for the message. Raises SalientError for a field
    that cannot be."""
    answer = str(row["answer"] or "").strip()
    if answer not in ANSWERS:
        raise SalientError(f"{place}: unknown answer", expected=", ".join(ANSWERS), got=repr(answer))
    said = str(row["confidence"] if row["confidence"] is not None else "").strip()
    confidence = _integer(said, "confidence", place) if said else None
    if confidence is not None and not 1 <= confidence <= 5:
        raise SalientError(f"{place}: confidence out of range", expected="1 to 5, or nothing", got=str(confidence))
    rank = _integer(row["feature_rank"], "feature_rank", place)
    if rank < 1:
        raise SalientError(f"{place}: feature_rank out of range", expected="1 or more", got=str(rank))
    return Answer(
        str(row["annotator"] or "").strip() or NOBODY,
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
