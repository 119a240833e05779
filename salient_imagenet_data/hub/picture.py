"""The card's picture: core and spurious masks of a few classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from salient_imagenet_data.hub.batches import Rows
from salient_imagenet_data.imagenet import display_names
from salient_imagenet_data.images.source import index_by_id
from salient_imagenet_data.masks import to_uint8, union_in_crop
from salient_imagenet_data.names import IMAGE, KINDS

TILE, MARGIN, ASIDE, CLASSES = 112, 16, 56, 8


def write_picture(rows: Rows, path: Path) -> None:
    """One column a class, at most eight, spread over the classes: the image (only where images may be shown), then its
    core and its spurious mask; an empty tile where the class has no such feature."""
    store, source, images = rows.store, rows.source, _first_rows(rows.labels)
    lines = len(KINDS) + (source is not None)
    sheet = Image.new("RGB", (ASIDE + len(images) * TILE, MARGIN + lines * TILE), "white")
    draw, index = ImageDraw.Draw(sheet), index_by_id(source) if source is not None else {}
    for line, words in enumerate((*([] if source is None else [IMAGE]), *KINDS)):
        draw.text((3, MARGIN + line * TILE + TILE // 2), words, fill="black")
    names = display_names(store.class_names)
    for column, (label, row) in enumerate(images):
        draw.text((ASIDE + column * TILE + 3, 2), names[label][:18], fill="black")
        tiles: list[Image.Image | None] = []
        if source is not None:
            pixels = source.pixels(index[rows.image_id(row)])
            tiles.append(Image.fromarray(store.manifest.preprocessing.apply(pixels)))
        for kind in KINDS:
            chosen = store.kind_table[kind][label]
            mask = to_uint8(union_in_crop(rows.grid(row), chosen, TILE, TILE))
            tiles.append(Image.fromarray(mask) if chosen.any() else None)
        for line, tile in enumerate(tiles):
            place = (ASIDE + column * TILE, MARGIN + line * TILE)
            if tile is None:
                draw.text((place[0] + 40, place[1] + 50), "none", fill="#777777")
            else:
                sheet.paste(tile.convert("RGB").resize((TILE - 2, TILE - 2)), place)
    sheet.save(path)


def _first_rows(labels: NDArray[np.int64]) -> list[tuple[int, int]]:
    """(label, row) of the first image of up to eight classes that have images."""
    classes, rows = np.unique(labels, return_index=True)
    chosen = np.unique(np.linspace(0, len(classes) - 1, min(CLASSES, len(classes))).round().astype(int))
    return [(int(classes[i]), int(rows[i])) for i in chosen]
