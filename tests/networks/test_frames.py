from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from torchvision.transforms import InterpolationMode, v2

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.masks import dequantise, union_in_crop
from salient_imagenet_data.networks.frames import Frame, mask_in_frame

SIDES = st.integers(40, 90)


@given(SIDES, SIDES, st.sampled_from(["bilinear", "bicubic", "lanczos"]), st.booleans())
def test_pixels_are_those_of_torchvisions_transforms(width: int, height: int, name: str, squash: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    size = [38, 38] if squash else 38
    theirs = v2.Compose([v2.Resize(size, InterpolationMode(name)), v2.CenterCrop(32)])(Image.fromarray(pixels))
    assert np.array_equal(Frame(38, 32, name, squash).apply(pixels), np.asarray(theirs))


@given(SIDES, SIDES)
def test_the_stores_own_frame_gives_the_stores_pixels_and_masks_exactly(width: int, height: int) -> None:
    preprocessing, rng = Preprocessing(36, 32), np.random.default_rng(1)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    maps, chosen = rng.integers(0, 256, (3, 7, 7), dtype=np.uint8), np.array([True, False, True])
    frame, box = Frame.of(preprocessing), preprocessing.crop_box(width, height)
    assert np.array_equal(frame.apply(pixels), preprocessing.apply(pixels)) and frame.box(width, height) == box
    mask, known = mask_in_frame(maps, chosen, box, frame.box(width, height), 32)
    assert known.all() and np.array_equal(mask, union_in_crop(maps, chosen, 32, 32))


@given(SIDES, SIDES, st.sampled_from([Frame(32, 32), Frame(64, 40), Frame(48, 48, "bicubic", True), Frame(80, 24)]))
def test_masks_in_another_frame_against_a_lookup_pixel_by_pixel(width: int, height: int, frame: Frame) -> None:
    store = Preprocessing(36, 32)
    maps = np.random.default_rng(2).integers(0, 256, (2, 7, 5), dtype=np.uint8)
    inner, outer = store.crop_box(width, height), frame.box(width, height)
    mask, known = mask_in_frame(maps, np.array([True, True]), inner, outer, frame.crop)
    # Each pixel's centre in the original image, then in cells of the grid.
    centre = (np.arange(frame.crop) + 0.5) / frame.crop
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
    # A white cell on black, with the map that says so: in any frame the mask is where the white is.
    pixels = np.zeros((70, 70, 3), dtype=np.uint8)
    pixels[40:50, 20:30] = 255
    maps = np.zeros((1, 7, 7), dtype=np.uint8)
    maps[0, 4, 2] = 255
    box = Preprocessing(70, 70).crop_box(70, 70)
    for frame in (Frame(70, 70), Frame(35, 35), Frame(140, 112), Frame(84, 63, squash=True)):
        mask, _ = mask_in_frame(maps, np.array([True]), box, frame.box(70, 70), frame.crop)
        bright = torch.from_numpy(frame.apply(pixels)[..., 0]).float().numpy()
        centres = [np.array(ndimage.center_of_mass(v)) / frame.crop for v in (mask, bright)]
        assert np.abs(centres[0] - centres[1]).max() < 0.01


def test_frames_that_cannot_be() -> None:
    with pytest.raises(SalientError, match="interpolation is not known"):
        Frame(32, 32, "nearest-exact")
    with pytest.raises(SalientError, match="0 < crop <= resize"):
        Frame(32, 33)
