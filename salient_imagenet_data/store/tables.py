"""The tables of a store: their Arrow schemas, and reading and writing them with the same bytes every time."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.whole_file import whole_file

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
QUARANTINE_SCHEMA: Any = pa.schema([("image_id", pa.string()), ("label", pa.int32()), ("reason", pa.string())])


def images_table(
    ids: Any,
    labels: NDArray[np.integer],
    predictions: NDArray[np.integer],
    sizes: NDArray[np.integer],
    in_top: NDArray[np.bool_],
    preprocessing: Preprocessing,
) -> Any:
    """images.parquet as an Arrow table. ids: (N,) Arrow strings. sizes: (N, 2) width and height, 0 where not known, as
    the crop box is then. in_top: (N, K). Boxes are computed once for each size."""
    distinct, which = np.unique(sizes, axis=0, return_inverse=True)
    boxes = np.zeros((len(distinct), 4), dtype=np.float64)
    for row in np.flatnonzero(distinct[:, 0]).tolist():
        boxes[row] = dataclasses.astuple(preprocessing.crop_box(*distinct[row].tolist()))
    offsets = np.arange(0, in_top.size + 1, in_top.shape[1], dtype=np.int32)
    columns = [ids, labels, predictions, *sizes.T, *boxes[which.reshape(-1)].T]
    arrays = [pa.array(np.ascontiguousarray(c)) if isinstance(c, np.ndarray) else c for c in columns]
    arrays.append(pa.ListArray.from_arrays(offsets, pa.array(in_top.reshape(-1), type=pa.bool_())))
    return pa.Table.from_arrays(arrays, names=IMAGES_SCHEMA.names).cast(IMAGES_SCHEMA)


def write_table(path: Path, rows: list[dict[str, Any]] | pa.Table, schema: Any) -> None:
    """Write rows, or a table of this schema, to Parquet, with a checksum of every page."""
    with whole_file(path) as file:
        file.write(table_bytes(rows, schema))


def table_bytes(rows: list[dict[str, Any]] | pa.Table, schema: Any) -> bytes:
    """The same as bytes."""
    table = rows.cast(schema) if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows, schema=schema)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()
