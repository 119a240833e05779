"""The card's picture: core and spurious masks of a few classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.hub.batches import Rows
from salient_imagenet_data.imagenet import display_names
from salient_imagenet_data.images.source import index_by_id
from salient_imagenet_data.masks import to_uint8, union_in_crop
from salient_imagenet_data.names import IMAGE, KINDS, Kind
from salient_imagenet_data.pictures.tiles import Tile, table
from salient_imagenet_data.whole_file import whole_file

TILE, CLASSES = 112, 8
"""Pixels of a tile, and how many classes are shown at most."""


def write_picture(rows: Rows, path: Path) -> None:
    """One column a class, at most eight, spread over the classes: the image (only where images may be shown), then its
    core and its spurious mask; a hatched tile where the class has no such feature."""
    store, shown, names = rows.store, _first_rows(rows.labels), display_names(rows.store.class_names)
    lines: list[tuple[str, list[Tile | None]]] = []
    if rows.source is not None:
        index = index_by_id(rows.source)
        photographs = [rows.source.pixels(index[rows.image_id(row)]) for _, row in shown]
        lines.append((IMAGE, [store.manifest.preprocessing.apply(pixels) for pixels in photographs]))
    lines += [(kind, [_mask(rows, kind, *place) for place in shown]) for kind in KINDS]
    with whole_file(path) as file:
        table([names[label] for label, _ in shown], lines, TILE).save(file, format="PNG")


def _mask(rows: Rows, kind: Kind, label: int, row: int) -> Tile | None:
    """(TILE, TILE) uint8: the mask of a row in the crop frame; None where its class has no feature of the kind."""
    chosen = rows.store.kind_table[kind][label]
    return to_uint8(union_in_crop(rows.grid(row), chosen, TILE, TILE)) if chosen.any() else None


def _first_rows(labels: NDArray[np.int64]) -> list[tuple[int, int]]:
    """(label, row) of the first image of up to eight classes that have images."""
    classes, rows = np.unique(labels, return_index=True)
    chosen = np.unique(np.linspace(0, len(classes) - 1, min(CLASSES, len(classes))).round().astype(int))
    return [(int(classes[i]), int(rows[i])) for i in chosen]
