from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import (
    FILTERS,
    LONGEST,
    CropBox,
    Preprocessing,
    to_crop_frame,
    to_image_frame,
    valid_box,
)

SIDES = st.integers(40, 90)


def bilinear_reference(grid: np.ndarray, x: float, y: float) -> float:
    """Bilinear sample at grid coordinates (cell centres at whole numbers), float64 scalars, edges clamped."""
    h, w = grid.shape
    x, y = min(max(x, 0.0), w - 1.0), min(max(y, 0.0), h - 1.0)
    x0, y0 = min(int(x), max(w - 2, 0)), min(int(y), max(h - 2, 0))
    x1, y1 = min(x0 + 1, w - 1), min(y0 + 1, h - 1)
    a, b = x - x0, y - y0
    top = float(grid[y0, x0]) * (1 - a) + float(grid[y0, x1]) * a
    low = float(grid[y1, x0]) * (1 - a) + float(grid[y1, x1]) * a
    return top * (1 - b) + low * b


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_crop_frame_is_torchs_half_pixel_bilinear(h: int, w: int, height: int, width: int, seed: int) -> None:
    grid = np.random.default_rng(seed).random((2, h, w), dtype=np.float32)
    ours = to_crop_frame(grid, height, width)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(grid)[None], (height, width), mode="bilinear", align_corners=False
    )[0].numpy()
    assert np.abs(ours - theirs).max() < 1e-5
    x, y = width // 2, height // 3
    expected = bilinear_reference(grid[0], (x + 0.5) * w / width - 0.5, (y + 0.5) * h / height - 0.5)
    assert abs(ours[0, y, x] - expected) < 1e-5


@given(st.integers(3, 50), st.integers(3, 50), st.floats(0, 20), st.floats(0, 20), st.floats(2, 30), st.floats(2, 30))
def test_image_frame_against_reference(
    height: int, width: int, left: float, top: float, across: float, down: float
) -> None:
    grid = np.random.default_rng(0).random((5, 4), dtype=np.float32)
    pixels, valid = to_image_frame(grid, height, width, CropBox(left, top, across, down))
    for y in range(0, height, 5):
        for x in range(0, width, 3):
            inside = left <= x + 0.5 < left + across and top <= y + 0.5 < top + down
            assert valid[y, x] == inside
            expected = (
                bilinear_reference(grid, (x + 0.5 - left) * 4 / across - 0.5, (y + 0.5 - top) * 5 / down - 0.5)
                if inside
                else 0.0
            )
            assert abs(pixels[y, x] - expected) < 1e-4


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (333, 500), (224, 224), (1000, 231), (257, 256)])
def test_crop_is_torchvisions(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    reference = v2.Compose([v2.Resize(256), v2.CenterCrop(224)])(Image.fromarray(pixels))
    assert np.array_equal(Preprocessing().apply(pixels), np.asarray(reference))


def test_crop_box_maps_the_crop_to_the_image() -> None:
    # 500 x 375 is resized to 341 x 256; the crop starts at (58, 16) there (58.5 rounds to even).
    box = Preprocessing().crop_box(500, 375)
    assert box.left == pytest.approx(58 * 500 / 341)
    assert box.top == pytest.approx(16 * 375 / 256)
    assert (box.width, box.height) == pytest.approx((224 * 500 / 341, 224 * 375 / 256))


def test_crop_and_image_frame_agree_where_nothing_is_resized() -> None:
    grid = np.random.default_rng(2).random((7, 7), dtype=np.float32)
    box = Preprocessing(64, 48).crop_box(64, 64)
    in_image, valid = to_image_frame(grid, 64, 64, box)
    assert np.allclose(in_image[8:56, 8:56], to_crop_frame(grid, 48, 48), atol=1e-6)
    assert valid.sum() == 48 * 48 and in_image[~valid].max() == 0.0


def test_crop_larger_than_resize_is_refused() -> None:
    with pytest.raises(SalientError, match="crop <= resize; got crop 256, resize 224"):
        Preprocessing(224, 256)


@given(SIDES, SIDES, st.sampled_from(["bilinear", "bicubic", "lanczos"]), st.booleans())
def test_pixels_are_those_of_torchvisions_transforms(width: int, height: int, name: str, squash: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    size = [38, 38] if squash else 38
    theirs = v2.Compose([v2.Resize(size, InterpolationMode(name)), v2.CenterCrop(32)])(Image.fromarray(pixels))
    assert np.array_equal(Preprocessing(38, 32, name, squash).apply(pixels), np.asarray(theirs))


def resized_whole(way: Preprocessing, picture: Image.Image) -> np.ndarray:
    """The crop of the whole picture resized, as torchvision makes it."""
    size, (left, top) = way.resized(*picture.size), way.corner(*picture.size)
    picture = picture if size == picture.size else picture.resize(size, FILTERS[way.interpolation])
    return np.array(picture.crop((left, top, left + way.crop, top + way.crop)))


def test_ordinary_pictures_are_cropped_bit_for_bit_as_by_resizing_the_whole() -> None:
    draw = np.random.default_rng(3)
    sizes = [*draw.integers(1, 120, (120, 2)).tolist(), *((w, h) for w in (1, 2, 5, 9) for h in (w, 32 * w, 64 * w))]
    for width, height in sizes:
        name = list(FILTERS)[width % 4]
        way = Preprocessing(40, 1 + (width * height) % 40, name)
        picture = Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8))
        assert way.is_strip(width, height) == (max(width, height) > LONGEST * min(width, height))
        if not way.is_strip(width, height):
            assert np.array_equal(way.apply_to_picture(picture), resized_whole(way, picture)), (width, height, name)


