"""The picture of the card, by the values of its pixels."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from salient_imagenet_data.hub.batches import ExportedRows
from salient_imagenet_data.hub.picture import CLASSES, write_picture
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.names import KINDS
from salient_imagenet_data.pictures.classes import SIDE, corner
from salient_imagenet_data.pictures.overlay import COLOURS, outline, tint
from salient_imagenet_data.pictures.tiles import GAP
from salient_imagenet_data.store.reading import Store

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="the store of these tests is built by a network"
)
LABELS = [0, 1, 3, 4, 5, 6, 8, 9]
"""Eight of ten, spread evenly."""


def tile(sheet: np.ndarray, number: int, column: int, tiles: int) -> np.ndarray:
    left, top = corner(number, tiles)
    left += column * (SIDE + GAP)
    return sheet[top : top + SIDE, left : left + SIDE].astype(float)


def drawn(rows: ExportedRows, path: Path) -> np.ndarray:
    write_picture(rows, path)
    return np.asarray(Image.open(path))


def test_beside_each_photograph_its_own_masks_core_blue_and_spurious_orange(
    store: Store, images: Path, tmp_path: Path
) -> None:
    source = FolderSource(images)
    sheet = drawn(ExportedRows(store, source), tmp_path / "p.png")
    assert len(LABELS) == CLASSES
    places, seen = {source.entry(i).image_id: i for i in range(len(source))}, 0
    for number, label in enumerate(LABELS):
        row = int(np.flatnonzero(store.rows.labels == label)[0])
        pixels = store.manifest.preprocessing.apply(source.pixels(places[store.rows[row].image_id]))
        photo = np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.NEAREST))
        assert np.abs(tile(sheet, number, 0, 3) - photo).mean() < 3
        for column, kind in enumerate(KINDS, start=1):
            shown, mask = tile(sheet, number, column, 3), store.mask(row, kind)
            if mask is None:
                assert np.median(shown) == 255
                continue
            seen += 1
            small = np.asarray(Image.fromarray(mask).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
            blueness = (shown[..., 2] - shown[..., 0]) / shown.mean(axis=-1) * (1 if kind == "core" else -1)
            assert blueness[small > 0.8].mean() > 0.4
            beside = tile(sheet, number, 0, 3).astype(np.uint8)
            # The row's own mask over its photograph; drawn from the grid at this size, so an outline may lie beside.
            difference = np.abs(shown - tint(beside, small, COLOURS[kind]))
            assert np.median(difference) <= 3 and difference.mean() < 8
    assert seen == 14


def test_without_images_only_masks_are_shown_over_white(store: Store, tmp_path: Path) -> None:
    sheet = drawn(ExportedRows(store), tmp_path / "p.png")
    for number, label in enumerate(LABELS):
        row = int(np.flatnonzero(store.rows.labels == label)[0])
        for column, kind in enumerate(KINDS):
            mask = store.mask(row, kind)
            if mask is None:
                continue
            small = np.asarray(Image.fromarray(mask).resize((SIDE, SIDE), Image.Resampling.BILINEAR))[..., None]
            expected = 255.0 + (np.array(COLOURS[kind]) - 255.0) * 0.85 * small
            off_line = ~outline(small[..., 0], 0.45) & ~outline(small[..., 0], 0.5) & ~outline(small[..., 0], 0.55)
            assert np.abs(tile(sheet, number, column, 2) - expected)[off_line].mean() < 5
