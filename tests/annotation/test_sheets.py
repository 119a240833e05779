"""What an annotator sees: which photographs, where the colour lies, and the rows to fill in."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from salient_imagenet_data.annotation.sheets import HEAD, seen, top_rows, write_sheets
from salient_imagenet_data.geometry import to_crop_frame
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.joining import join
from salient_imagenet_data.masks import dequantise
from salient_imagenet_data.pictures.tiles import GAP, LINE
from salient_imagenet_data.store.reading import Store

SIDE = 96


@pytest.fixture(scope="module")
def sheets(bare_store: Store, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sheets")
    write_sheets(bare_store, FolderSource(images), folder, images=3, pixels=SIDE)
    return folder


def tile(sheet: Path, rank: int, band: int, column: int) -> np.ndarray:
    """A tile of a sheet. band: 0 photographs, 1 maps."""
    top = HEAD + (rank - 1) * (LINE + 2 * (SIDE + GAP)) + LINE + band * (SIDE + GAP)
    left = column * (SIDE + GAP)
    with Image.open(sheet) as picture:
        return np.asarray(picture)[top : top + SIDE, left : left + SIDE].astype(int)


def test_photographs_are_those_that_show_the_feature_most(bare_store: Store, images: Path, sheets: Path) -> None:
    joined = join(bare_store, FolderSource(images))
    for rank in (1, 3):
        mine = np.flatnonzero(bare_store.rows.labels == 2)
        by_hand = sorted(mine, key=lambda row: -bare_store.activations[row, rank - 1])[:3]
        assert top_rows(bare_store, 2, rank - 1, 3).tolist() == by_hand
        (sheet,) = sheets.glob("0002-*.png")
        for column, row in enumerate(by_hand):
            assert np.array_equal(tile(sheet, rank, 0, column), seen(joined, int(row), SIDE))


def test_colour_is_where_the_map_is(bare_store: Store, sheets: Path) -> None:
    (sheet,) = sheets.glob("0002-*.png")
    row = int(top_rows(bare_store, 2, 0, 1)[0])
    soft = to_crop_frame(dequantise(bare_store.maps[row, 0]), SIDE, SIDE)
    over = tile(sheet, 1, 1, 0)
    purple = over[..., 0] - over[..., 1]  # red over green
    high, low = soft > 0.8, soft < 0.05
    assert high.any() and low.any()
    assert purple[high].mean() > 60 and np.abs(purple[low]).mean() < 12


def test_photographs_are_cut_from_the_original_where_the_network_saw_them(store: Store, images: Path) -> None:
    joined = join(store, FolderSource(images))
    mine = seen(joined, 4, 60).astype(int)  # of 60 pixels in the store's resize, 56 are the crop
    theirs = np.asarray(Image.fromarray(joined.crop(4)).resize((60, 60), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(mine - theirs).mean() < 6
    shifted = np.roll(mine, 4, axis=1)
    assert np.abs(shifted - theirs).mean() > 1.5 * np.abs(mine - theirs).mean()


def test_answers_to_fill_in_name_each_pair_once_with_its_own_rank(bare_store: Store, sheets: Path) -> None:
    with (sheets / "answers.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    pairs = [(int(r["class_index"]), int(r["feature_index"]), int(r["feature_rank"]), r["class_name"]) for r in rows]
    by_rank = {}
    for class_index, feature_index, rank, name in pairs:
        assert name == bare_store.class_names[class_index]
        by_rank[class_index, rank] = feature_index
    assert len(by_rank) == len(pairs) == 40
    importance = {}
    for row in bare_store.features:
        importance[row.class_index, row.feature_index] = row.importance
    for class_index in range(10):
        ranked = [importance[class_index, by_rank[class_index, rank]] for rank in (1, 2, 3, 4)]
        assert ranked == sorted(ranked, reverse=True)
    assert all(r["answer"] == r["annotator"] == "" for r in rows)
