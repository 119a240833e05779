"""Torch datasets of images with their core and spurious masks: map-style, and an iterable one over the same samples."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import distributed
from torch.utils.data import Dataset, IterableDataset, get_worker_info
from torchvision import tv_tensors

from salient_imagenet_data.joining import Images, Missing, join
from salient_imagenet_data.loaders.compact import FRAME, MapFrame
from salient_imagenet_data.loaders.soft_mask import SoftMask
from salient_imagenet_data.looking import sheet
from salient_imagenet_data.names import FEATURES_COLUMN, IMAGE, IMAGE_ID, KINDS, LABEL, MAPS_COLUMN, MASK_COLUMN, Kind
from salient_imagenet_data.store.describing import html_of
from salient_imagenet_data.store.reading import Store

Sample = dict[str, Any]


class SalientImageNet(Dataset[Sample]):
    """Images of a store with their masks, in the crop frame.

    store: an annotated store or its folder. images: what `joining.images_of` takes: the folder it was built from, tar
    shards, a table of `datasets`, a name on the Hub, an `ImageSource`. transform: called with the whole sample;
    `torchvision.transforms.v2` pipelines move image and masks together. top_only: masks of the features that the image
    is a top image of, as the protocol "iclr2022" takes them. rows: a choice of store rows. return_maps: the compact
    form.

    A sample is a dict: image_id str; image `tv_tensors.Image` (3, S, S) uint8; label int; core_mask and
    spurious_mask `SoftMask` (1, S, S) float32 in [0, 1]; has_core and has_spurious bool. A mask whose flag is
    False is all zeros because there is no such feature, not because the feature is absent in the image.

    In the compact form, maps (K, h, w) uint8, core_features and spurious_features (K,) bool and map_frame
    `MapFrame` (6,) stand in place of the two masks; `compact.masks_of_batch` makes the masks of a batch.
    """

    def __init__(
        self,
        store: Store | str | os.PathLike[str],
        images: Images,
        transform: Callable[[Sample], Sample] | None = None,
        *,
        top_only: bool = False,
        rows: Sequence[int] | None = None,
        missing: Missing = "error",
        return_maps: bool = False,
    ) -> None:
        self.store = store if isinstance(store, Store) else Store(store)
        self.joined = join(self.store, images, missing=missing, rows=rows)
        if self.joined.missing:
            self.joined.tell()
        self.transform, self.top_only, self.return_maps = transform, top_only, return_maps
        # Read now, so that forked workers share one copy.
        _ = self.store.kind_table, self.store.maps

    def __len__(self) -> int:
        return len(self.joined)

    def __repr__(self) -> str:
        form = "maps" if self.return_maps else "masks"
        return f"SalientImageNet: {len(self)} images with {form}, of\n{self.store!r}"

    def _repr_html_(self) -> str:
        return html_of(self, self.store)

    def show(self, item: int) -> Image.Image:
        """The photograph of an item with its core and spurious mask beside it, in the crop frame, as
        `salient_imagenet_data.show` draws it; a notebook draws the picture by itself. The transform is not applied."""
        return sheet(self.joined, [range(len(self))[item]])

    def __getitem__(self, item: int) -> Sample:
        row = int(self.joined.rows[item])
        rows = self.store.rows
        pixels = torch.from_numpy(self.joined.crop(item)).permute(2, 0, 1).contiguous()
        sample: Sample = {
            IMAGE_ID: rows.image_ids[row].as_py(),
            IMAGE: tv_tensors.Image(pixels),
            LABEL: int(rows.labels[row]),
        }
        sample |= self._compact(row) if self.return_maps else self._masks(row)
        return sample if self.transform is None else self.transform(sample)

    def _masks(self, row: int) -> Sample:
        size = self.store.manifest.preprocessing.crop
        part: Sample = {}
        for kind in KINDS:
            mask = self.store.mask(row, kind, top_only=self.top_only)
            plain = torch.zeros(1, size, size) if mask is None else torch.from_numpy(mask)[None]
            part[MASK_COLUMN[kind]], part[f"has_{kind}"] = SoftMask(plain), mask is not None
        return part

    def _compact(self, row: int) -> Sample:
        # Arrays, not tensors, until a batch is made: a pipeline takes the first plain tensor of a sample for an image.
        part: Sample = {MAPS_COLUMN: np.array(self.store.maps[row])}
        for kind in KINDS:
            part[FEATURES_COLUMN[kind]] = self._chosen(row, kind)
            part[f"has_{kind}"] = bool(part[FEATURES_COLUMN[kind]].any())
        return {**part, FRAME: MapFrame.whole(self.store.manifest.preprocessing.crop)}

    def _chosen(self, row: int, kind: Kind) -> NDArray[np.bool_]:
        return self.store.chosen(row, kind, top_only=self.top_only)


class SalientImageNetStream(IterableDataset[Sample]):
    """The samples of a `SalientImageNet` as a stream that workers and ranks share out among themselves.

    shuffle: with a seed, the order is a permutation by (seed, epoch); call `set_epoch` before each epoch, as with
    `DistributedSampler`. rank, world_size: of this process; taken from `torch.distributed` where it is initialised.
    even: leave out the last len % world_size samples of the epoch's order, so that all ranks get equally many;
    otherwise every sample comes exactly once over all ranks and workers.
    """

    def __init__(
        self,
        dataset: SalientImageNet,
        *,
        shuffle: bool = False,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        even: bool = False,
    ) -> None:
        running = distributed.is_available() and distributed.is_initialized()
        self.rank = (distributed.get_rank() if running else 0) if rank is None else rank
        self.world_size = (distributed.get_world_size() if running else 1) if world_size is None else world_size
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"SalientImageNetStream: expected 0 <= rank < {self.world_size}, got {self.rank}")
        self.dataset, self.shuffle, self.seed, self.even = dataset, shuffle, seed, even
        # In shared memory, so that workers that live through all epochs see it change.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        """Samples of this rank, over all its workers."""
        return len(self._mine())

    def __iter__(self) -> Iterator[Sample]:
        worker = get_worker_info()
        mine = self._mine()
        for item in mine if worker is None else mine[worker.id :: worker.num_workers]:
            yield self.dataset[int(item)]

    def _mine(self) -> NDArray[np.int64]:
        n = len(self.dataset)
        order = np.arange(n)
        if self.shuffle:
            order = np.random.default_rng((self.seed, int(self._epoch))).permutation(n)
        return order[: n - n % self.world_size if self.even else n][self.rank :: self.world_size]
