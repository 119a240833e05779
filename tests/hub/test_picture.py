"""The picture of the card, by the values of its pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from salient_imagenet_data.hub.batches import Rows
from salient_imagenet_data.hub.picture import CLASSES, TILE, write_picture
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.names import KINDS
from salient_imagenet_data.pictures.tiles import LINE
from salient_imagenet_data.store.reading import Store

ASIDE = 60


def tile(sheet: np.ndarray, line: int, column: int) -> np.ndarray:
    top, left = LINE + line * TILE, ASIDE + column * TILE
    return sheet[top : top + TILE, left : left + TILE]


def test_core_stands_above_spurious_and_each_is_the_rows_own_mask(store: Store, images: Path, tmp_path: Path) -> None:
    rows = Rows(store, FolderSource(images))
    write_picture(rows, tmp_path / "p.png")
    sheet = np.asarray(Image.open(tmp_path / "p.png"))
    assert sheet.shape == (LINE + 3 * TILE, ASIDE + CLASSES * TILE, 3)
    labels = [0, 1, 3, 4, 5, 6, 8, 9]  # eight of ten, spread evenly
    seen = 0
    for column, label in enumerate(labels):
        row = int(np.flatnonzero(store.rows.labels == label)[0])
        for line, kind in enumerate(KINDS, start=1):
            shown, mask = tile(sheet, line, column), store.mask(row, kind)
            if mask is None:
                assert np.median(shown) == 255
                continue
            seen += 1
            small = np.asarray(Image.fromarray(mask).resize((TILE, TILE), Image.Resampling.BILINEAR)) * 255.0
            assert np.abs(small - shown[..., 0]).mean() < 3 and (shown == shown[..., :1]).all()
    assert seen == 14
    assert tile(sheet, 0, 0).std() > 10  # a photograph


def test_without_images_only_masks_are_shown(store: Store, tmp_path: Path) -> None:
    write_picture(Rows(store), tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as sheet:
        assert sheet.size == (ASIDE + CLASSES * TILE, LINE + 2 * TILE)
