"""Images under every condition of a plan: decoded once, corrupted on the device."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.plan.condition import CLEAN, Condition, Control
from salient_imagenet_data.evaluation.plan.plan import Plan
from salient_imagenet_data.evaluation.plan.regions import RegionOfStore
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.joining import Joined, join
from salient_imagenet_data.loaders.controls import partners, random_places, region_masks
from salient_imagenet_data.loaders.corruption.corruptions import corrupt, image_seeds
from salient_imagenet_data.loaders.corruption.kernels import normal_like
from salient_imagenet_data.loaders.corruption.records import corruption_of
from salient_imagenet_data.loaders.region import Region
from salient_imagenet_data.masks import union_in_box
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.networks.pixels import unit_images
from salient_imagenet_data.store.reading import Store


@dataclass(frozen=True)
class Item:
    """One image in the model's crop. image: (3, S, S) uint8. known: (S, S) bool. masks, others: by region, (S, S)
    float32 in [0, 1], its own mask and another image's; only the regions that count for it. swap: another image, where
    a condition wants it, as `image`."""

    position: int
    row: int
    image_id: str
    image: Tensor
    known: Tensor
    masks: dict[str, Tensor] = field(default_factory=dict)
    others: dict[str, Tensor] = field(default_factory=dict)
    swap: Tensor | None = None


@dataclass(frozen=True)
class ItemBatch:
    """Items stacked, so that a worker hands over few pieces of memory.

    images: (B, S, S, 3) uint8. known: (B, 1, S, S) bool. masks: by region, which items it counts for and their masks
    (b, 1, S, S) float32; others: those of other images. swaps: (B, S, S, 3) uint8, or None.
    """

    positions: list[int]
    image_ids: list[str]
    images: Tensor
    known: Tensor
    which: dict[str, list[int]]
    masks: dict[str, Tensor]
    others: dict[str, Tensor]
    swaps: Tensor | None

    @staticmethod
    def of(items: Sequence[Item]) -> ItemBatch:
        regions = list(dict.fromkeys(name for item in items for name in item.masks))
        controlled = list(dict.fromkeys(name for item in items for name in item.others))
        swaps = [item.swap.permute(1, 2, 0) for item in items if item.swap is not None]
        return ItemBatch(
            [item.position for item in items],
            [item.image_id for item in items],
            torch.stack([item.image.permute(1, 2, 0) for item in items]),
            torch.stack([item.known for item in items])[:, None],
            {name: [k for k, item in enumerate(items) if name in item.masks] for name in regions},
            {name: torch.stack([i.masks[name] for i in items if name in i.masks])[:, None] for name in regions},
            {name: torch.stack([i.others[name] for i in items if name in i.others])[:, None] for name in controlled},
            torch.stack(swaps) if swaps else None,
        )

    def __len__(self) -> int:
        return len(self.positions)

    def pin_memory(self) -> ItemBatch:
        return self._each(lambda tensor: tensor.pin_memory())

    def to(self, device: str) -> ItemBatch:
        """The same on a device; from pinned memory without waiting."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def _each(self, change: Callable[[Tensor], Tensor]) -> ItemBatch:
        return replace(
            self,
            images=change(self.images),
            known=change(self.known),
            masks={name: change(mask) for name, mask in self.masks.items()},
            others={name: change(mask) for name, mask in self.others.items()},
            swaps=None if self.swaps is None else change(self.swaps),
        )


