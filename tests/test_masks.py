from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from scipy import ndimage
from torchvision.transforms import v2

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import CropBox, Preprocessing
from salient_imagenet_data.masks import (
    dequantise,
    published_frame,
    quantise,
    to_uint8,
    union_in_box,
    union_in_crop,
    union_in_image,
)

SIDES = st.integers(40, 90)

maps = arrays.arrays(np.float32, (3, 4, 5), elements=st.floats(0, 1e6, width=32))


@given(maps)
def test_quantised_within_half_a_step(values: np.ndarray) -> None:
    small, peaks = quantise(values)
    assert small.dtype == np.uint8 and peaks.dtype == np.float32
    for value, grid, peak in zip(values, dequantise(small), peaks, strict=True):
        assert peak == value.max()
        if peak > 1e-30:
            assert np.abs(grid.astype(np.float64) - value.astype(np.float64) / float(peak)).max() <= 0.5001 / 255
            assert grid.max() == 1.0


def test_trap_an_all_zero_map_is_a_zero_mask_not_nan() -> None:
    small, peaks = quantise(np.zeros((1, 7, 7), dtype=np.float32))
    assert small.sum() == 0 and peaks[0] == 0.0 and not np.isnan(dequantise(small)).any()


def test_negative_activations_count_as_zero_and_infinite_ones_are_refused() -> None:
    small, peaks = quantise(np.array([[[-4.0, 2.0]]], dtype=np.float32))
    assert small.tolist() == [[[0, 255]]] and peaks.tolist() == [2.0]
    with pytest.raises(SalientError, match="infinities or NaN"):
        quantise(np.array([[[np.inf]]]))


def test_union_resizes_before_it_takes_the_maximum() -> None:
    grids = np.zeros((2, 1, 2), dtype=np.uint8)
    grids[0, 0, 0] = grids[1, 0, 1] = 255
    both = union_in_crop(grids, np.array([True, True]), 1, 4)[0]
    assert np.allclose(both, [1.0, 0.75, 0.75, 1.0])  # the resized maximum would be 1 everywhere


def test_union_of_nothing_is_zeros() -> None:
    grids = np.full((2, 3, 3), 255, dtype=np.uint8)
    none = np.array([False, False])
    assert union_in_crop(grids, none, 6, 6).sum() == 0
    mask, valid = union_in_image(grids, none, 8, 8, CropBox(1, 1, 6, 6))
    assert mask.sum() == 0 and valid.sum() == 36


def test_to_uint8_rounds() -> None:
    assert to_uint8(np.array([0.0, 0.5, 1.0], dtype=np.float32)).tolist() == [0, 128, 255]


@pytest.mark.parametrize("frame", [Preprocessing(256, 224), Preprocessing(60, 56), Preprocessing(64, 64)])
def test_trap_the_published_frame_is_resized_and_cropped_twice(frame: Preprocessing) -> None:
    """Against torchvision's transform, as the 2022 loader applied it to the union in 8 bits."""
    mask = np.random.default_rng(4).integers(0, 256, (frame.crop, frame.crop)) / 255.0
    reference = v2.Compose([v2.Resize(frame.resize), v2.CenterCrop(frame.crop), v2.PILToTensor()])
    expected = reference(Image.fromarray(np.uint8(mask * 255)))[0].numpy() / np.float32(255)
    assert np.array_equal(published_frame(mask.astype(np.float32), frame), expected)


@given(SIDES, SIDES)
def test_the_stores_own_crop_has_the_stores_masks_exactly(width: int, height: int) -> None:
    rng = np.random.default_rng(1)
    maps, chosen = rng.integers(0, 256, (3, 7, 7), dtype=np.uint8), np.array([True, False, True])
    box = Preprocessing(36, 32).crop_box(width, height)
    mask, known = union_in_box(maps, chosen, box, Preprocessing(36, 32, "bicubic").crop_box(width, height), 32)
    assert known.all() and np.array_equal(mask, union_in_crop(maps, chosen, 32, 32))


@given(
    SIDES,
    SIDES,
    st.sampled_from(
        [Preprocessing(32, 32), Preprocessing(64, 40), Preprocessing(48, 48, "bicubic", True), Preprocessing(80, 24)]
    ),
)
def test_masks_in_another_crop_against_a_lookup_pixel_by_pixel(width: int, height: int, seen: Preprocessing) -> None:
    store = Preprocessing(36, 32)
    maps = np.random.default_rng(2).integers(0, 256, (2, 7, 5), dtype=np.uint8)
    inner, outer = store.crop_box(width, height), seen.crop_box(width, height)
    mask, known = union_in_box(maps, np.array([True, True]), inner, outer, seen.crop)
    # Each pixel's centre in the original image, then in cells of the grid.
    centre = (np.arange(seen.crop) + 0.5) / seen.crop
    x = (outer.left + centre * outer.width - inner.left) / inner.width
    y = (outer.top + centre * outer.height - inner.top) / inner.height
    places = np.meshgrid(y * 7 - 0.5, x * 5 - 0.5, indexing="ij")
    looked_up = [ndimage.map_coordinates(m, places, order=1, mode="nearest", output=float) for m in dequantise(maps)]
    inside = ((y >= 0) & (y < 1))[:, None] & ((x >= 0) & (x < 1))[None, :]
    # A centre on the very edge of the box may fall on either side by rounding.
    sure = (abs(y) > 1e-9)[:, None] & (abs(y - 1) > 1e-9)[:, None] & (abs(x) > 1e-9) & (abs(x - 1) > 1e-9)
    assert np.array_equal(known[sure], inside[sure])
    assert np.abs(mask - np.max(looked_up, axis=0) * inside)[sure].max() < 1e-5


def test_image_and_mask_move_together() -> None:
    # A white cell on black, with the map that says so: in any crop the mask is where the white is.
    pixels = np.zeros((70, 70, 3), dtype=np.uint8)
    pixels[40:50, 20:30] = 255
    maps = np.zeros((1, 7, 7), dtype=np.uint8)
    maps[0, 4, 2] = 255
    box = Preprocessing(70, 70).crop_box(70, 70)
    for seen in (
        Preprocessing(70, 70),
        Preprocessing(35, 35),
        Preprocessing(140, 112),
        Preprocessing(84, 63, squash=True),
    ):
        mask, _ = union_in_box(maps, np.array([True]), box, seen.crop_box(70, 70), seen.crop)
        bright = seen.apply(pixels)[..., 0].astype(np.float32)
        centres = [np.array(ndimage.center_of_mass(v)) / seen.crop for v in (mask, bright)]
        assert np.abs(centres[0] - centres[1]).max() < 0.01
