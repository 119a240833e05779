from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from salient_imagenet_data.loaders import (
    Batch,
    Fill,
    GaussianNoise,
    MaskedCorruption,
    MaskedGaussianNoise,
    PlantedCue,
    Region,
    SalientImageNet,
    Shuffle,
    SoftMask,
    Swap,
    augmentation,
    collate,
    corrupt,
    gaussian_noise,
    image_seeds,
    region_masks,
)
from salient_imagenet_data.loaders.corruption.corruptions import image_generator
from salient_imagenet_data.store.reading import Store


def test_noise_is_that_of_the_protocol_iclr2022(store: Store, images: Path) -> None:
    pipeline = v2.Compose([v2.ToDtype(torch.float32, scale=True), MaskedGaussianNoise("core", 0.5, seed=3)])
    plain, noisy = SalientImageNet(store, images, pipeline.transforms[0]), SalientImageNet(store, images, pipeline)
    for item in (0, 13, 39):
        before, after = plain[item], noisy[item]
        x, m = before["image"].as_subclass(Tensor), before["core_mask"].as_subclass(Tensor)
        expected = gaussian_noise(x, m, 0.5, image_generator(3, before["image_id"]))
        assert isinstance(after["image"], tv_tensors.Image) and torch.equal(
            after["image"].as_subclass(Tensor), expected
        )
        assert torch.equal(after["core_mask"], before["core_mask"])


def test_sample_and_batch_give_the_same(store: Store, images: Path) -> None:
    transform = MaskedCorruption(Shuffle(), Region("not_core", "random", threshold=0.3), condition="c", p=0.6)
    samples = list(SalientImageNet(store, images))
    batch = transform(collate(samples))["image"]
    singles = [transform(sample)["image"] for sample in samples]
    assert batch.dtype == torch.uint8 and all(torch.equal(a, b) for a, b in zip(batch, singles, strict=True))
    # A share p of the images that have such a region, and none of the others.
    changed = torch.tensor([not torch.equal(a, s["image"]) for a, s in zip(singles, samples, strict=True)])
    has = torch.tensor([s["has_core"] for s in samples])
    assert not changed[~has].any() and 0.3 < changed[has].float().mean() < 0.9


def test_trap_an_image_without_the_region_is_left_alone(store: Store, images: Path) -> None:
    """Its core mask is zeros because there is none: the complement would be the whole picture."""
    item = next(i for i, r in enumerate(store.rows) if r.label == 1)
    sample = SalientImageNet(store, images)[item]
    assert not sample["has_core"]
    assert torch.equal(MaskedCorruption(Fill(), "not_core")(sample)["image"], sample["image"])
    assert not torch.equal(MaskedCorruption(Fill(), "spurious")(sample)["image"], sample["image"])


def test_random_numbers_by_condition_and_for_training(store: Store, images: Path) -> None:
    sample = SalientImageNet(store, images)[0]

    def noisy(**options: object) -> Tensor:
        image: Tensor = MaskedCorruption(GaussianNoise(), "core", **options)(sample)["image"]  # type: ignore[arg-type]
        return image

    assert torch.equal(noisy(condition="a"), noisy(condition="a"))
    assert not torch.equal(noisy(condition="a"), noisy(condition="b")) and not torch.equal(noisy(), noisy(seed=1))
    torch.manual_seed(0)
    first, second = noisy(seed=None), noisy(seed=None)
    torch.manual_seed(0)
    assert not torch.equal(first, second) and torch.equal(noisy(seed=None), first)


def test_region_and_corruption_are_those_of_the_functions(store: Store, images: Path) -> None:
    batch = collate(list(SalientImageNet(store, images)))
    region = Region("neither", threshold=0.4, dilation=2)
    core, spurious = (batch[f"{k}_mask"].as_subclass(Tensor) for k in ("core", "spurious"))
    masks = region_masks(core, spurious, region) * batch["has_core"][:, None, None, None]
    expected = corrupt(batch["image"].as_subclass(Tensor), masks, Fill(), image_seeds(0, batch["image_id"]))
    assert torch.equal(MaskedCorruption(Fill(), region)(batch)["image"].as_subclass(Tensor), expected)


def test_transforms_pickle_and_show_themselves() -> None:
    transform = MaskedCorruption(Fill("mean"), "core", seed=4)
    assert repr(pickle.loads(pickle.dumps(transform))) == repr(transform)
    assert "Fill(color='mean')" in repr(transform) and "seed=4" in repr(transform)


def test_what_needs_another_image_is_refused() -> None:
    for corruption, region in ((Swap(), Region("core")), (Fill(), Region("core", "other"))):
        with pytest.raises(ValueError, match="what one image is enough for"):
            MaskedCorruption(corruption, region)
    for share in (-0.1, 50, float("nan")):
        with pytest.raises(ValueError, match=r"expected a share p in \[0, 1\], got"):
            MaskedCorruption(Fill(), "core", p=share)


EACH = [
    MaskedCorruption(Fill(), "not_core"),
    augmentation("background-swapped", 56, p=1.0),
    PlantedCue("patch", 10, 1.0),
]


@pytest.mark.parametrize("transform", EACH, ids=lambda t: type(t).__name__)
def test_batches_of_nothing_and_what_is_no_image_in_0_1(transform: nn.Module, store: Store, images: Path) -> None:
    batch = collate([SalientImageNet(store, images)[i] for i in (0, 13)])
    done = transform(batch)
    assert type(done) is Batch and not torch.equal(done["image"], batch["image"])
    nothing = transform(Batch({key: value[:0] for key, value in batch.items()}))
    assert nothing["image"].shape == (0, 3, 56, 56) and nothing["image"].dtype == torch.uint8
    with pytest.raises(ValueError, match=r"expected values in \[0, 1\], got -2.*; go before v2.Normalize"):
        transform(v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.2] * 3)])(batch))
    with pytest.raises(TypeError, match=r"expected uint8, or float in \[0, 1\], got torch.int32"):
        transform(batch | {"image": batch["image"].int()})
    with pytest.raises(TypeError, match=r"expected images and masks as tensors, got Image; v2.ToImage\(\) makes them"):
        transform(v2.ToPILImage()(SalientImageNet(store, images)[0]))


def test_trap_resampling_leaves_0_1_by_the_last_digits(store: Store, images: Path) -> None:
    """White may become 1.0000002 in a float image that is resized, and no training stops at that."""
    sample = SalientImageNet(store, images, v2.ToDtype(torch.float32, scale=True))[0]
    white = {**sample, "image": tv_tensors.Image(torch.full((3, 56, 56), 1.0000002))}
    with pytest.raises(ValueError, match="got 1.00005 to 1.00005"):
        MaskedCorruption(Fill(), "not_core")({**white, "image": white["image"] + 5e-5})
    grayed, core = MaskedCorruption(Fill(), "not_core")(white)["image"], sample["core_mask"].as_subclass(Tensor)
    torch.testing.assert_close(grayed.as_subclass(Tensor), (0.5 + core / 2).expand(3, -1, -1))
    deep = v2.ToDtype(torch.float64, scale=True)(SalientImageNet(store, images)[0])
    kept = MaskedCorruption(Fill(), "not_core")({**deep, "core_mask": SoftMask(torch.ones(1, 56, 56))})
    assert torch.equal(kept["image"], deep["image"])
