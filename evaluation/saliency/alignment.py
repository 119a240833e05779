"""Where a model looks, against where the object is: saliency maps beside core masks [Moayeri et al. 2022, section 5].

The figures are pure functions on arrays; `attributions` makes the maps; `align` runs both over a store.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.numbers.bootstrap import value_average
from salient_imagenet_data.evaluation.numbers.estimates import Estimate
from salient_imagenet_data.evaluation.numbers.overlap import auroc, iou, pointing
from salient_imagenet_data.evaluation.plan.plan import rows_in
from salient_imagenet_data.evaluation.plan.regions import RegionOfStore, foreground, labels_of
from salient_imagenet_data.evaluation.run.found import images_found
from salient_imagenet_data.evaluation.run.images import ItemBatch, Items
from salient_imagenet_data.evaluation.run.settings import SMALL, Settings
from salient_imagenet_data.evaluation.saliency.attributions import check_place, chosen_layer, saliency_of
from salient_imagenet_data.evaluation.saliency.curves import Curves, areas
from salient_imagenet_data.evaluation.saliency.methods import Depth, Method
from salient_imagenet_data.joining import Images, opened
from salient_imagenet_data.loaders.corruption.corruptions import image_seeds
from salient_imagenet_data.names import SPURIOUS
from salient_imagenet_data.networks.classifiers import Classifier, check_output
from salient_imagenet_data.networks.pixels import unit_images
from salient_imagenet_data.progress import progress
from salient_imagenet_data.store.reading import Store

Saliency = Callable[[Tensor, Tensor], Tensor]
"""Images (B, 3, S, S) in [0, 1] and classes (B,) -> maps (B, S, S), larger where the model looks."""


@dataclass(frozen=True)
class OfImage:
    """How saliency lies on the mask of one image; NaN where a figure has no meaning."""

    iou: float
    difference: float
    mass: float
    average_precision: float
    auroc: float
    pointing: float


@dataclass(frozen=True)
class Alignment:
    """The same over images: for each figure the mean over classes of each class's mean.

    iou and mass also on the spurious masks, of images whose class has a spurious feature, and on what is neither, 1 -
    max(core, spurious). cover, cover_spurious and cover_neither: the means of the three masks, which is the mass on
    them of a map that is the same everywhere. Where core and spurious masks overlap, the three masses add up to more
    than 1. area and area_spurious: the shares of the pixels where the masks reach 0.5, which is how often a random
    pixel is pointed there. curves: where they were asked for.
    """

    iou: Estimate
    difference: Estimate
    mass: Estimate
    average_precision: Estimate
    auroc: Estimate
    pointing: Estimate
    iou_spurious: Estimate
    mass_spurious: Estimate
    iou_neither: Estimate
    mass_neither: Estimate
    cover: Estimate
    cover_spurious: Estimate
    cover_neither: Estimate
    pointing_spurious: Estimate
    area: Estimate
    area_spurious: Estimate
    curves: Curves | None = None


def alignment(saliency: NDArray[np.floating], mask: NDArray[np.floating], threshold: float = 0.5) -> OfImage:
    """How saliency, not negative, lies on a soft mask in [0, 1]: two arrays of one shape, of the pixels of an image.

    iou: of saliency over its peak and mask, both at `threshold`. difference: mean of saliency over its peak where the
    mask reaches the threshold minus elsewhere, in [-1, 1]. mass: share of the saliency in the mask, weighted by it, in
    [0, 1]: the energy pointing game, EPG [Wang et al. 2020; Rao et al. 2023]. average_precision and auroc: of saliency
    as a score for mask >= threshold. pointing: whether the maximum lies where the mask reaches it, of several equal
    ones the share. NaN where a figure has no meaning: nothing or all in the mask, and for iou, difference, mass and
    pointing a map of zeros. Raises ValueError for other shapes or values.
    """
    if saliency.shape != mask.shape:
        raise ValueError(f"alignment: expected two arrays of one shape, got {saliency.shape} and {mask.shape}")
    if not (np.isfinite(saliency).all() and (saliency >= 0).all()):
        raise ValueError("alignment: expected saliency of finite numbers >= 0")
    truth, values, peak = mask >= threshold, saliency.astype(np.float64), float(saliency.max())
    split = bool(truth.any() and not truth.all())
    scaled = values / peak if peak > 0 else np.full_like(values, np.nan)
    overlap, mass = iou_and_mass(saliency, mask, threshold)
    return OfImage(
        iou=overlap,
        difference=float(scaled[truth].mean() - scaled[~truth].mean()) if split else math.nan,
        mass=mass,
        average_precision=average_precision(values, truth) if split else math.nan,
        auroc=auroc(values, truth),
        pointing=pointing(values, truth) if peak > 0 else math.nan,
    )


def iou_and_mass(
    saliency: NDArray[np.floating], mask: NDArray[np.floating], threshold: float = 0.5
) -> tuple[float, float]:
    """Both as of `alignment`; NaN for a map of zeros."""
    values, peak = saliency.astype(np.float64), float(saliency.max())
    if not peak > 0:
        return math.nan, math.nan
    return iou(values / peak, mask >= threshold, threshold), float((values * mask).sum() / values.sum())


def average_precision(scores: NDArray[np.floating], truth: NDArray[np.bool_]) -> float:
    """Sum over distinct scores, from the highest, of the gain in recall times the precision. NaN without a True."""
    flat, positive = scores.ravel(), truth.ravel()
    if not positive.any():
        return math.nan
    order = np.argsort(-flat, kind="stable")
    last = np.append(np.diff(flat[order]) != 0, True)  # equal scores are taken together
    hits = np.cumsum(positive[order])[last].astype(np.float64)
    precision, recall = hits / (np.flatnonzero(last) + 1), hits / hits[-1]
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def align(
    classifier: Classifier,
    store: Store | str | Path,
    images: Images,
    *,
    saliency: Saliency | Method = "grad_cam",
    layer: str | None = None,
    depth: Depth | None = None,
    curves: int = 0,
    settings: Settings = SMALL,
) -> Alignment:
    """The figures of `alignment` over a store's images, against the union of their core masks, and mass and iou against
    the union of their spurious ones and what is neither.

    saliency: of the images' own classes: a method of `attributions` at a layer, or at a depth (`layer_at`), by default
    its `default_layer`, or a function. curves: steps of deletion and insertion (`curves.areas`), 0: none. Images whose
    class has no core feature do not count. Where nothing is known of a pixel it does not count. Intervals are
    percentile bootstraps over images within class; images of which a figure is NaN are left out of it. Raises
    SalientError where no image has a core feature.
    """
    check_place(layer, depth)
    store, source = opened(store, images)
    region = foreground(store)
    wanted = np.intersect1d(region.rows, rows_in(store, settings.fold, settings.left_out))
    if not len(wanted):
        raise SalientError(f"{store.path}: nothing to align with", expected="images with a core feature", got="none")
    joined = images_found(store, source, settings, wanted)
    preprocessing = classifier.preprocessing or store.manifest.preprocessing
    model = classifier.to(settings.device).model
    if isinstance(saliency, str):
        if not isinstance(model, nn.Module):
            raise SalientError(f"{classifier.name}: {saliency} needs a network", got=type(model).__name__)
        check_output(model, preprocessing.crop, classifier.outputs(len(store.class_names)), settings.device)
        saliency = saliency_of(model, saliency, chosen_layer(model, saliency, layer, depth, preprocessing.crop))
    cues = RegionOfStore(SPURIOUS, store.kind_table[SPURIOUS][labels_of(store)])
    items = Items(joined, preprocessing, [region, cues])
    labels = labels_of(store)[joined.rows]
    found: list[list[float]] = []
    drawn: list[NDArray[np.float64]] = []
    with progress((), total=len(items), what=classifier.name) as bar:
        for batch in DataLoader(items, settings.batch_size, collate_fn=ItemBatch.of, num_workers=settings.workers):
            pixels = unit_images(batch.images.to(settings.device))
            pixels = pixels.contiguous(memory_format=torch.channels_last) if classifier.channels_last else pixels
            classes = torch.from_numpy(labels[batch.positions]).to(settings.device)
            saliency_maps = saliency(pixels, classes).float()
            maps = saliency_maps.cpu().numpy()
            known = batch.known[:, 0].numpy()
            core = batch.masks[region.name][:, 0].numpy()  # every image has one
            which = batch.which.get(cues.name, [])
            spurious = dict(zip(which, batch.masks[cues.name][:, 0].numpy(), strict=True)) if which else {}
            for k, saliency_map in enumerate(maps):
                there = known[k]
                cue = spurious[k][there] if k in spurious else None
                found.append(_figures(saliency_map[there], core[k][there], cue))
            if curves:
                order = [saliency_maps * batch.known[:, 0].to(saliency_maps), batch.masks[region.name][:, 0]]
                seeds = image_seeds(settings.seed, batch.image_ids, "curves")
                drawn.append(areas(model, pixels, classes, order, seeds, curves))
            bar.update(len(batch))
    values = np.array(found, dtype=np.float64)
    names = [field.name for field in fields(Alignment)]
    figures: dict[str, Any] = {k: value_average(v, labels) for k, v in zip(names[:-1], values.T, strict=True)}
    if curves:
        figures[names[-1]] = Curves(*(value_average(column, labels) for column in np.concatenate(drawn).T))
    return Alignment(**figures)


def _figures(
    saliency: NDArray[np.floating], core: NDArray[np.floating], cue: NDArray[np.floating] | None
) -> list[float]:
    """Those of `Alignment`, in its order, of one image. cue: its spurious mask, None where its class has none."""
    neither = 1.0 - (core if cue is None else np.maximum(core, cue))
    spurious = (math.nan, math.nan) if cue is None else iou_and_mass(saliency, cue)
    covers = [float(core.mean()), math.nan if cue is None else float(cue.mean()), float(neither.mean())]
    reached = core >= 0.5, None if cue is None else cue >= 0.5
    pointed = math.nan if reached[1] is None or not saliency.max() > 0 else pointing(saliency, reached[1])
    areas = [math.nan if where is None else float(where.mean()) for where in reached]
    return [
        *astuple(alignment(saliency, core)),
        *spurious,
        *iou_and_mass(saliency, neither),
        *covers,
        pointed,
        *areas,
    ]
