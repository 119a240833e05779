"""A store's rows as Arrow tables for `datasets`: small and quick to make, as masks stay grids until they are read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import datasets
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from salient_imagenet_data.geometry import CropBox, Frame
from salient_imagenet_data.imagenet import display_names
from salient_imagenet_data.names import IMAGE, IMAGE_ID, KINDS, LABEL, MASK_COLUMN, Kind
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.table.mask_feature import GridMask, ReferredImage, grid_bytes

Encoded = Callable[[int], dict[str, str | bytes | None]]
Empty = Literal["none", "zeros"]
_BATCH = 4096


HAS: dict[Kind, str] = {kind: f"has_{kind}" for kind in KINDS}
"""Column that says whether the class of a row has features of a kind."""


def features(store: Store, with_images: bool, frame: Frame) -> datasets.Features:
    """The columns of a store's table."""
    m = store.manifest
    seen = dataclasses.asdict(m.preprocessing) if frame == "crop" else {}
    return datasets.Features(
        {
            IMAGE_ID: datasets.Value("string"),
            **({IMAGE: ReferredImage(**seen)} if with_images else {}),
            LABEL: datasets.ClassLabel(names=list(display_names(store.class_names))),
            **{
                column: GridMask(height=m.grid[0], width=m.grid[1], crop=m.preprocessing.crop)
                for column in MASK_COLUMN.values()
            },
            **{column: datasets.Value("bool") for column in HAS.values()},
        }
    )


class MaskTable:
    """Arrow columns of chosen rows of a store. empty: what a mask is where the class has no such feature."""

    def __init__(self, store: Store, frame: Frame, empty: Empty) -> None:
        self.store, self.frame, self.empty = store, frame, empty
        self.labels = store.rows.labels.astype(np.int64)

    def columns(self, rows: NDArray[np.int64]) -> dict[str, Any]:
        """image_id, label, both masks and whether there are features of each kind; everything is null where a row is
        -1."""
        known = rows >= 0
        taken = pa.array(rows, mask=~known)
        result = {
            IMAGE_ID: self.store.rows.image_ids.take(taken),
            LABEL: pa.array(self.labels[rows], mask=~known),
        }
        boxes = self._boxes(rows) if self.frame == "image" else None
        for kind in KINDS:
            result[MASK_COLUMN[kind]] = image_struct(self._grids(rows, kind, boxes), None)
            result[HAS[kind]] = pa.array(self.store.has(kind)[self.labels[rows]], mask=~known)
        return result

    def tables(self, rows: Sequence[int], encoded: Encoded | None) -> Iterator[Any]:
        """The rows in tables of a few thousand. encoded: what `datasets.Image` stores of the image of an item, which
        is a position in `rows`."""
        schema = features(self.store, encoded is not None, self.frame).arrow_schema
        for start in range(0, len(rows), _BATCH):
            part = np.asarray(rows[start : start + _BATCH], dtype=np.int64)
            columns = self.columns(part)
            if encoded is not None:
                values = [encoded(item) for item in range(start, start + len(part))]
                names = columns[IMAGE_ID].to_pylist()  # for those without a path: only what a user makes has none
                paths = [v["path"] or name for v, name in zip(values, names, strict=True)]
                columns[IMAGE] = image_struct([v["bytes"] for v in values], paths)
            yield pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)

    def _grids(self, rows: NDArray[np.int64], kind: Kind, boxes: list[Any] | None) -> list[bytes | None]:
        table, maps = self.store.kind_table[kind], self.store.maps
        return [
            grid_bytes(maps[row][chosen], None if boxes is None else boxes[item])
            if row >= 0 and ((chosen := table[self.labels[row]]).any() or self.empty == "zeros")
            else None
            for item, row in enumerate(rows)
        ]

    def _boxes(self, rows: NDArray[np.int64]) -> list[tuple[int, int, CropBox]]:
        records = [self.store.rows[int(row)] for row in np.maximum(rows, 0)]
        return [(record.height, record.width, record.box) for record in records]


def image_struct(data: Sequence[bytes | str | None], paths: Sequence[Any] | None) -> Any:
    """Bytes and paths as `datasets.Image` stores them; null where there is neither."""
    values = pa.array(data, type=pa.binary())
    places = pa.nulls(len(values), pa.string()) if paths is None else pa.array(paths, type=pa.string())
    empty = pa.array([a is None and b is None for a, b in zip(data, paths or [None] * len(data), strict=True)])
    return pa.StructArray.from_arrays([values, places], ["bytes", "path"], mask=empty)
