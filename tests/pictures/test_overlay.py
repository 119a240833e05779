"""What is seen of a mask over a photograph, by the colours of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from salient_imagenet_data.names import CORE, KINDS, SPURIOUS
from salient_imagenet_data.pictures.overlay import COLOURS, MEANING, NEUTRAL, outline, strip, tint, wash
from salient_imagenet_data.pictures.tiles import GAP, LINE, nothing, stack

BLUE, ORANGE = (np.array(COLOURS[kind]) for kind in (CORE, SPURIOUS))


def left_half(size: int) -> np.ndarray:
    mask = np.zeros((size, size), dtype=np.float32)
    mask[:, : size // 2] = 1.0
    return mask


def test_colours_are_told_apart_by_brightness_and_hue() -> None:
    assert tuple(BLUE) == (0, 114, 178) and tuple(ORANGE) == (230, 159, 0)


@pytest.mark.parametrize(("kind", "channel"), [(CORE, 2), (SPURIOUS, 0)])
def test_colour_lies_where_the_mask_is_and_nowhere_else(kind: str, channel: int) -> None:
    image = np.full((20, 20, 3), 120, dtype=np.uint8)
    out = tint(image, left_half(20), COLOURS[kind]).astype(int)  # type: ignore[arg-type]
    inside, outside = out[10, 3], out[10, 16]
    assert len(set(outside)) == 1 and outside[0] > 120  # gray, and lighter than the photograph
    assert inside.argmax() == channel and inside.max() - inside.min() > 100


def test_the_object_is_seen_through_the_colour() -> None:
    image = np.zeros((20, 20, 3), dtype=np.uint8)
    image[:, 4:8] = 255
    out = tint(image, np.ones((20, 20), dtype=np.float32), COLOURS[CORE]).astype(int)
    assert out[10, 5].sum() - out[10, 1].sum() > 100


def test_half_a_mask_is_half_the_colour() -> None:
    image = np.full((4, 4, 3), 120, dtype=np.uint8)
    gray, faint, full = (
        tint(image, np.full((4, 4), v), COLOURS[SPURIOUS]).astype(float)[2, 2] for v in (0.0, 0.5, 1.0)
    )
    assert np.abs(faint - (gray + full) / 2).max() <= 1.0


def test_outline_is_the_edge_inside_the_level() -> None:
    edge = outline(left_half(8))
    assert np.flatnonzero(edge.any(axis=0)).tolist() == [3] and edge[:, 3].all()
    assert not outline(np.ones((8, 8))).any() and not outline(np.zeros((8, 8))).any()


def test_strip_shows_photograph_core_and_spurious_from_left_to_right() -> None:
    image = np.full((30, 30, 3), 200, dtype=np.uint8)
    ones = np.ones((30, 30), dtype=np.float32)
    picture = np.asarray(strip(image, {CORE: ones, SPURIOUS: ones}, "fish", panel=60)).astype(int)
    assert picture.shape == (60 + 2 * LINE, 3 * 60 + 2 * GAP, 3)
    photo, core, spurious = (picture[2 * LINE + 30, column * (60 + GAP) + 30] for column in range(3))
    assert np.abs(photo - 200).max() <= 1 and core.argmax() == 2 and spurious.argmax() == 0 and spurious[2] < 60


def test_a_mask_that_is_not_there_is_a_white_tile_with_words() -> None:
    image = np.full((30, 30, 3), 10, dtype=np.uint8)
    picture = np.asarray(strip(image, dict.fromkeys(KINDS), "fish", panel=224))
    tile = picture[2 * LINE :, 224 + GAP : 448 + GAP]
    assert np.median(tile) == 255 and tile.min() < 120
    drawn = np.asarray(strip(image, {CORE: np.zeros((30, 30))}, "fish", panel=224))[2 * LINE :, 224 + GAP : 448 + GAP]
    assert np.median(drawn) < 120  # a mask of zeros is another thing: the photograph without colour


def test_wide_photographs_keep_their_shape_and_a_stack_holds_all() -> None:
    one = strip(np.zeros((10, 40, 3), dtype=np.uint8), {}, "a", panel=80)
    assert one.size == (3 * 80 + 2 * GAP, 20 + 2 * LINE)
    both = stack([one, Image.new("RGB", (10, 7), "red")])
    assert both.size == (one.width, one.height + GAP + 7) and both.getpixel((5, one.height + GAP + 3)) == (255, 0, 0)


def test_the_colour_of_a_pixel_by_hand() -> None:
    """(100, 150, 200) is 140.75 in gray, 181.07 when lightened; a mask of 0.25 is a weight of 0.2125."""
    image = np.full((3, 3, 3), (100, 150, 200), dtype=np.uint8)
    light = 90 + (0.299 * 100 + 0.587 * 150 + 0.114 * 200) * 165 / 255
    want = [light * (1 - 0.2125) + min(c * light / 170, 255) * 0.2125 for c in (170, 114, 250)]
    out = tint(image, np.full((3, 3), 0.25), (170, 114, 250))
    assert (out == np.rint(want)).all() and np.rint(want).tolist() == [181, 168, 197]
    assert (tint(image, np.full((3, 3), 7.0), (0, 100, 0)) == tint(image, np.ones((3, 3)), (0, 100, 0))).all()
    assert (tint(image, np.full((3, 3), -1.0), (0, 100, 0)) == np.rint(light)).all()
    assert NEUTRAL == (170, 51, 119)


def test_a_mask_alone_is_its_colour_on_white() -> None:
    for value, weight in ((0.0, 0.0), (0.4, 0.34), (1.0, 0.85), (3.0, 0.85), (-1.0, 0.0)):
        out = wash(np.full((4, 4), value), (0, 100, 200))
        assert (out == np.rint([255 * (1 - weight) + c * weight for c in (0, 100, 200)])).all()
    edged = wash(left_half(8), (0, 100, 200))
    assert (edged[:, 3] == (0, 100, 200)).all() and (edged[:, 2] == np.rint([38.25, 123.25, 208.25])).all()


def test_an_outline_is_where_a_pixel_of_half_or_more_touches_one_of_less() -> None:
    mask = np.random.default_rng(1).integers(0, 5, (9, 12)) / 4  # a quarter of the pixels is exactly half
    want = np.zeros(mask.shape, dtype=bool)
    for y, x in np.ndindex(*mask.shape):
        beside = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        inside = [mask[a, b] for a, b in beside if 0 <= a < 9 and 0 <= b < 12]
        want[y, x] = mask[y, x] >= 0.5 and min(inside) < 0.5
    assert np.array_equal(outline(mask), want) and want.any()
    assert np.array_equal(outline(mask * 0.4, 0.2), want)


def titled(width: int, height: int, panel: int, title: str) -> Image.Image:
    """A strip without its panels: the title, and what each panel is with its colour."""
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((2, 2), title, fill="black", font=ImageFont.load_default(14))
    words = (
        ("the photograph", (120, 120, 120)),
        (MEANING[CORE], COLOURS[CORE]),
        (MEANING[SPURIOUS], COLOURS[SPURIOUS]),
    )
    for column, (said, colour) in enumerate(words):
        left = column * (panel + 8)
        draw.text((left + 14, 22), said, fill="black", font=ImageFont.load_default(12))
        draw.rectangle((left + 2, 25, left + 10, 33), fill=colour)
    return sheet


def test_every_panel_and_every_word_of_a_strip_is_in_its_place() -> None:
    """Panels of 250 x 125 pixels, 8 between them, below two lines of 20."""
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 256, (30, 60, 3), dtype=np.uint8), rng.random((30, 60)).astype(np.float32)
    want = titled(766, 165, 250, "fish")
    photo = Image.fromarray(image).resize((250, 125), Image.Resampling.BICUBIC)
    soft = np.asarray(Image.fromarray(mask).resize((250, 125), Image.Resampling.BILINEAR))
    want.paste(photo, (0, 40))
    want.paste(Image.fromarray(tint(np.asarray(photo), soft, COLOURS[CORE])), (258, 40))
    want.paste(nothing((250, 125), "no spurious feature in this class"), (516, 40))
    drawn = strip(image, {CORE: mask, SPURIOUS: None}, "fish", panel=250)
    assert np.array_equal(np.asarray(drawn), np.asarray(want))


def test_without_a_photograph_masks_lie_over_gray_in_their_own_shape() -> None:
    mask = left_half(40)[:20]
    want = titled(3 * 224 + 16, 152, 224, "fish")
    soft = np.asarray(Image.fromarray(mask).resize((224, 112), Image.Resampling.BILINEAR))
    gray = np.full((112, 224, 3), 128, dtype=np.uint8)
    want.paste(nothing((224, 112), "no photograph"), (0, 40))
    want.paste(nothing((224, 112), "no core feature in this class"), (232, 40))
    want.paste(Image.fromarray(tint(gray, soft, COLOURS[SPURIOUS])), (464, 40))
    assert np.array_equal(np.asarray(strip(None, {CORE: None, SPURIOUS: mask}, "fish")), np.asarray(want))
    assert strip(None, {}, "fish", panel=60).size == (3 * 60 + 16, 100)


def test_a_photograph_as_thin_as_a_thread_is_drawn() -> None:
    assert strip(np.zeros((1000, 1, 3), dtype=np.uint8), {}, "a", panel=80).size == (3 * 1 + 16, 120)
    assert strip(np.zeros((1, 1000, 3), dtype=np.uint8), {}, "a", panel=80).size == (3 * 80 + 16, 41)


def test_a_title_ends_as_far_before_the_strip_does_as_it_begins_in_it() -> None:
    font, image = ImageFont.load_default(14), np.zeros((60, 60, 3), dtype=np.uint8)
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    title = "i" * next(n for n in range(1, 99) if measure.textlength("i" * (n + 1), font=font) > 3 * 60 + 16 - 4)
    for words in (title, title + "ii"):
        drawn = np.asarray(strip(image, {}, words, panel=60))[:LINE]
        sheet = Image.new("RGB", (3 * 60 + 16, LINE), "white")
        ends = [title] if words == title else [title[:n] + "..." for n in range(len(title))]
        fits = [text for text in ends if measure.textlength(text, font=font) <= 3 * 60 + 16 - 4]
        ImageDraw.Draw(sheet).text((2, 2), fits[-1], fill="black", font=font)
        assert np.array_equal(drawn, np.asarray(sheet))
