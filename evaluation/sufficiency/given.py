"""Orders beside a store: whether they are of its images, how these were seen, and which answers are sure."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.sufficiency.orders import Orders
from salient_imagenet_data.evaluation.sufficiency.subsets import NONE, sufficient_sizes
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.joining import Images, Joined, join, opened
from salient_imagenet_data.store.reading import Store


def ids_at(store: Store, rows: NDArray[np.int64]) -> list[str]:
    """(n,) image ids of some rows."""
    ids: list[str] = store.rows.image_ids.take(pa.array(rows)).to_pylist()
    return ids


def images_sha256(store: Store, rows: NDArray[np.int64]) -> str:
    """Of what makes a store's images these images: row, id, class, size, and likeness where the store has it. Neither
    its masks nor people's answers are in it, so that orders outlive these."""
    of, likenesses = store.rows, store.manifest.likenesses
    digest = hashlib.sha256()
    for row, image_id in zip(rows.tolist(), ids_at(store, rows), strict=True):
        size = int(of.widths[row]), int(of.heights[row])
        digest.update(json.dumps([row, image_id, int(of.labels[row]), *size, likenesses.get(image_id)]).encode())
    return digest.hexdigest()


def classes_sha256(store: Store) -> str:
    """Of the classes' names in their order, which say what an answer means."""
    return hashlib.sha256("\0".join(store.class_names).encode()).hexdigest()


def check_images(orders: Orders, store: Store) -> None:
    """Raise SalientError where the store's images at the orders' rows are not those that the orders are of."""
    of = f"{orders.path}: orders of other images than those of {store.path}"
    then = "give the store that they were made with"
    within = orders.rows < len(store)
    if not within.all():
        first = int(np.flatnonzero(~within)[0])
        got = f"a store of {len(store)} rows"
        raise SalientError(of, expected=f"{orders.image_ids[first]} in row {orders.rows[first]}", got=got, then=then)
    for row, theirs, ours in zip(orders.rows.tolist(), orders.image_ids, ids_at(store, orders.rows), strict=True):
        if theirs != ours:
            raise SalientError(of, expected=f"{theirs} in row {row}", got=ours, then=then)
    if orders.recipe.classes_sha256 != classes_sha256(store):
        raise SalientError(of, expected="the same classes in the same order", got="others", then=then)
    if orders.recipe.images_sha256 != images_sha256(store, orders.rows):
        expected = "the same labels, sizes and pictures under the same ids"
        raise SalientError(of, expected=expected, got="others", then=then)


def joined_with(orders: Orders, store: Store | str | Path, images: Images) -> Joined:
    """The images of the orders, found. Raises SalientError where the store's are others."""
    store, source = opened(store, images)
    check_images(orders, store)
    return join(store, source, rows=orders.rows.tolist())


def preprocessing_of(orders: Orders) -> Preprocessing:
    """How the classifier of the orders saw the images."""
    return Preprocessing(**orders.recipe.preprocessing)


def fill_of(orders: Orders) -> NDArray[np.uint8]:
    """(3,) the colour of masked pixels."""
    return np.rint(np.array(orders.recipe.fill) * 255.0).astype(np.uint8)


def sure_sizes(orders: Orders, threshold: float) -> NDArray[np.int64]:
    """(N,) cells of the sufficient subsets of the images whose answer on the whole image is sure, which is a confidence
    of at least `threshold`; 0 where the fill alone is enough, NONE for those that are not sure."""
    sizes = sufficient_sizes(orders.confidence, orders.recipe.cells, orders.recipe.step, threshold)
    return np.where(orders.confidence[:, 0] >= threshold, sizes, NONE)
