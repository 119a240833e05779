"""The card's picture: core and spurious masks of a few classes, in colour and with a legend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.hub.batches import ExportedRows
from salient_imagenet_data.imagenet import display_names
from salient_imagenet_data.images.source import index_by_id
from salient_imagenet_data.masks import union_in_crop
from salient_imagenet_data.names import KINDS, Kind
from salient_imagenet_data.pictures.classes import SIDE, Shown, sheet
from salient_imagenet_data.whole_file import whole_file

CLASSES = 8
"""How many classes are shown at most."""


def write_picture(rows: ExportedRows, path: Path) -> None:
    """At most eight classes, spread over all: the first image of each (only where images may be shown), its core mask
    in blue and its spurious mask in orange; a hatched tile where the class has no such feature."""
    store, names = rows.store, display_names(rows.store.class_names)
    index = None if rows.source is None else index_by_id(rows.source)
    shown = []
    for label, row in _first_rows(rows.labels):
        image = None
        if rows.source is not None and index is not None:
            image = store.manifest.preprocessing.apply(rows.source.pixels(index[rows.image_id(row)]))
        shown.append(Shown(names[label], image, {kind: _mask(rows, kind, label, row) for kind in KINDS}))
    with whole_file(path) as file:
        sheet(shown).save(file, format="PNG")


def _mask(rows: ExportedRows, kind: Kind, label: int, row: int) -> NDArray[np.float32] | None:
    """(SIDE, SIDE) in [0, 1]: the mask of a row in the crop frame; None where its class has no feature of the kind."""
    chosen = rows.store.kind_table[kind][label]
    return union_in_crop(rows.grid(row), chosen, SIDE, SIDE) if chosen.any() else None


def _first_rows(labels: NDArray[np.int64]) -> list[tuple[int, int]]:
    """(label, row) of the first image of up to eight classes that have images."""
    classes, rows = np.unique(labels, return_index=True)
    chosen = np.unique(np.linspace(0, len(classes) - 1, min(CLASSES, len(classes))).round().astype(int))
    return [(int(classes[i]), int(rows[i])) for i in chosen]