@pytest.mark.parametrize("name", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(1, 70), (3, 500), (500, 3), (1000, 7), (90, 6000), (6500, 101), (20, 1290)])
def test_very_long_pictures_are_cropped_within_a_level_of_resizing_the_whole(size: tuple[int, int], name: str) -> None:
    pixels = np.random.default_rng(4).integers(100, 156, (size[1], size[0], 3), dtype=np.uint8)
    for way in (Preprocessing(32, 32, name), Preprocessing(64, 55, name), Preprocessing(40, 10, name)):
        assert way.is_strip(*size)
        ours, whole = way.apply(pixels), resized_whole(way, Image.fromarray(pixels))
        assert ours.shape == whole.shape and np.abs(ours.astype(int) - whole).max() <= 1


def test_nearest_of_a_very_long_picture_takes_the_same_pixels_but_for_ties() -> None:
    ramp = np.tile(np.arange(1000, dtype=np.uint16)[None, :] % 251, (7, 1)).astype(np.uint8)
    way = Preprocessing(64, 56, "nearest")
    off = np.abs(way.apply(ramp).astype(int) - resized_whole(way, Image.fromarray(ramp)))
    assert off.max() <= 1 and way.apply(ramp).std() > 1


@pytest.mark.parametrize("size", [(1, 60_000), (65_500, 1), (20_000_000, 1)])
def test_a_thin_picture_costs_no_more_than_its_crop(size: tuple[int, int]) -> None:
    """The whole of the first resized would be 256 x 15,360,000 pixels."""
    picture = Image.new("L", size, 77)
    asked: list[int] = []
    plain = Image.Image.resize

    def resize(self: Image.Image, size: tuple[int, int], *args: Any, **options: Any) -> Image.Image:
        asked.append(size[0] * size[1] + self.size[0] * self.size[1])
        return plain(self, size, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image.Image, "resize", resize)
        crop = Preprocessing().apply_to_picture(picture)
    assert crop.shape == (224, 224) and (crop == 77).all() and max(asked) < 60_000


def test_squashed_box_is_of_the_whole_image() -> None:
    # 500 x 400 becomes 50 x 50: a crop of 40 starts at 5 of 50 on either side.
    box = Preprocessing(50, 40, squash=True).crop_box(500, 400)
    assert (box.left, box.top, box.width, box.height) == (50.0, 40.0, 400.0, 320.0)


def test_an_unknown_filter_is_refused() -> None:
    with pytest.raises(SalientError, match="interpolation is not known; expected bilinear, bicubic, lanczos, nearest"):
        Preprocessing(32, 32, "nearest-exact")


def test_in_words() -> None:
    assert str(Preprocessing()) == "shorter side resized to 256 (bilinear), central 224 x 224"
    assert str(Preprocessing(48, 40, "bicubic", True)) == "image squashed to 48 (bicubic), central 40 x 40"


@given(SIDES, SIDES, st.integers(20, 40), st.booleans())
def test_the_valid_box_is_the_rectangle_of_valid_pixels(width: int, height: int, crop: int, squash: bool) -> None:
    box = Preprocessing(40, crop, squash=squash).crop_box(width, height)
    left, top, across, down = valid_box(height, width, box)
    _, valid = to_image_frame(np.zeros((1, 7, 7), dtype=np.float32), height, width, box)
    assert valid[top : top + down, left : left + across].all() and valid.sum() == across * down > 0
