from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from salient_imagenet_data.loaders import MaskedGaussianNoise, SalientImageNet, gaussian_noise
from salient_imagenet_data.loaders.corruptions import image_generator
from salient_imagenet_data.store import Store


@given(st.floats(0, 2), st.integers(0, 1000))
def test_against_the_formula_in_numpy(sigma: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image, mask = rng.random((3, 6, 5), dtype=np.float32), rng.random((6, 5), dtype=np.float32)
    noise = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(seed)).numpy().astype(np.float64)
    expected = np.clip(image.astype(np.float64) + sigma * noise * mask.astype(np.float64), 0.0, 1.0)
    got = gaussian_noise(torch.from_numpy(image), torch.from_numpy(mask), sigma, torch.Generator().manual_seed(seed))
    assert np.abs(got.numpy() - expected).max() < 1e-5


def test_empty_mask_or_no_noise_changes_nothing() -> None:
    image = torch.rand(3, 8, 8)
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(gaussian_noise(image, torch.zeros(8, 8), 0.25, generator), image)
    assert torch.equal(gaussian_noise(image, torch.ones(8, 8), 0.0, generator), image)
    assert not torch.equal(gaussian_noise(image, torch.ones(8, 8), 0.25, generator), image)


def test_integer_images_are_refused() -> None:
    with pytest.raises(TypeError, match=r"float image in \[0, 1\], got torch.uint8"):
        gaussian_noise(torch.zeros(3, 2, 2, dtype=torch.uint8), torch.ones(2, 2), 0.1, torch.Generator())


def test_noise_depends_on_seed_and_image_id_only() -> None:
    def draw(seed: int, image_id: str) -> torch.Tensor:
        return torch.randn(4, generator=image_generator(seed, image_id))

    assert torch.equal(draw(1, "a/1"), draw(1, "a/1"))
    assert not torch.equal(draw(1, "a/1"), draw(2, "a/1")) and not torch.equal(draw(1, "a/1"), draw(1, "a/2"))


def test_transform_keeps_masks_and_touches_its_region_only(store: Store, images: Path) -> None:
    plain, noisy = (
        SalientImageNet(store, images),
        SalientImageNet(store, images, MaskedGaussianNoise("core", 0.5, seed=3)),
    )
    item = next(i for i, r in enumerate(store.rows) if r.label == 3)
    before, after = plain[item], noisy[item]
    changed = (after["image"] - before["image"].float() / 255).abs().amax(dim=0) > 1e-6
    assert changed.any() and not changed[before["core_mask"][0] == 0].any()
    assert torch.equal(after["core_mask"], before["core_mask"]) and torch.equal(noisy[item]["image"], after["image"])
