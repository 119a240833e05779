"""Many resizes at once against torch's, one at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from salient_imagenet_data.builder.units import resizing
from salient_imagenet_data.builder.units.decoding import TORCH_FILTERS
from salient_imagenet_data.builder.units.resizing import Axis, crops_of
from salient_imagenet_data.geometry import Preprocessing

SIZES = [(125, 93), (93, 125), (125, 83), (64, 64), (25, 20), (15, 56), (56, 56), (300, 225), (500, 100), (31, 17)]
PICTURES = [
    torch.from_numpy(np.random.default_rng(n).integers(0, 256, (3, h, w), dtype=np.uint8))
    for n, (w, h) in enumerate(SIZES)
]


def one(picture: torch.Tensor, wanted: Preprocessing) -> torch.Tensor:
    """torchvision's way, in floats and rounded once."""
    size = picture.shape[2], picture.shape[1]
    new, (left, top) = wanted.resized(*size), wanted.corner(*size)
    pixels = picture.float()
    if new != size:
        pixels = functional.resize(pixels, [new[1], new[0]], TORCH_FILTERS[wanted.interpolation], antialias=True)
    return pixels[:, top : top + wanted.crop, left : left + wanted.crop].round().clamp(0, 255)


@pytest.mark.parametrize("interpolation", resizing.HALF_WIDTHS)
@pytest.mark.parametrize("resize, crop, squash", [(64, 56, False), (59, 56, True), (32, 32, False)])
def test_each_picture_is_resized_as_torch_does(interpolation: str, resize: int, crop: int, squash: bool) -> None:
    wanted = Preprocessing(resize, crop, interpolation, squash)
    found = crops_of(PICTURES, wanted)
    assert found.shape == (len(SIZES), 3, crop, crop) and found.dtype == torch.uint8
    assert found.is_contiguous(memory_format=torch.channels_last)
    for picture, crop_of_it in zip(PICTURES, found, strict=True):
        difference = (one(picture, wanted) - crop_of_it.float()).abs()
        assert difference.max() <= 1 and (difference > 0).float().mean() < 0.02  # halves, summed in another order


def test_what_is_resized_together_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Preprocessing(64, 56)
    together = crops_of(PICTURES, wanted)
    for picture, expected in zip(PICTURES, together, strict=True):
        assert torch.equal(crops_of([picture], wanted)[0], expected)
    monkeypatch.setattr(resizing, "LARGEST", 1)  # each alone
    assert torch.equal(crops_of(PICTURES, wanted), together)


def test_groups_hold_every_picture_once_and_little_padding() -> None:
    rng = np.random.default_rng(0)
    widths = rng.integers(20, 900, 300)
    heights = widths + rng.integers(0, 9, 300)  # what crops are made of is nearly square
    groups = list(resizing._groups(widths.tolist(), heights.tolist()))
    assert sorted(i for group in groups for i in group) == list(range(300)) and len(groups) < 20
    for group in groups:
        padded = len(group) * widths[group].max() * heights[group].max()
        assert len(group) == 1 or padded <= resizing.PADDING * (widths[group] * heights[group]).sum()
        assert len(group) == 1 or 3 * padded <= resizing.LARGEST


def test_weights_sum_to_one_and_reach_no_further_than_the_picture() -> None:
    axis = Axis(torch.tensor([500, 30]), torch.tensor([341, 64]), torch.tensor([58, 0]))
    for half in resizing.HALF_WIDTHS.values():
        places, weights = axis.taps(56, half, torch.device("cpu"))
        low, high = axis.needed(56, half)
        assert torch.allclose(weights.sum(dim=2), torch.ones(2, 56), atol=1e-6)
        assert torch.equal(places.amin(dim=(1, 2)), low) and torch.equal(places.amax(dim=(1, 2)), high - 1)
        assert (low >= 0).all() and (high <= axis.sizes).all()
