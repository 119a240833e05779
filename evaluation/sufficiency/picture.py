"""A sheet of images with their masks, the order of their pixels, and the few that suffice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from salient_imagenet_data.evaluation.sufficiency.given import check_images, fill_of, preprocessing_of, sure_sizes
from salient_imagenet_data.evaluation.sufficiency.orders import Orders
from salient_imagenet_data.evaluation.sufficiency.subsets import kept, size_of
from salient_imagenet_data.imagenet import display_names
from salient_imagenet_data.joining import Images, join, opened
from salient_imagenet_data.names import KINDS
from salient_imagenet_data.pictures.overlay import COLOURS, tint
from salient_imagenet_data.pictures.tiles import Tile, captioned, nothing, stack
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.whole_file import whole_file

IMAGES, PANEL, LAST = 6, 128, 0.05


def sheet(orders: Orders, store: Store | str | Path, images: Images, threshold: float) -> Image.Image | None:
    """For at most six images of different classes whose answer is sure: the image, its masks, the order of its pixels
    (white is masked last), its sufficient subset, and the last 5 % of its pixels.

    Masks are there where the store is annotated and the model sees its crop. None where no answer is sure. Raises
    SalientError for a store of other images.
    """
    store, source = opened(store, images)
    check_images(orders, store)
    recipe, sizes = orders.recipe, sure_sizes(orders, threshold)
    sure = np.flatnonzero(sizes > 0)
    if not len(sure):
        return None
    _, first = np.unique(orders.labels[sure], return_index=True)
    chosen = sure[np.sort(first)][:IMAGES]
    joined = join(store, source, rows=orders.rows[chosen].tolist())
    preprocessing, fill = preprocessing_of(orders), fill_of(orders)
    placed = store.manifest.annotations_sha256 is not None and preprocessing == store.manifest.preprocessing
    names, strips = display_names(store.class_names), []
    for item, position in enumerate(chosen.tolist()):
        pixels = preprocessing.apply(joined.image(item))
        order = orders.order(position, position + 1)
        tiles: list[Tile] = [pixels]
        words = ["the image"]
        for kind in KINDS if placed else ():
            mask = store.mask(int(orders.rows[position]), kind)
            none = np.asarray(nothing((PANEL, PANEL), f"no {kind} feature"))
            tiles.append(none if mask is None else tint(pixels, mask, COLOURS[kind]))
            words.append(kind)
        rank = np.empty(recipe.cells)
        rank[order[0]] = np.linspace(0, 255, recipe.cells)
        across = recipe.side // recipe.cell
        tiles.append(np.rint(rank.reshape(across, across)).astype(np.uint8))
        words.append("order of masking")
        size = int(sizes[position])
        for cells, what in (
            (size, f"{100 * size / recipe.cells:.1f} % suffice"),
            (size_of(LAST, recipe.cells), "last 5 %"),
        ):
            shown = kept(order, np.array([cells]), recipe.side, recipe.cell)[0]
            tiles.append(np.where(shown[..., None], pixels, fill))
            words.append(what)
        answer = names[int(orders.classes[position, 0])]
        title = f"{names[int(orders.labels[position])]}, answered {answer} with {orders.confidence[position, 0]:.2f}"
        strips.append(captioned(tiles, words, title, PANEL))
    return stack(strips)


def save_sheet(orders: Orders, store: Store, images: Images, threshold: float, path: Path) -> str:
    """Write `sheet` as a PNG, where there is something to show. Returns what was done, in words."""
    picture = sheet(orders, store, images, threshold)
    if picture is None:
        return f"no picture: no answer has a confidence of {threshold:g} to show; choose a lower --tau"
    with whole_file(path) as file:
        picture.save(file, format="PNG", optimize=True)
    return f"wrote {path}"
