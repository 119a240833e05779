"""The sheet of classes, by the colours of its pixels."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from salient_imagenet_data.names import CORE, SPURIOUS
from salient_imagenet_data.pictures.classes import GAP, SIDE, Shown, cell_size, corner, sheet
from salient_imagenet_data.pictures.overlay import COLOURS, MEANING, tint, wash
from salient_imagenet_data.pictures.tiles import nothing

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


def page(width: int, height: int, names: dict[tuple[int, int], str]) -> Image.Image:
    """A sheet of so many pixels without its tiles: the legend, and the names of classes at their places."""
    whole = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(whole)
    for left, kind in ((2, CORE), (212, SPURIOUS)):
        draw.rectangle((left, 5, left + 8, 13), fill=COLOURS[kind])
        draw.text((left + 12, 2), MEANING[kind], fill="black", font=ImageFont.load_default(12))
    for place, name in names.items():
        draw.text(place, name, fill="black", font=ImageFont.load_default(14))
    return whole


def test_every_tile_and_every_word_of_the_sheet_is_in_its_place() -> None:
    """Tiles of 112 pixels with 8 between them; classes 24 pixels apart; 20 pixels a line of words."""
    core = Image.fromarray(wash(LEFT_HALF, COLOURS[CORE]))
    empty = nothing((112, 112), "no spurious")
    masks = {CORE: LEFT_HALF, SPURIOUS: None}
    want = page(488, 308, {(0, 28): "tench", (256, 28): "goldfish", (0, 168): "white shark"})
    for left, top in ((0, 48), (256, 48), (0, 188)):
        want.paste(core, (left, top))
        want.paste(empty, (left + 120, top))
    drawn = sheet([Shown(name, None, masks) for name in ("tench", "goldfish", "white shark")])
    assert np.array_equal(np.asarray(drawn), np.asarray(want))


def test_a_sheet_of_one_class_is_wide_enough_for_the_legend_and_masks_are_enlarged_smoothly() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    small = np.linspace(0, 1, 49, dtype=np.float32).reshape(7, 7)
    drawn = sheet([Shown("a", image, {CORE: small, SPURIOUS: small})], side=40)
    want = page(420, 96, {(0, 28): "a"})
    soft = np.asarray(Image.fromarray(small).resize((40, 40), Image.Resampling.BILINEAR))
    want.paste(Image.fromarray(image), (0, 48))
    want.paste(Image.fromarray(tint(image, soft, COLOURS[CORE])), (48, 48))
    want.paste(Image.fromarray(tint(image, soft, COLOURS[SPURIOUS])), (96, 48))
    assert np.array_equal(np.asarray(drawn), np.asarray(want))


def test_a_class_without_a_core_feature_shows_its_spurious_mask() -> None:
    drawn = np.asarray(sheet([Shown("a", None, {CORE: None, SPURIOUS: LEFT_HALF})]))
    assert np.array_equal(drawn[48:160, 120:232], wash(LEFT_HALF, COLOURS[SPURIOUS]))
    assert np.array_equal(drawn[48:160, :112], np.asarray(nothing((112, 112), "no core")))


def test_a_class_without_a_photograph_beside_one_with_it() -> None:
    """All classes have the place of three tiles as soon as one needs it."""
    image = np.full((112, 112, 3), 90, dtype=np.uint8)
    masks = {CORE: LEFT_HALF, SPURIOUS: None}
    drawn = np.asarray(sheet([Shown("a", None, masks), Shown("b", image, masks)]))
    assert drawn.shape == (168, 2 * 352 + 24, 3)
    assert (drawn[48:160, 376 : 376 + 112] == 90).all() and (drawn[48:160, 240:376] == 255).all()
