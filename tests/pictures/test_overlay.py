"""What is seen of a mask over a photograph, by the colours of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from salient_imagenet_data.names import CORE, KINDS, SPURIOUS
from salient_imagenet_data.pictures.overlay import COLOURS, outline, strip, tint
from salient_imagenet_data.pictures.tiles import GAP, LINE, stack

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