class Items(Dataset[Item]):
    """Images with their masks of some regions. controlled: the regions that come with another image's masks too.
    partner: (N,) for each row of the store whose these are, of all regions; None: drawn for each by `partner_rows`.
    pool: each image comes with another one of these. seed: of who is the other."""

    def __init__(
        self,
        joined: Joined,
        preprocessing: Preprocessing,
        regions: Sequence[RegionOfStore] = (),
        *,
        controlled: Container[str] = (),
        partner: NDArray[np.int64] | None = None,
        pool: Joined | None = None,
        seed: int = 0,
    ) -> None:
        self.joined, self.preprocessing, self.regions = joined, preprocessing, regions
        self.partner = {
            r.name: partner_rows(joined, r, seed) if partner is None else partner
            for r in regions
            if r.name in controlled
        }
        self.pool = pool
        self.swapped = None if pool is None else partner_images(pool, seed)
        _ = joined.store.maps

    def __len__(self) -> int:
        return len(self.joined)

    def __getitem__(self, position: int) -> Item:
        row = int(self.joined.rows[position])
        record = self.joined.store.rows[row]
        pixels = self.joined.image(position)
        size = pixels.shape[1], pixels.shape[0]
        image = torch.from_numpy(self.preprocessing.apply(pixels)).permute(2, 0, 1)
        known = torch.ones(image.shape[1:], dtype=torch.bool)
        masks, others = {}, {}
        for region in self.regions:
            if region.chosen[row].any():
                masks[region.name], known = self._mask(row, region, size)
                if region.name in self.partner:
                    others[region.name], _ = self._mask(int(self.partner[region.name][row]), region, size)
        swap = None
        if self.pool is not None and self.swapped is not None:
            other = self.preprocessing.apply(self.pool.image(self.swapped[row]))
            swap = torch.from_numpy(other).permute(2, 0, 1)
        return Item(position, row, record.image_id, image, known, masks, others, swap)

    def _mask(self, row: int, region: RegionOfStore, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """A row's mask in the model's crop. size: of the image at hand, where the store does not know the row's."""
        store = self.joined.store
        record = store.rows[row]
        width, height = (record.width, record.height) if record.size_known else size
        ours = record.box if record.size_known else store.manifest.preprocessing.crop_box(width, height)
        box = self.preprocessing.crop_box(width, height)
        mask, known = union_in_box(store.maps[row], region.chosen[row], ours, box, self.preprocessing.crop)
        # Bilinear weights add up to 1 but for rounding.
        return torch.from_numpy(np.minimum(mask, np.float32(1.0))), torch.from_numpy(known)


def items_of(
    joined: Joined,
    plan: Plan,
    preprocessing: Preprocessing,
    regions: Sequence[str],
    *,
    pool: Joined | None = None,
    seed: int,
) -> Items:
    """The images of a plan with what its conditions on some of its regions, by name, need. pool: the images of which
    others are swapped in where a condition wants that (`images_to_swap_in`); None: all of the store that there are."""
    conditions = [c for c in plan.conditions if c.region in regions]
    controlled = {c.region for c in conditions if c.control == "other"}
    chosen = [plan.regions[name] for name in regions]
    if not swaps(conditions):
        pool = None
    elif pool is None:
        pool = join(joined.store, joined.source, missing="skip")
    return Items(joined, preprocessing, chosen, controlled=controlled, pool=pool, seed=seed)


def swaps(conditions: Sequence[Condition]) -> bool:
    """Whether another image is swapped in under one of the conditions."""
    return any(corruption_of(c.corruption).needs_other for c in conditions)


def partner_rows(joined: Joined, region: RegionOfStore, seed: int) -> NDArray[np.int64]:
    """(N,) for each row of the region, another of its rows, of another class where there are several; -1 elsewhere.

    Chosen among all rows of the region, whether their images are at hand or not: only their masks are needed.
    """
    store, rows = joined.store, region.rows
    result = np.full(len(store), -1, dtype=np.int64)
    if len(rows) < 2:
        result[rows] = rows
        return result
    result[rows] = rows[_partners(store, rows, seed)]
    return result


def classmates(store: Store, seed: int) -> NDArray[np.int64]:
    """(N,) for each row of a store another of its class, whether its image is at hand or not; itself where the class
    has no other."""
    result, labels = np.arange(len(store)), store.rows.labels
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) > 1:
            result[rows] = rows[
                partners(store.rows.image_ids.take(pa.array(rows)).to_pylist(), seed, condition="class")
            ]
    return result


def partner_images(joined: Joined, seed: int) -> dict[int, int]:
    """For each store row the position of another image, of another class where there are several: whose pixels are
    swapped in. Raises SalientError for a single image."""
    if len(joined) < 2:
        raise SalientError("swap: no other image", expected="at least two images", got=str(len(joined)))
    found = _partners(joined.store, joined.rows, seed, condition="swap")
    return dict(zip(joined.rows.tolist(), found.tolist(), strict=True))


def _partners(store: Store, rows: NDArray[np.int64], seed: int, *, condition: str = "") -> NDArray[np.int64]:
    """For each of some store rows the position of another, of another class where there are several."""
    labels = store.rows.labels[rows]
    several = len(np.unique(labels)) > 1
    ids = store.rows.image_ids.take(pa.array(rows)).to_pylist()
    return partners(ids, seed, labels=labels if several else None, condition=condition)


