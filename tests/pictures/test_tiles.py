"""Which tile lies where, by the colours of pixels."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from salient_imagenet_data.pictures.tiles import GAP, LINE, fitted, nothing, row, write


def plain(*colour: int, side: int = 4) -> np.ndarray:
    return np.full((side, side, 3), colour, dtype=np.uint8)


RED, GREEN, BLUE = plain(255, 0, 0), plain(0, 255, 0), plain(0, 0, 255)


def test_tiles_of_a_row_lie_from_left_to_right_with_a_white_gap() -> None:
    made = np.asarray(row([RED, GREEN, BLUE], 12))
    assert made.shape == (12, 3 * 12 + 2 * GAP, 3)
    for column, colour in enumerate((RED, GREEN, BLUE)):
        left = column * (12 + GAP)
        assert (made[:, left : left + 12] == colour[0, 0]).all()
        assert (made[:, left + 12 : left + 12 + GAP] == 255).all()


def test_a_name_of_several_lines_is_written_on_one() -> None:
    sheets = []
    for words in ("two\n lines\t", "two lines"):
        sheet = Image.new("RGB", (200, LINE), "white")
        write(ImageDraw.Draw(sheet), (2, 2), words, 196)
        sheets.append(np.asarray(sheet))
    assert np.array_equal(*sheets) and sheets[0].min() < 100


def test_small_tiles_keep_their_pixels_where_they_fit_evenly_and_are_smoothed_where_not() -> None:
    half = np.zeros((2, 2), dtype=np.uint8)
    half[:, 1] = 255
    assert set(np.unique(np.asarray(fitted(half, 8)))) == {0, 255} and np.asarray(fitted(half, 8))[0, 3, 0] == 0
    assert len(np.unique(np.asarray(fitted(half, 7)))) > 2
    assert np.array_equal(np.asarray(fitted(RED, 4)), RED)


def test_words_on_an_empty_tile_stand_in_its_middle() -> None:
    tile = np.asarray(nothing((100, 60), "none").convert("L"))
    dark = np.argwhere(tile < 128)
    assert np.abs(dark.mean(axis=0) - (30, 50)).max() < 6
