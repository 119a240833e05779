"""A CSV as spreadsheets save it."""

from __future__ import annotations

import csv
import io

FORMS = (("commas", ",", "utf-8-sig"), ("semicolons", ";", "utf-8-sig"), ("tabs", "\t", "utf-16"))
"""Called how, between the columns, encoded how. Each begins with a mark."""


def saved(text: str, between: str, encoding: str) -> bytes:
    """A CSV with commas, as a program of an office writes it: lines end in CR LF, and a row that was emptied stays."""
    rows = list(csv.reader(io.StringIO(text, newline="")))
    table = io.StringIO(newline="")
    csv.writer(table, delimiter=between, lineterminator="\r\n").writerows([*rows, [""] * len(rows[0])])
    return table.getvalue().encode(encoding)
