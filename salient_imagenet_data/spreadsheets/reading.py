"""The text of such a file, and what stands between its columns."""

from __future__ import annotations

import csv
import io

DELIMITERS = (",", ";", "\t")
"""Of a CSV file; spreadsheets of some languages write the second, copies out of one the third."""


def decoded(data: bytes, errors: str = "strict") -> str:
    """A file's bytes as text: UTF-8 with or without a byte order mark, or UTF-16, which has one. errors: as of
    `bytes.decode`. Raises UnicodeDecodeError for bytes of neither."""
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", errors)


def delimiter_of(text: str) -> str:
    """What stands between the columns of a CSV: the most frequent in its first line, a comma where none is."""
    return max(DELIMITERS, key=text.partition("\n")[0].count)


def rows_of(text: str) -> csv.DictReader[str]:
    """The rows of a CSV by the names in its first line."""
    return csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter_of(text))
