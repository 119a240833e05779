"""Which tile lies where, by the colours of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from salient_imagenet_data.pictures.tiles import GAP, LINE, captioned, fitted, nothing, row, stack, write


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
    assert np.array_equal(np.asarray(fitted(RED, 4)), RED) and fitted(plain(9, 9, 9, side=24), 12).size == (12, 12)


def test_words_on_an_empty_tile_stand_in_its_middle() -> None:
    tile = np.asarray(nothing((100, 60), "none").convert("L"))
    dark = np.argwhere(tile < 128)
    assert np.abs(dark.mean(axis=0) - (30, 50)).max() < 6


def test_a_tile_is_sharp_only_where_both_its_sides_fit() -> None:
    half = np.zeros((4, 6), dtype=np.uint8)
    half[2:] = 255
    assert set(np.unique(np.asarray(fitted(half, 12)))) == {0, 255}
    assert len(np.unique(np.asarray(fitted(half, 18)))) > 2 and len(np.unique(np.asarray(fitted(half, 20)))) > 2
    cubic = Image.fromarray(half).convert("RGB").resize((18, 18), Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(fitted(half, 18)), np.asarray(cubic))


def test_a_row_of_no_tiles_is_white_and_a_pixel_wide() -> None:
    made = row([], 12)
    assert made.size == (1, 12) and made.getpixel((0, 5)) == (255, 255, 255)


def test_pictures_of_a_stack_lie_below_each_other_with_a_white_gap() -> None:
    made = np.asarray(stack([Image.new("RGB", (9, 5), "red"), Image.new("RGB", (4, 3), "blue")]))
    assert made.shape == (5 + GAP + 3, 9, 3)
    assert (made[:5] == (255, 0, 0)).all() and (made[5 : 5 + GAP] == 255).all()
    assert (made[5 + GAP :, :4] == (0, 0, 255)).all() and (made[5 + GAP :, 4:] == 255).all()


def test_an_empty_tile_is_hatched_around_its_words() -> None:
    made = nothing((101, 62), "none")
    want = np.full((62, 101, 3), 255, dtype=np.uint8)
    y, x = np.mgrid[:62, :101]
    want[(x + y) % 12 == 0] = 228
    expected, font = Image.fromarray(want), ImageFont.load_default(12)
    draw = ImageDraw.Draw(expected)
    box = draw.textbbox((0, 0), "none", font=font)
    width, height = box[2] - box[0], box[3] - box[1]
    left, top = (101 - width) / 2, (62 - height) / 2
    draw.rectangle((left - 4, top - 4, left + width + 4, top + height + 6), fill="white")
    draw.text((left, top), "none", fill="#555555", font=font)
    assert np.array_equal(np.asarray(made), np.asarray(expected))


def line(words: str, size: int) -> np.ndarray:
    """Words at (2, 3) of a white line."""
    sheet = Image.new("RGB", (300, LINE), "white")
    ImageDraw.Draw(sheet).text((2, 3), words, fill="black", font=ImageFont.load_default(size))
    return np.asarray(sheet)


@pytest.mark.parametrize(("bold", "size"), [(False, 12), (True, 14)])
def test_words_that_are_too_long_end_in_dots_where_the_place_ends(bold: bool, size: int) -> None:
    words, measure = "feature 17 of a great white shark", ImageDraw.Draw(Image.new("RGB", (1, 1)))

    def length(text: str) -> float:
        return measure.textlength(text, font=ImageFont.load_default(size))

    for width in (length(words), length(words) - 0.5, 100.0, 40.0, length("...")):
        cut = (words[:end].rstrip() + "..." for end in range(len(words) - 1, -1, -1))
        want = next(text for text in (words, *cut) if length(text) <= width)
        sheet = Image.new("RGB", (300, LINE), "white")
        write(ImageDraw.Draw(sheet), (2, 3), words, width, bold=bold)
        assert np.array_equal(np.asarray(sheet), line(want, size)), want


def test_where_there_is_no_place_for_a_word_there_are_dots() -> None:
    sheet = Image.new("RGB", (300, LINE), "white")
    write(ImageDraw.Draw(sheet), (2, 3), "words", -12)
    assert np.array_equal(np.asarray(sheet), line("...", 12))


def test_tiles_under_a_title_each_have_their_words_above_them() -> None:
    made = np.asarray(captioned([RED, GREEN], ["", "green"], "title", 60))
    assert made.shape == (2 * LINE + 60, 2 * 60 + GAP, 3) and np.array_equal(
        made[2 * LINE :], np.asarray(row([RED, GREEN], 60))
    )
    assert (
        made[:LINE].min() < 100 and made[LINE : 2 * LINE, :60].min() == 255 and made[LINE : 2 * LINE, 68:].min() < 100
    )
