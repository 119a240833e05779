"""The tables of a store: their Arrow schemas, and reading and writing them with the same bytes every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

IMAGES_SCHEMA: Any = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("label", pa.int32(), nullable=False),
        pa.field("prediction", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("crop_left", pa.float64(), nullable=False),
        pa.field("crop_top", pa.float64(), nullable=False),
        pa.field("crop_width", pa.float64(), nullable=False),
        pa.field("crop_height", pa.float64(), nullable=False),
        pa.field("in_top", pa.list_(pa.bool_()), nullable=False),
    ]
)
FEATURES_SCHEMA: Any = pa.schema(
    [
        pa.field("class_index", pa.int32(), nullable=False),
        pa.field("class_name", pa.string(), nullable=False),
        pa.field("feature_index", pa.int32(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("importance", pa.float64()),
        pa.field("votes_main_object", pa.int32()),
        pa.field("votes_separate_object", pa.int32()),
        pa.field("votes_background", pa.int32()),
        pa.field("kind", pa.string()),
        pa.field("cue", pa.string()),
    ]
)
QUARANTINE_SCHEMA: Any = pa.schema([("image_id", pa.string()), ("label", pa.int32()), ("reason", pa.string())])


def write_table(path: Path, rows: Any, schema: Any) -> None:
    """Write rows (dicts, or an Arrow table) to Parquet under a temporary name, then rename."""
    partial = path.with_name(path.name + ".partial")
    table = pa.Table.from_pylist(rows, schema=schema) if isinstance(rows, list) else rows.cast(schema)
    pq.write_table(table, partial, compression="zstd")
    partial.replace(path)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """All rows of a Parquet file."""
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows
