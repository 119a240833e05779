"""From orders of pixels to figures: what the classifier makes of subsets of each image, and where they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.numbers.bootstrap import value_average
from salient_imagenet_data.evaluation.plan.regions import RegionOfStore, labels_of
from salient_imagenet_data.evaluation.run.images import ItemBatch, Items, classmates, ready
from salient_imagenet_data.evaluation.run.settings import SMALL, Settings
from salient_imagenet_data.evaluation.sufficiency.choices import DILATIONS, SHARES
from salient_imagenet_data.evaluation.sufficiency.figures import PARTS, OnSubset, Sufficiency, place, wrong_class
from salient_imagenet_data.evaluation.sufficiency.given import check_images, joined_with, preprocessing_of, sure_sizes
from salient_imagenet_data.evaluation.sufficiency.orders import Orders
from salient_imagenet_data.evaluation.sufficiency.select import batches_of
from salient_imagenet_data.evaluation.sufficiency.selection import composed
from salient_imagenet_data.evaluation.sufficiency.subsets import (
    border,
    border_width,
    dilated,
    kept,
    parts,
    random_orders,
    size_of,
    sufficient_sizes,
)
from salient_imagenet_data.joining import Images, Joined
from salient_imagenet_data.loaders.corruption.corruptions import image_seeds
from salient_imagenet_data.names import KINDS, Kind
from salient_imagenet_data.networks.classifiers import Classifier, checked_logits
from salient_imagenet_data.ranking.left_out import LeftOutFacts
from salient_imagenet_data.store.reading import Store

Columns = dict[str, NDArray[np.float64]]
"""By name, (n,) a figure of each image; NaN where it has no meaning."""


@dataclass(frozen=True)
class Asked:
    """What is measured. threshold: the confidence that is sufficient, in (0, 1]. border: pixels, None: those of
    `border_width`. shares: of an image's pixels. dilations: pixels. Raises SalientError for values that will not do."""

    threshold: float = 0.9
    border: int | None = None
    shares: Sequence[float] = SHARES
    dilations: Sequence[int] = DILATIONS

    def __post_init__(self) -> None:
        if not 0.0 < self.threshold <= 1.0:
            raise SalientError("threshold", expected="above 0 and at most 1", got=f"{self.threshold:g}")
        if not all(0.0 < share < 1.0 for share in self.shares):
            raise SalientError("shares of the pixels", expected="above 0 and below 1", got=str(list(self.shares)))

    def edge(self, side: int) -> tuple[int, NDArray[np.bool_]]:
        """The width of the border of a crop, and (side, side) its pixels. Raises SalientError where it is too wide."""
        width = border_width(side) if self.border is None else self.border
        return width, border(side, width)


def measure(
    classifier: Classifier,
    orders: Orders,
    store: Store | str | Path,
    images: Images,
    asked: Asked = Asked(),
    settings: Settings = SMALL,
) -> Sufficiency:
    """The figures of a classifier and its orders. Where the store is not annotated there are none of places.

    Raises SalientError for another classifier than the orders were made with, or for a store of other images.
    """
    return measure_joined(classifier, orders, joined_with(orders, store, images), asked, settings)


def measure_joined(
    classifier: Classifier, orders: Orders, joined: Joined, asked: Asked = Asked(), settings: Settings = SMALL
) -> Sufficiency:
    """As `measure`, of images that have been found. joined: of the rows of the orders."""
    if classifier.recorded != orders.recipe.model:
        raise SalientError(f"{orders.path}: orders of another classifier", got=str(orders.recipe.model.get("name")))
    check_images(orders, joined.store)
    sizes, width = sure_sizes(orders, asked.threshold), asked.edge(orders.recipe.side)[0]
    columns = columns_of(classifier, orders, joined, sizes, asked, settings)
    return _figures(columns, orders, sizes, asked, width, joined.store.manifest.annotations_sha256 is not None)


def columns_of(
    classifier: Classifier,
    orders: Orders,
    joined: Joined,
    sizes: NDArray[np.int64],
    asked: Asked,
    settings: Settings,
) -> Columns:
    """The figures of each image. sizes: as of `sure_sizes`."""
    store, recipe = joined.store, orders.recipe
    annotated = store.manifest.annotations_sha256 is not None
    regions = [RegionOfStore(k, store.kind_table[k][labels_of(store)]) for k in KINDS] if annotated else []
    mates = classmates(store, settings.seed) if annotated else None
    items = Items(joined, preprocessing_of(orders), regions, controlled=KINDS, partner=mates, seed=settings.seed)
    alone = np.zeros(len(orders), dtype=np.bool_) if mates is None else mates[joined.rows] == joined.rows
    _, edge = asked.edge(recipe.side)
    classifier = classifier.to(settings.device)
    found: list[Columns] = []
    for batch in batches_of(items, [list(range(len(orders)))], settings):
        of = _Batch(batch, orders, sizes, alone, edge, asked, settings.seed)
        x = ready(batch, classifier, settings.device)
        fill = torch.tensor(recipe.fill, dtype=torch.float32, device=x.device)
        columns = of.lying()
        for name, keep in of.subsets().items():
            shown = composed(x, torch.from_numpy(~keep).to(x.device), fill)
            with torch.inference_mode():
                logits = checked_logits(classifier.model(shown), len(batch), len(store.class_names))
            columns |= of.answers(name, logits)
        found.append(columns)
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


