"""A map-style torch dataset of images with their core and spurious masks."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors

from salient_imagenet_data.images import ImageSource
from salient_imagenet_data.join import Missing, join
from salient_imagenet_data.loaders.soft_mask import SoftMask
from salient_imagenet_data.names import IMAGE, IMAGE_ID, KINDS, LABEL, MASK_COLUMN, Kind
from salient_imagenet_data.sources import open_source
from salient_imagenet_data.store import Store


class SalientImageNet(Dataset[dict[str, Any]]):
    """Images of a store with their masks, in the crop frame.

    store: an annotated store or its folder. images: the class-per-folder tree it was built from, or an
    `ImageSource`. transform: called with the whole sample; `torchvision.transforms.v2` pipelines move image
    and masks together. top_only: masks of the features that the image is a top image of, as the protocol
    "iclr2022" takes them. rows: a choice of store rows.

    A sample is a dict: image_id str; image `tv_tensors.Image` (3, S, S) uint8; label int; core_mask and
    spurious_mask `SoftMask` (1, S, S) float32 in [0, 1]; has_core and has_spurious bool. A mask whose flag is
    False is all zeros because there is no such feature, not because the feature is absent in the image.
    """

    def __init__(
        self,
        store: Store | str | os.PathLike[str],
        images: str | os.PathLike[str] | ImageSource,
        transform: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        *,
        top_only: bool = False,
        rows: Sequence[int] | None = None,
        missing: Missing = "error",
    ) -> None:
        self.store = store if isinstance(store, Store) else Store(store)
        self.joined = join(self.store, open_source(images), missing=missing, rows=rows)
        self.transform, self.top_only = transform, top_only
        # Read now, so that forked workers share one copy.
        _ = self.store.kind_table, self.store.maps

    def __len__(self) -> int:
        return len(self.joined)

    def __getitem__(self, item: int) -> dict[str, Any]:
        row = self.joined.rows[item]
        record = self.store.rows[row]
        pixels = torch.from_numpy(self.joined.crop(item)).permute(2, 0, 1).contiguous()
        sample: dict[str, Any] = {
            IMAGE_ID: record.image_id,
            IMAGE: tv_tensors.Image(pixels),
            LABEL: record.label,
        }
        for kind in KINDS:
            sample[MASK_COLUMN[kind]], sample[f"has_{kind}"] = self._mask(row, kind)
        return sample if self.transform is None else self.transform(sample)

    def _mask(self, row: int, kind: Kind) -> tuple[SoftMask, bool]:
        mask = self.store.mask(row, kind, top_only=self.top_only)
        size = self.store.manifest.preprocessing.crop
        if mask is None:
            return SoftMask(torch.zeros(1, size, size)), False
        return SoftMask(torch.from_numpy(mask)[None]), True
