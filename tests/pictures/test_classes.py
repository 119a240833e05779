"""The sheet of classes, by the colours of its pixels."""

from __future__ import annotations

import numpy as np

from salient_imagenet_data.names import CORE, SPURIOUS
from salient_imagenet_data.pictures.classes import GAP, SIDE, Shown, cell_size, corner, sheet
from salient_imagenet_data.pictures.overlay import COLOURS

LEFT_HALF = np.zeros((SIDE, SIDE), dtype=np.float32)
LEFT_HALF[:, : SIDE // 2] = 1.0


def tile(drawn: np.ndarray, number: int, column: int, tiles: int) -> np.ndarray:
    left, top = corner(number, tiles)
    left += column * (SIDE + GAP)
    return drawn[top : top + SIDE, left : left + SIDE].astype(int)


def test_without_photographs_a_mask_is_its_colour_over_white() -> None:
    drawn = np.asarray(sheet([Shown("tench", None, {CORE: LEFT_HALF, SPURIOUS: None})] * 3))
    for number in range(3):
        core, spurious = tile(drawn, number, 0, 2), tile(drawn, number, 1, 2)
        assert np.abs(core[:, 5:50] - COLOURS[CORE]).max() < 40 and (core[:, 60:] == 255).all()
        assert np.median(spurious) == 255 and spurious.min() < 150  # hatched, with words
        left, top = corner(number, 2)
        assert drawn[top - 20 : top, left : left + 60].min() < 100  # the name
    for place, kind in ((6, CORE), (216, SPURIOUS)):
        assert tuple(drawn[9, place]) == COLOURS[kind]  # the legend


def test_over_a_photograph_the_rest_stays_gray() -> None:
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    drawn = np.asarray(sheet([Shown("a", image, {CORE: LEFT_HALF, SPURIOUS: LEFT_HALF})]))
    photo, core, spurious = (tile(drawn, 0, column, 3) for column in range(3))
    assert np.array_equal(photo, image)
    for mask in (core, spurious):
        assert np.ptp(mask[:, 60:], axis=2).max() == 0
    assert (core[:, :50, 2] > core[:, :50, 0] + 30).all() and (spurious[:, :50, 0] > spurious[:, :50, 2] + 30).all()


def test_a_class_is_no_wider_than_a_telephones_screen() -> None:
    assert cell_size(3)[0] <= 390 - 2 * 16