def corrupted(
    items: ItemBatch,
    conditions: Sequence[Condition],
    regions: Mapping[str, RegionOfStore],
    *,
    seed: int,
    device: str,
    clean: bool,
) -> Iterator[tuple[str, list[int], Tensor, Tensor | None]]:
    """For each condition: its name, which of the items count, their images (b, 3, S, S) float32 in [0, 1], and under
    what hides, where these are as they were, the masks (b, 1, S, S) of what the model must not be shown, else None.

    Conditions in which none counts are left out. The random numbers of an image depend on (seed, image id) only, and
    all levels and regions of one corruption use the same ones.
    """
    batch = _Batch(items, regions, seed, device)
    if clean:
        yield CLEAN, list(range(len(items))), batch.images, None
    for condition in conditions:
        which = items.which.get(condition.region, [])
        if not which:
            continue
        images, masks = batch.images[batch.rows(which)], batch.region(condition.region, condition.control)
        corruption = corruption_of(condition.corruption)
        if corruption.hides:
            yield condition.name, which, images, masks
            continue
        seeds = batch.seeds(condition.trial)
        done = corrupt(
            images,
            masks,
            corruption,
            [seeds[k] for k in which],
            others=batch.swapped(which) if corruption.needs_other else None,
            noise=batch.noise(condition.trial)[batch.rows(which)] if corruption.normal else None,
            check_values=False,  # made here, from uint8 and clamped masks
        )
        yield condition.name, which, done, None


class _Batch:
    """Items on a device, and what several conditions share: drawn or made once. images: (B, 3, S, S) float32."""

    def __init__(self, items: ItemBatch, regions: Mapping[str, RegionOfStore], seed: int, device: str) -> None:
        self.items, self.regions, self.seed = items.to(device), regions, seed
        self.images = unit_images(self.items.images)
        self._noise: dict[int, Tensor] = {}
        self._regions: dict[tuple[str, str], Tensor] = {}
        self._places: dict[int, Tensor] = {}

    def rows(self, which: Sequence[int]) -> slice | list[int]:
        """An index of some items; of all of them, one that copies nothing."""
        return slice(None) if len(which) == len(self.items) else list(which)

    def seeds(self, trial: int) -> list[int]:
        """One an image."""
        return image_seeds(self.seed, self.items.image_ids, f"trial {trial}" if trial > 1 else "")

    def noise(self, trial: int) -> Tensor:
        """(B, 3, S, S) standard normal numbers."""
        if trial not in self._noise:
            self._noise[trial] = normal_like(self.images, self.seeds(trial))
        return self._noise[trial]

    def swapped(self, which: Sequence[int]) -> Tensor:
        """The images to swap in."""
        assert self.items.swaps is not None
        return unit_images(self.items.swaps[self.rows(which)])

    def region(self, name: str, control: Control) -> Tensor:
        """(b, 1, S, S) float32: a region of the items in which it counts, 0 where nothing is known."""
        if (name, control) not in self._regions:
            self._regions[name, control] = self._made(name, control)
        return self._regions[name, control]

    def _made(self, name: str, control: Control) -> Tensor:
        which = self.items.which[name]
        if control == "random":
            # What is known of the region is what is moved, so that the areas match.
            masks = self.region(name, "")
            moved = Region("core", control="random")
            return region_masks(masks, masks, moved, places=[self._place(k) for k in which])
        region = self.regions[name]
        masks = (self.items.others if control == "other" else self.items.masks)[name]
        return region_masks(masks, masks, region.at(masks.shape[-1])) * self.items.known[self.rows(which)]

    def _place(self, item: int) -> Tensor:
        """Where an item's masks are moved to. A seed of its own: it has nothing to do with the noise."""
        if item not in self._places:
            (seed,) = image_seeds(self.seed, [self.items.image_ids[item]], "region")
            self._places[item] = random_places(self.images.shape[2:], seed, self.images.device)
        return self._places[item]


def ready(batch: ItemBatch, classifier: Classifier, device: str) -> Tensor:
    """The images (B, 3, S, S) float32 in [0, 1] on the device, in the layout that the classifier likes."""
    layout = torch.channels_last if classifier.channels_last else torch.contiguous_format
    return unit_images(batch.images.to(device), layout)
