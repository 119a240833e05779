"""Make the orders of a store's images for a classifier, in a folder; a stopped run goes on where it was."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.plan.plan import left_out_in, rows_in
from salient_imagenet_data.evaluation.run.found import images_found, say
from salient_imagenet_data.evaluation.run.images import ItemBatch, Items, ready
from salient_imagenet_data.evaluation.run.settings import SMALL, Settings
from salient_imagenet_data.evaluation.score.records import to_json
from salient_imagenet_data.evaluation.sufficiency.choices import Choice
from salient_imagenet_data.evaluation.sufficiency.folding import folded
from salient_imagenet_data.evaluation.sufficiency.given import classes_sha256, ids_at, images_sha256
from salient_imagenet_data.evaluation.sufficiency.orders import Orders, OrdersWriter, Recipe, claimed, read_orders
from salient_imagenet_data.evaluation.sufficiency.selection import Selected, backward_selection, gradient_selection
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.joining import Images, Joined, opened
from salient_imagenet_data.loaders.corruption.corruptions import image_seeds
from salient_imagenet_data.networks.classifiers import Classifier, Model, checked_logits
from salient_imagenet_data.progress import progress
from salient_imagenet_data.store.reading import Store

PASSES_AT_ONCE = 8
"""Masked images, for each image of a batch, that backward selection gives the model at a time."""


def joined_images(store: Store, images: Images, settings: Settings, report: Callable[[str], None] = say) -> Joined:
    """The images of a fold that are not left out. report: is told what is left out."""
    return images_found(store, images, settings, rows_in(store, settings.fold, settings.left_out), report)


def mean_colour(items: Items, settings: Settings) -> tuple[float, float, float]:
    """The mean colour of all images as the model gets them, to 6 digits."""
    total, count = torch.zeros(3, dtype=torch.float64), 0
    for batch in DataLoader(items, settings.batch_size, collate_fn=ItemBatch.of, num_workers=settings.workers):
        total += batch.images.double().sum(dim=(0, 1, 2))
        count += batch.images[..., 0].numel()
    red, green, blue = (round(v, 6) for v in (total / count / 255.0).tolist())
    return red, green, blue


def select(
    classifier: Classifier,
    store: Store | str | Path,
    images: Images,
    folder: Path,
    choice: Choice = Choice(),  # noqa: B008 - frozen
    settings: Settings = SMALL,
    *,
    overwrite: bool = False,
) -> Orders:
    """Order the pixels of each image so that the classifier stays sure of its answer, and write the orders to `folder`.

    The store need not be annotated. With `wrong_class` each image also gets an order for a class that is neither its
    own nor the answer, drawn by its id. What the folder holds of the same run is not made again. Raises
    SalientError for a folder of anything else, images that are missing, or a model that will not do.
    """
    store, source = opened(store, images)
    return select_joined(
        classifier, joined_images(store, source, settings), folder, choice, settings, overwrite=overwrite
    )


def select_joined(
    classifier: Classifier, joined: Joined, folder: Path, choice: Choice, settings: Settings, *, overwrite: bool = False
) -> Orders:
    """As `select`, of images that have been found (`joined_images`)."""
    store = joined.store
    preprocessing = classifier.preprocessing or store.manifest.preprocessing
    items = Items(joined, preprocessing)
    recipe = recipe_of(classifier, joined, preprocessing, items, choice, settings)
    with claimed(folder, recipe, overwrite=overwrite) as whole:
        if not whole:
            writer = OrdersWriter(folder, recipe)
            _fill(writer, classifier.to(settings.device), items, settings)
            rows, ids = joined.rows.tolist(), ids_at(store, joined.rows)
            labels = store.rows.labels[joined.rows].tolist()
            keys = ("row", "image_id", "label")
            writer.finish([dict(zip(keys, each, strict=True)) for each in zip(rows, ids, labels, strict=True)])
        return read_orders(folder)


def recipe_of(
    classifier: Classifier,
    joined: Joined,
    preprocessing: Preprocessing,
    items: Items,
    choice: Choice,
    settings: Settings,
) -> Recipe:
    """What the orders are made of. Raises SalientError for cells that do not fit the crop."""
    side = preprocessing.crop
    step = choice.step_at(side)
    return Recipe(
        model=classifier.recorded,
        images=len(joined),
        images_sha256=images_sha256(joined.store, joined.rows),
        classes_sha256=classes_sha256(joined.store),
        left_out=to_json(left_out_in(joined.store, settings.fold, settings.left_out)),
        preprocessing=dataclasses.asdict(preprocessing),
        side=side,
        selection=choice.selection,
        cell=choice.cell,
        step=step,
        fill=mean_colour(items, settings) if choice.fill is None else choice.fill,
        wrong_class=choice.wrong_class,
        seed=settings.seed,
        device=torch.device(settings.device).type,
    )


def batches_of(items: Items, groups: Iterable[list[int]], settings: Settings) -> Iterator[ItemBatch]:
    """Items by position, group after group, each in batches that do not cross into the next."""
    size = settings.batch_size
    parts = [group[start : start + size] for group in groups for start in range(0, len(group), size)]
    yield from DataLoader(items, batch_sampler=parts, collate_fn=ItemBatch.of, num_workers=settings.workers)


def wrong_classes(
    answered: NDArray[np.int64], labels: NDArray[np.int64], classes: int, seeds: list[int]
) -> NDArray[np.int64]:
    """(N,) for each image a class that is not the answer and, where there are three or more, not its own either, drawn
    from its seed."""
    found = []
    for answer, label, seed in zip(answered.tolist(), labels.tolist(), seeds, strict=True):
        left = [c for c in range(classes) if c not in (answer, label)] or [c for c in range(classes) if c != answer]
        found.append(left[np.random.default_rng(seed).integers(len(left))])
    return np.array(found, dtype=np.int64)


def _fill(writer: OrdersWriter, classifier: Classifier, items: Items, settings: Settings) -> None:
    """Make and write every shard that is missing."""
    recipe, store, device = writer.recipe, items.joined.store, settings.device
    model, classes = classifier.model, len(store.class_names)
    if isinstance(model, nn.Module):
        layout = torch.channels_last if classifier.channels_last else torch.preserve_format
        model.requires_grad_(False).to(memory_format=layout)
    if classes < 2:
        raise SalientError(f"{store.path}: one class, of which every answer is sure", expected="two or more")
    fill = torch.tensor(recipe.fill, dtype=torch.float32, device=device)
    labels = store.rows.labels[items.joined.rows].astype(np.int64)
    missing = writer.missing()
    batches = batches_of(items, [list(writer.rows(shard)) for shard in missing], settings)
    done = recipe.images - sum(len(writer.rows(shard)) for shard in missing)
    example = torch.rand(2, 3, recipe.side, recipe.side, generator=torch.Generator().manual_seed(0)).to(device)
    with folded(model, example), progress((), total=recipe.images, what=classifier.name) as bar:
        bar.update(done)
        for shard in missing:
            parts: dict[str, list[NDArray[np.generic]]] = {name: [] for name in recipe.arrays}
            while sum(map(len, parts["classes"])) < len(writer.rows(shard)):
                batch = next(batches)
                x = ready(batch, classifier, device)
                with torch.inference_mode():
                    answered = checked_logits(model(x), len(batch), classes).argmax(dim=1).cpu().numpy()
                seeds = image_seeds(recipe.seed, batch.image_ids, "wrong class")
                wrong = wrong_classes(answered, labels[batch.positions], classes, seeds)
                asked = [answered, wrong] if recipe.wrong_class else [answered]
                own, *others = _selected_for(model, x, asked, fill, recipe, settings.batch_size)
                parts["order"].append(own.order.cpu().numpy())
                parts["confidence"].append(own.confidence.cpu().numpy())
                other = others[0].confidence.cpu().numpy() if others else np.full_like(parts["confidence"][-1], np.nan)
                parts["classes"].append(np.stack([answered, wrong if others else np.full_like(wrong, -1)], axis=1))
                parts["wrong_confidence"].append(other)
                bar.update(len(batch))
            writer.write(shard, {name: np.concatenate(values) for name, values in parts.items()})


def _selected_for(
    model: Model, x: Tensor, asked: list[NDArray[np.int64]], fill: Tensor, recipe: Recipe, at_once: int
) -> list[Selected]:
    """Of the same images for one class each after another, or for all of these together where that is no more than
    `at_once` images."""
    if len(asked) * len(x) > at_once:
        return [_selected(model, x, classes, fill, recipe) for classes in asked]
    together = _selected(model, torch.cat([x] * len(asked)), np.concatenate(asked), fill, recipe)
    parts = (slice(k * len(x), (k + 1) * len(x)) for k in range(len(asked)))
    return [Selected(together.order[part], together.confidence[part]) for part in parts]


def _selected(model: Model, x: Tensor, classes: NDArray[np.int64], fill: Tensor, recipe: Recipe) -> Selected:
    targets = torch.from_numpy(classes).to(x.device)
    if recipe.selection == "gradient":
        return gradient_selection(model, x, targets, fill, step=recipe.step, cell=recipe.cell)
    return backward_selection(model, x, targets, fill, cell=recipe.cell, at_once=PASSES_AT_ONCE * len(x))
