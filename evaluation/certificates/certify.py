"""Whether core and spurious masks certify their class to a classifier: it is shown nothing else of the image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.certificates.choices import Asked
from salient_imagenet_data.evaluation.certificates.figures import (
    OTHER,
    OWN,
    RANDOM,
    SEARCHED,
    Certificates,
    OfKind,
    Seen,
    of_kind,
)
from salient_imagenet_data.evaluation.certificates.search import searched
from salient_imagenet_data.evaluation.numbers.bootstrap import value_average
from salient_imagenet_data.evaluation.plan.plan import left_out_in, rows_in
from salient_imagenet_data.evaluation.plan.regions import RegionOfStore, labels_of
from salient_imagenet_data.evaluation.run.found import images_found, images_to_swap_in, say
from salient_imagenet_data.evaluation.run.images import ItemBatch, Items, ready
from salient_imagenet_data.evaluation.run.settings import SMALL, Settings
from salient_imagenet_data.joining import Images, Joined, opened
from salient_imagenet_data.loaders.controls import moved, random_places, region_masks
from salient_imagenet_data.loaders.corruption.corruptions import corrupt, image_seeds
from salient_imagenet_data.loaders.region import Region
from salient_imagenet_data.names import KINDS, Kind
from salient_imagenet_data.networks.classifiers import Classifier, checked_logits
from salient_imagenet_data.networks.pixels import unit_images
from salient_imagenet_data.progress import progress
from salient_imagenet_data.store.reading import Store


@dataclass(frozen=True)
class Tried:
    """Masks of one kind, tried on images that are answered right. positions: (b,) of the images. whole: (b,) p(y | x).
    areas: (b,) of their own masks. seen: through each, by `figures.WORDS`. wrong: (b,) the likeliest other class
    through each. shown: (b, 3, S, S) float32 what was seen, on the CPU, where that is kept; of the searched masks,
    through that for another class."""

    positions: NDArray[np.int64]
    whole: NDArray[np.float64]
    areas: NDArray[np.float64]
    seen: dict[str, Seen]
    wrong: dict[str, NDArray[np.int64]]
    shown: dict[str, Tensor]


@dataclass(frozen=True)
class Answered:
    """A batch. labels, whole: (B,) classes and p(y | x), of all its images; right: (B,) whether answered so. tried: by
    kind. empty: by kind, how many of the right ones have no pixel in their mask."""

    labels: NDArray[np.int64]
    whole: NDArray[np.float64]
    right: NDArray[np.bool_]
    tried: dict[Kind, Tried]
    empty: dict[Kind, int]


def certify(
    classifier: Classifier,
    store: Store | str | Path,
    images: Images,
    asked: Asked = Asked(),  # noqa: B008 - frozen
    settings: Settings = SMALL,
    report: Callable[[str], None] = say,
) -> Certificates:
    """The figures of `figures` over a store's images, of those of its classes with a core or a spurious feature that
    the classifier answers right.

    It answers among the store's classes. Controls are as many pixels where the mask of another image is strongest, one
    of another class where there are several, and as many at a random place; and, with steps, masks of the same values
    that are searched for the class, and for any other. report: is told what is left out. Raises SalientError where no
    class has a feature, or a model will not do.
    """
    store, source = opened(store, images)
    joined = images_of(store, source, settings, report)
    pool = images_to_swap_in(joined, settings, report) if asked.hidden_by.needs_other else None
    found = list(answered(classifier, joined, pool, asked, settings))
    whole, right, labels = (np.concatenate([getattr(b, name) for b in found]) for name in ("whole", "right", "labels"))
    kinds: dict[Kind, OfKind] = {}
    for kind in KINDS:
        parts = [b.tried[kind] for b in found if kind in b.tried]
        empty = sum(b.empty.get(kind, 0) for b in found)
        if not parts and not empty:
            continue
        positions = np.concatenate([np.zeros(0, dtype=np.int64), *(p.positions for p in parts)])
        seen = {
            name: Seen(*(np.concatenate([getattr(p.seen[name], side) for p in parts]) for side in ("label", "wrong")))
            for name in (parts[0].seen if parts else ())
        }
        areas = np.concatenate([np.zeros(0), *(p.areas for p in parts)])
        kinds[kind] = of_kind(whole[positions], seen, areas, labels[positions], empty, asked.alpha)
    confidence = value_average(np.where(right, whole, np.nan), labels)
    facts = left_out_in(store, settings.fold, settings.left_out)
    counts = len(right), int(right.sum())
    return Certificates(asked.alpha, asked.threshold, asked.fill, *counts, confidence, kinds, facts)


def images_of(store: Store, images: Images, settings: Settings, report: Callable[[str], None] = say) -> Joined:
    """The images of a fold whose class has a core or a spurious feature. Raises SalientError for none."""
    rows = np.unique(np.concatenate([region.rows for region in _regions(store, 0.5)]))
    wanted = np.intersect1d(rows, rows_in(store, settings.fold, settings.left_out))
    if not len(wanted):
        expected = "images with a core or a spurious feature"
        raise SalientError(f"{store.path}: nothing to certify", expected=expected, got="none")
    return images_found(store, images, settings, wanted, report)


def answered(
    classifier: Classifier,
    joined: Joined,
    pool: Joined | None,
    asked: Asked,
    settings: Settings,
    *,
    keep: bool = False,
) -> Iterator[Answered]:
    """Batch after batch of the images. pool: of which others are swapped in, where that hides pixels. keep: what was
    seen, to show it."""
    store = joined.store
    classifier = classifier.among("store").to(settings.device)
    if isinstance(classifier.model, nn.Module):
        classifier.model.requires_grad_(False)  # as `open_network` gives it: only the mask has a gradient
    if len(store.class_names) < 2:
        raise SalientError(f"{store.path}: one class, which needs no certificate", expected="two or more")
    preprocessing = classifier.preprocessing or store.manifest.preprocessing
    regions = _regions(store, asked.threshold)
    items = Items(joined, preprocessing, regions, controlled=KINDS, pool=pool, seed=settings.seed)
    labels = store.rows.labels[joined.rows].astype(np.int64)
    loader = DataLoader(items, settings.batch_size, collate_fn=ItemBatch.of, num_workers=settings.workers)
    with progress((), total=len(items), what=classifier.name) as bar:
        for batch in loader:
            yield _Batch(batch, classifier, labels[batch.positions], store, asked, settings).answered(keep)
            bar.update(len(batch))


def _regions(store: Store, threshold: float) -> list[RegionOfStore]:
    """Core and spurious masks, 1 where they reach the threshold."""
    region = Region("core", threshold=threshold)
    return [RegionOfStore(kind, store.kind_table[kind][labels_of(store)], region) for kind in KINDS]


class _Batch:
    """Some images on the device."""

    def __init__(
        self,
        batch: ItemBatch,
        classifier: Classifier,
        labels: NDArray[np.int64],
        store: Store,
        asked: Asked,
        settings: Settings,
    ) -> None:
        self.batch, self.classifier, self.labels, self.asked = batch.to(settings.device), classifier, labels, asked
        self.classes, self.seed = len(store.class_names), settings.seed
        self.grid = asked.grid or int(store.maps.shape[-1])
        self.images = ready(self.batch, classifier, settings.device)
        self.regions = {region.name: region.region for region in _regions(store, asked.threshold)}

    def answered(self, keep: bool) -> Answered:
        everything = torch.ones_like(self.images[:, :1])
        p = self._probabilities(list(range(len(self.batch))), everything)
        right = p.argmax(axis=1) == self.labels
        tried, empty = {}, {}
        for kind in KINDS:
            which = [k for k in self.batch.which.get(kind, []) if right[k]]
            if not which:
                continue
            masks = self._masks(kind, which)
            there = (masks[OWN] > 0).flatten(1).any(dim=1).tolist()
            empty[kind] = there.count(False)
            kept = [place for place, full in enumerate(there) if full]
            if kept:
                chosen = [which[place] for place in kept]
                tried[kind] = self._tried(chosen, {name: mask[kept] for name, mask in masks.items()}, p, keep)
        return Answered(self.labels, p[np.arange(len(p)), self.labels], right, tried, empty)

    def _masks(self, kind: Kind, which: list[int]) -> dict[str, Tensor]:
        """Of some images: their own masks, 0 where nothing is known; as many pixels where another image's mask is
        strongest, and as many at a random place."""
        place = [self.batch.which[kind].index(k) for k in which]
        own, other = self.batch.masks[kind][place], self.batch.others[kind][place]
        own = region_masks(own, own, self.regions[kind]) * self.batch.known[which]
        seeds = image_seeds(self.seed, [self.batch.image_ids[k] for k in which], "region")
        chance = torch.stack([random_places(own.shape[2:], seed, own.device) for seed in seeds])
        # Of equal values, such as the zeros of the other mask, those come first that are higher in the random field.
        strength = other.flatten(1).gather(1, chance).argsort(dim=1, stable=True)
        return {OWN: own, OTHER: moved(own, chance.gather(1, strength)), RANDOM: moved(own, chance)}

    def _tried(self, which: list[int], masks: dict[str, Tensor], p: NDArray[np.float64], keep: bool) -> Tried:
        labels = self.labels[which]
        rows = np.arange(len(which))
        found = {name: self._probabilities(which, mask) for name, mask in masks.items()}
        label = {name: each[rows, labels] for name, each in found.items()}
        if self.asked.steps:
            best, masks[SEARCHED] = self._searched(which, masks[OWN], labels)
            found[SEARCHED] = self._probabilities(which, masks[SEARCHED])
            label[SEARCHED] = self._probabilities(which, best)[rows, labels]
        for each in found.values():
            each[rows, labels] = -1.0
        seen = {name: Seen(label[name], each.max(axis=1)) for name, each in found.items()}
        wrong = {name: each.argmax(axis=1) for name, each in found.items()}
        positions = np.array(self.batch.positions)[which]
        areas = masks[OWN].mean(dim=(1, 2, 3)).cpu().numpy().astype(np.float64)
        shown = {"whole": torch.ones_like(masks[OWN]), **masks} if keep else {}
        seen_pixels = {name: self._shown(which, mask).cpu() for name, mask in shown.items()}
        return Tried(positions, p[which, labels], areas, seen, wrong, seen_pixels)

    def _searched(self, which: list[int], masks: Tensor, labels: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Masks of the same values for the images' own classes, and for any other."""
        own = torch.from_numpy(np.arange(self.classes) == labels[:, None]).to(masks.device)
        images, hidden = self._shown(which, torch.ones_like(masks)), self._shown(which, torch.zeros_like(masks))
        model, steps = self.classifier.model, self.asked.steps
        first, second = (
            searched(model, images, hidden, masks, allowed, steps=steps, grid=self.grid) for allowed in (own, ~own)
        )
        return first, second

    def _shown(self, which: list[int], masks: Tensor) -> Tensor:
        """(b, 3, S, S): some images, seen through masks."""
        hidden_by = self.asked.hidden_by
        seeds = image_seeds(self.seed, [self.batch.image_ids[k] for k in which])
        swaps = None if self.batch.swaps is None else unit_images(self.batch.swaps[which])
        layout = torch.channels_last if self.classifier.channels_last else torch.contiguous_format
        others = swaps if hidden_by.needs_other else None
        shown = corrupt(self.images[which], 1.0 - masks, hidden_by, seeds, others=others, check_values=False)
        return shown.contiguous(memory_format=layout)

    def _probabilities(self, which: list[int], masks: Tensor) -> NDArray[np.float64]:
        """(b, C) of some images, seen through masks."""
        with torch.no_grad():
            logits = checked_logits(self.classifier.model(self._shown(which, masks)), len(which), self.classes).float()
        if not bool(torch.isfinite(logits).all()):
            raise SalientError("model's output holds NaN or infinities", expected="finite logits")
        return logits.softmax(dim=1).cpu().numpy().astype(np.float64)
