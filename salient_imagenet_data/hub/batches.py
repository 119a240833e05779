"""Rows of every config of an export as Arrow record batches: those of a store's tables, drawn masks, and images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from salient_imagenet_data.hub.png import encode_mask
from salient_imagenet_data.images.source import ImageSource, encoded_bytes, index_by_id
from salient_imagenet_data.masks import to_uint8, union_in_crop
from salient_imagenet_data.names import KINDS, Kind
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.table.batches import Rows
from salient_imagenet_data.table.configs import MASKS, WITH_IMAGES


class ExportedRows(Rows):
    """A store's rows by range, with masks as PNG and, of a source, images; only for those the maps are kept that have
    been used."""

    def __init__(self, store: Store, source: ImageSource | None = None) -> None:
        super().__init__(store)
        self.source = source

    def makers(self) -> dict[str, Callable[[int, int], Any]]:
        return {**super().makers(), MASKS: self._masks, WITH_IMAGES: self._with_images}

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) class index of every image."""
        return self.store.rows.labels.astype(np.int64)

    def image_id(self, row: int) -> str:
        """Id of an image."""
        return str(self.store.rows.image_ids[row].as_py())

    def grid(self, row: int) -> NDArray[np.uint8]:
        """(K, h, w) uint8 maps of an image."""
        grid: NDArray[np.uint8] = self.slice("maps", row, row + 1)[0]
        return grid

    def _masks(self, start: int, stop: int) -> Any:
        ids = self.ids(start, stop)
        maps, labels = self.slice("maps", start, stop), ids[1].to_numpy()
        size = self.manifest.preprocessing.crop
        masks = []
        for kind in KINDS:
            chosen = self.store.kind_table[kind][labels]
            masks.append(
                image_column(
                    encode_mask(to_uint8(union_in_crop(grid, of_kind, size, size))) if of_kind.any() else None
                    for grid, of_kind in zip(maps, chosen, strict=True)
                )
            )
        return pa.RecordBatch.from_arrays([*ids, *masks], schema=self.schema(MASKS))

    @cached_property
    def _index(self) -> dict[str, int]:
        assert self.source is not None
        return index_by_id(self.source)

    def _with_images(self, start: int, stop: int) -> Any:
        ids, labels = self.ids(start, stop)
        images = image_column(self._encoded(image_id) for image_id in ids.to_pylist())
        masks = [image_column(self._image_mask(row, kind) for row in range(start, stop)) for kind in KINDS]
        return pa.RecordBatch.from_arrays([ids, images, labels, *masks], schema=self.schema(WITH_IMAGES))

    def _encoded(self, image_id: str) -> bytes:
        assert self.source is not None
        return encoded_bytes(self.source, self._index[image_id])

    def _image_mask(self, row: int, kind: Kind) -> bytes | None:
        found = self.store.image_mask(row, kind)
        return None if found is None else encode_mask(to_uint8(found[0]))


def image_column(values: Iterator[bytes | None]) -> Any:
    """Encoded images as the struct that `datasets.Image` stores; None is null."""
    data = pa.array(values, type=pa.binary())
    path = pa.nulls(len(data), pa.string())
    return pa.StructArray.from_arrays([data, path], ["bytes", "path"], mask=data.is_null())