class _Batch:
    """Some images with their orders and the sizes of their sufficient subsets, negative for those that are not sure.
    alone: of all images, those whose class has no other."""

    def __init__(
        self,
        batch: ItemBatch,
        orders: Orders,
        sizes: NDArray[np.int64],
        alone: NDArray[np.bool_],
        edge: NDArray[np.bool_],
        asked: Asked,
        seed: int,
    ) -> None:
        rows = np.array(batch.positions)
        self.batch, self.recipe, self.edge, self.asked = batch, orders.recipe, edge, asked
        self.order = orders.order(int(rows[0]), int(rows[-1]) + 1)
        self.random = random_orders(orders.recipe.cells, image_seeds(seed, batch.image_ids, "subset"))
        self.sizes, self.labels, self.answered = sizes[rows], orders.labels[rows], orders.classes[rows, 0]
        self.sure, self.alone = self.sizes >= 0, alone[rows]
        self.sufficient = self._kept(self.order, np.maximum(self.sizes, 0))

    def _kept(self, order: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
        return kept(order, sizes, self.recipe.side, self.recipe.cell)

    def subsets(self) -> dict[str, NDArray[np.bool_]]:
        """(b, S, S) pixels that are shown, by what they are called."""
        everything = np.ones_like(self.sufficient)
        edge = np.broadcast_to(self.edge, everything.shape)
        found = {"whole": everything, "border": edge, "without border": ~edge, "sufficient": self.sufficient}
        found |= {f"dilated {d}": dilated(self.sufficient, d) for d in self.asked.dilations}
        found["random"] = self._kept(self.random, np.maximum(self.sizes, 0))
        for share in self.asked.shares:
            size = np.full(len(self.sizes), size_of(share, self.recipe.cells))
            found[f"last {share:g}"], found[f"random {share:g}"] = (
                self._kept(o, size) for o in (self.order, self.random)
            )
        return found

    def answers(self, name: str, logits: Tensor) -> Columns:
        """Of a subset: confidence in the answer, whether it is right, and whether it is that of the whole image."""
        p = logits.float().softmax(dim=1).cpu().numpy().astype(np.float64)
        confidence = p[np.arange(len(p)), self.answered]
        answer = p.argmax(axis=1)
        right, same = (answer == self.labels).astype(np.float64), (answer == self.answered).astype(np.float64)
        return {
            f"{name} confidence": np.where(self.sure, confidence, np.nan),
            f"{name} right": right,
            f"{name} same": same,
        }

    def lying(self) -> Columns:
        """Where the sufficient subsets lie: shares of their pixels, of the image, and by both masks of one other image
        of the class."""
        everywhere = np.ones_like(self.sufficient)
        edge = np.broadcast_to(self.edge, everywhere.shape)
        columns = {"border share": self._share(edge, everywhere), "border area": self._area(edge, everywhere)}
        known = self.batch.known[:, 0].numpy()
        own, has = self._masks(self.batch.masks)
        other, _ = self._masks(self.batch.others)
        counts = {"core": has["core"], "spurious": has["spurious"], "neither": has["core"] | has["spurious"]}
        for name, here, there in zip(
            PARTS, parts(own["core"], own["spurious"]), parts(other["core"], other["spurious"]), strict=True
        ):
            columns[f"{name} share"] = np.where(counts[name], self._share(here, known), np.nan)
            columns[f"{name} area"] = np.where(counts[name], self._area(here, known), np.nan)
            columns[f"{name} other"] = np.where(counts[name] & ~self.alone, self._share(there, known), np.nan)
        return columns

    def _masks(
        self, given: Mapping[str, Tensor]
    ) -> tuple[dict[Kind, NDArray[np.float32]], dict[Kind, NDArray[np.bool_]]]:
        """By kind: masks (b, S, S), 0 where the image's class has none, and (b,) whether it has one."""
        masks: dict[Kind, NDArray[np.float32]] = {}
        has: dict[Kind, NDArray[np.bool_]] = {}
        for kind in KINDS:
            masks[kind] = np.zeros(self.sufficient.shape, dtype=np.float32)
            has[kind] = np.zeros(len(self.sizes), dtype=np.bool_)
            which = self.batch.which.get(kind, [])
            if which:
                masks[kind][which], has[kind][which] = given[kind][:, 0].numpy(), True
        return masks, has

    def _share(self, region: NDArray[np.bool_], known: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(b,) share of the subset's known pixels in a region; NaN without one, or without a subset."""
        inside, total = (self.sufficient & known & region).sum((1, 2)), (self.sufficient & known).sum((1, 2))
        there = self.sure & (total > 0)
        return np.where(there, inside / np.maximum(total, 1), np.nan)

    @staticmethod
    def _area(region: NDArray[np.bool_], known: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.asarray((region & known).sum((1, 2)) / np.maximum(known.sum((1, 2)), 1))


def _figures(
    columns: Columns, orders: Orders, sizes: NDArray[np.int64], asked: Asked, width: int, annotated: bool
) -> Sufficiency:
    labels, recipe = orders.labels, orders.recipe
    sure = sizes >= 0
    shares = np.where(sure, sizes / recipe.cells, np.nan)
    named = {"whole": "the whole image", "sufficient": "sufficient subset"}
    named |= {f"dilated {d}": f"dilated by {d} px" for d in asked.dilations} | {"random": "as many random pixels"}
    wrong = None
    if recipe.wrong_class:
        wrong_sizes = sufficient_sizes(orders.wrong_confidence, recipe.cells, recipe.step, asked.threshold)
        wrong = wrong_class(wrong_sizes[sure], sizes[sure], labels[sure], recipe.cells)

    return Sufficiency(
        threshold=asked.threshold,
        images=len(orders),
        sure=int(sure.sum()),
        empty=int((sizes == 0).sum()),
        step=recipe.step / recipe.cells,
        size=value_average(shares, labels),
        median=float(np.median(shares[sure])) if sure.any() else float("nan"),
        places={part: place(columns, part, labels) for part in PARTS} if annotated else {},
        border_width=width,
        border=place(columns, "border", labels, other=False),
        confidence={what: value_average(columns[f"{name} confidence"], labels) for name, what in named.items()},
        wrong_class=wrong,
        accuracy=value_average(columns["whole right"], labels),
        border_only=value_average(columns["border right"], labels),
        without_border=value_average(columns["without border right"], labels),
        subsets=tuple(
            OnSubset(
                share,
                value_average(columns[f"last {share:g} right"], labels),
                value_average(columns[f"random {share:g} right"], labels),
                value_average(columns[f"last {share:g} same"], labels),
            )
            for share in asked.shares
        ),
        left_out=None if recipe.left_out is None else LeftOutFacts(**recipe.left_out),
    )
