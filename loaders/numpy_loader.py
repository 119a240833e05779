"""Batches of numpy arrays; never imports torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.joining import Images, Missing, join
from salient_imagenet_data.names import FEATURES_COLUMN, IMAGE, IMAGE_ID, KINDS, LABEL, MAPS_COLUMN, MASK_COLUMN
from salient_imagenet_data.store.describing import html_of
from salient_imagenet_data.store.reading import Store


class NumpyLoader:
    """Iterate over a store in batches, in store order or shuffled by `seed`: in the same order at each pass, until the
    attribute `seed` is set to another number.

    A batch is a dict: image_id (B,) str; image (B, S, S, 3) uint8, only with `images`; label (B,) int64;
    core_mask and spurious_mask (B, S, S) float32 in [0, 1]; has_core and has_spurious (B,) bool, False where
    the class has no such feature and the mask is zeros.

    return_maps: the compact form; maps (B, K, h, w) uint8 and core_features and spurious_features (B, K) bool stand
    in place of the masks, which `masks.union_in_crop` makes of them.
    """

    def __init__(
        self,
        store: Store | str | os.PathLike[str],
        images: Images | None = None,
        *,
        batch_size: int = 64,
        seed: int | None = None,
        missing: Missing = "error",
        return_maps: bool = False,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"NumpyLoader: expected a batch_size of at least 1, got {batch_size}")
        self.store = store if isinstance(store, Store) else Store(store)
        self._joined = None if images is None else join(self.store, images, missing=missing)
        if self._joined is not None and self._joined.missing:
            self._joined.tell()
        self.batch_size, self.seed, self.return_maps = batch_size, seed, return_maps

    @property
    def rows(self) -> NDArray[np.int64]:
        """Store rows, in the order of iteration before shuffling."""
        return np.arange(len(self.store)) if self._joined is None else self._joined.rows

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __repr__(self) -> str:
        what = "masks" if self._joined is None else "images and masks"
        return f"NumpyLoader: {len(self)} batches of {self.batch_size}, {len(self.rows)} {what}, of\n{self.store!r}"

    def _repr_html_(self) -> str:
        return html_of(self, self.store)

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        rows = self.rows
        order = np.arange(len(rows))
        if self.seed is not None:
            order = np.random.default_rng(self.seed).permutation(len(rows))
        for start in range(0, len(rows), self.batch_size):
            yield self._batch(order[start : start + self.batch_size], rows)

    def _batch(self, items: NDArray[np.int64], rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        chosen = rows[items]
        labels = self.store.rows.labels[chosen].astype(np.int64)
        image_ids = np.array(self.store.rows.image_ids.take(chosen).to_pylist())
        batch: dict[str, NDArray[Any]] = {IMAGE_ID: image_ids, LABEL: labels}
        if self._joined is not None:
            batch[IMAGE] = np.stack([self._joined.crop(int(item)) for item in items])
        for kind in KINDS:
            batch[f"has_{kind}"] = self.store.has(kind)[labels]
        return batch | (self._compact(chosen, labels) if self.return_maps else self._masks(chosen))

    def _masks(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        size = self.store.manifest.preprocessing.crop
        empty = np.zeros((size, size), dtype=np.float32)
        masks = {kind: [self.store.mask(int(row), kind) for row in rows] for kind in KINDS}
        return {MASK_COLUMN[kind]: np.stack([empty if m is None else m for m in masks[kind]]) for kind in KINDS}

    def _compact(self, rows: NDArray[np.int64], labels: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        features = {FEATURES_COLUMN[kind]: self.store.kind_table[kind][labels] for kind in KINDS}
        return {MAPS_COLUMN: self.store.maps[rows], **features}
