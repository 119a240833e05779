"""Images under every condition of a plan: decoded once, corrupted on the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from salient_imagenet_data.evaluation.conditions import CLEAN, Condition
from salient_imagenet_data.evaluation.corruptions import corruption_of
from salient_imagenet_data.evaluation.frames import Frame, mask_in_frame
from salient_imagenet_data.evaluation.protocols import Plan, Region
from salient_imagenet_data.join import Joined
from salient_imagenet_data.loaders import regions as masked
from salient_imagenet_data.loaders.corruptions import corrupt, image_seeds


@dataclass(frozen=True)
class Item:
    """One image in the model's frame. image: (3, S, S) uint8. known: (S, S) bool. masks, others: by region, (S, S)
    float32 in [0, 1], its own mask and another image's; only the regions that count for it."""

    position: int
    row: int
    image_id: str
    image: Tensor
    known: Tensor
    masks: dict[str, Tensor] = field(default_factory=dict)
    others: dict[str, Tensor] = field(default_factory=dict)


class Items(Dataset[Item]):
    """The images of a plan with their masks. regions: those that some pending condition needs."""

    def __init__(self, joined: Joined, plan: Plan, frame: Frame, regions: Sequence[str], *, seed: int) -> None:
        self.joined, self.plan, self.frame = joined, plan, frame
        self.regions = [plan.regions[name] for name in regions]
        controlled = {c.region for c in plan.conditions if c.control == "other"}
        self.partner = {r.name: partner_rows(joined, r, seed) for r in self.regions if r.name in controlled}
        _ = joined.store.maps

    def __len__(self) -> int:
        return len(self.joined)

    def __getitem__(self, position: int) -> Item:
        row = int(self.joined.rows[position])
        record = self.joined.store.rows[row]
        pixels = self.joined.image(position)
        size = pixels.shape[1], pixels.shape[0]
        image = torch.from_numpy(self.frame.apply(pixels)).permute(2, 0, 1)
        known = torch.ones(image.shape[1:], dtype=torch.bool)
        masks, others = {}, {}
        for region in self.regions:
            if region.chosen[row].any():
                masks[region.name], known = self._mask(row, region, size)
                if region.name in self.partner:
                    others[region.name], _ = self._mask(int(self.partner[region.name][row]), region, size)
        return Item(position, row, record.image_id, image, known, masks, others)

    def _mask(self, row: int, region: Region, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """A row's mask in the model's frame. size: of the image at hand, where the store does not know the row's."""
        store = self.joined.store
        record = store.rows[row]
        width, height = (record.width, record.height) if record.size_known else size
        ours = record.box if record.size_known else store.manifest.preprocessing.crop_box(width, height)
        box = self.frame.box(width, height)
        mask, known = mask_in_frame(store.maps[row], region.chosen[row], ours, box, self.frame.crop)
        # Bilinear weights add up to 1 but for rounding.
        return torch.from_numpy(np.minimum(mask, np.float32(1.0))), torch.from_numpy(known)


def partner_rows(joined: Joined, region: Region, seed: int) -> NDArray[np.int64]:
    """(N,) for each row of the region, another of its rows, of another class where there are several; -1 elsewhere.

    Chosen among all rows of the region, whether their images are at hand or not: only their masks are needed.
    """
    store, rows = joined.store, region.rows
    result = np.full(len(store), -1, dtype=np.int64)
    if len(rows) < 2:
        result[rows] = rows
        return result
    labels = store.rows.labels[rows]
    several = len(np.unique(labels)) > 1
    ids = store.rows.image_ids.take(pa.array(rows)).to_pylist()
    result[rows] = rows[masked.partners(ids, seed, labels=labels if several else None)]
    return result


def corrupted(
    items: Sequence[Item], conditions: Sequence[Condition], plan: Plan, *, seed: int, device: str, clean: bool
) -> Iterator[tuple[str, list[int], Tensor]]:
    """For each condition: its name, which of the items count, and their images (b, 3, S, S) float32 in [0, 1].

    Conditions in which none counts are left out. The random numbers of an image depend on (seed, image id) only, and
    all levels of one corruption use the same ones.
    """
    images = torch.stack([item.image for item in items]).to(device).float().div_(255.0)
    if clean:
        yield CLEAN, list(range(len(items))), images
    regions: dict[tuple[str, str], Tensor] = {}
    for condition in conditions:
        which = [k for k, item in enumerate(items) if condition.region in item.masks]
        if not which:
            continue
        key = (condition.region, condition.control)
        if key not in regions:
            regions[key] = _region([items[k] for k in which], condition, plan, seed=seed, device=device)
        seeds = image_seeds(seed, [items[k].image_id for k in which])
        yield condition.name, which, corrupt(images[which], regions[key], corruption_of(condition.corruption), seeds)


def _region(items: Sequence[Item], condition: Condition, plan: Plan, *, seed: int, device: str) -> Tensor:
    """(b, 1, S, S) float32 on the device: the condition's region of each item, 0 where nothing is known."""
    region = plan.regions[condition.region]
    own = torch.stack([item.masks[region.name] for item in items])[:, None].to(device)
    other = None
    if condition.control == "other":
        partner = torch.stack([item.others[region.name] for item in items])[:, None].to(device)
        other = (partner, partner)
    spec = masked.Region(
        "not_core" if region.complement else "core",
        control="other" if condition.control == "other" else None,
        dilation=region.iterations(own.shape[-1]),
        normalise=region.dilation > 0,
    )
    known = torch.stack([item.known for item in items])[:, None].to(device)
    masks = masked.region_masks(own, own, spec, others=other) * known
    if condition.control != "random":
        return masks
    # What is known of the region is what is moved, so that the areas match. A seed of its own: the place has nothing to
    # do with the noise.
    seeds = image_seeds(seed, [item.image_id for item in items], "region")
    return masked.region_masks(masks, masks, masked.Region("core", control="random"), seeds=seeds)
