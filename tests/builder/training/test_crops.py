"""Training crops: what part they show, mirrored half of the time, and that nothing but the seed decides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from salient_imagenet_data.builder.training.crops import random_part, training_crop
from salient_imagenet_data.builder.training.recipe import Recipe
from salient_imagenet_data.images.folder import FolderSource

RECIPE = Recipe(crop=32, first_crop=32, area=0.25)


@pytest.mark.parametrize("size", [(100, 100), (300, 80), (40, 400)])
def test_a_part_lies_inside_and_shows_enough(size: tuple[int, int]) -> None:
    random, shares = np.random.default_rng(0), []
    for _ in range(300):
        left, top, right, bottom = random_part(*size, 0.25, random)
        assert left >= 0 and top >= 0 and right <= size[0] and bottom <= size[1]
        assert 0.74 < (right - left) / (bottom - top) < 1.34
        shares.append((right - left) * (bottom - top) / (size[0] * size[1]))
    if size == (100, 100):
        assert min(shares) >= 0.25 and max(shares) > 0.9 and np.mean(shares) == pytest.approx(0.6, abs=0.05)
    else:  # a strip has no such part: its central square
        assert min(shares) == pytest.approx(min(size) / max(size), abs=0.06)


@pytest.fixture(scope="module")
def slope(tmp_path_factory: pytest.TempPathFactory) -> FolderSource:
    """A picture that is darkest at its left and at its top, under two names."""
    folder = tmp_path_factory.mktemp("slope")
    x, y = np.meshgrid(np.arange(64), np.arange(64))
    for name in ("a", "b"):
        (folder / name).mkdir()
        Image.fromarray(np.stack([2 * x, 2 * y, 0 * x], axis=2).astype(np.uint8)).save(folder / name / "0.png")
    return FolderSource(folder)


def test_half_are_mirrored_and_none_is_upside_down(slope: FolderSource) -> None:
    crops = np.stack([training_crop(slope, 0, epoch, RECIPE, "bilinear") for epoch in range(200)]).astype(float)
    rises = crops[:, :, -1, 0].mean(axis=1) > crops[:, :, 0, 0].mean(axis=1)
    assert 75 < rises.sum() < 125 and (crops[:, -1, :, 1] > crops[:, 0, :, 1]).all()
    straight = Recipe(crop=32, first_crop=32, flip=False)
    crop = training_crop(slope, 0, 3, straight, "bilinear").astype(int)
    assert (np.diff(crop[:, :, 0], axis=1) >= 0).all()


def test_a_mirrored_crop_shows_the_part_that_was_drawn(slope: FolderSource) -> None:
    """Mirrored back, levels are those of some part: a mirrored picture with an unmirrored part would be of another."""
    for epoch in range(20):
        crop = training_crop(slope, 0, epoch, RECIPE, "bilinear").astype(float)
        box = random_part(64, 64, 0.25, np.random.default_rng((0, epoch, 0)))
        across = sorted((crop[:, 0, 0].mean() / 2, crop[:, -1, 0].mean() / 2))
        assert across[0] == pytest.approx(box[0], abs=1.6) and across[1] == pytest.approx(box[2], abs=2.1)


def test_seed_epoch_and_place_decide_alone(slope: FolderSource) -> None:
    one = training_crop(slope, 0, 0, RECIPE, "bilinear")
    assert one.shape == (32, 32, 3) and one.dtype == np.uint8
    assert (one == training_crop(slope, 0, 0, RECIPE, "bilinear")).all()
    others = [
        training_crop(slope, 1, 0, RECIPE, "bilinear"),
        training_crop(slope, 0, 1, RECIPE, "bilinear"),
        training_crop(slope, 0, 0, Recipe(crop=32, first_crop=32, seed=1), "bilinear"),
        training_crop(slope, 0, 0, RECIPE, "bicubic"),
    ]
    assert all((one != other).any() for other in others)


def test_a_crop_has_the_side_of_its_epoch(images: Path) -> None:
    recipe = Recipe(epochs=4, crop=96, first_crop=32)
    sides = [training_crop(FolderSource(images), 0, epoch, recipe, "bilinear").shape[0] for epoch in range(4)]
    assert sides == [32, 32, 64, 96]
