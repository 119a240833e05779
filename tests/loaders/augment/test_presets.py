"""Every augmentation by its name: what it leaves and what it changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.loaders import Region, SalientImageNet, augmentation, collate, region_masks
from salient_imagenet_data.loaders.augment.choices import AUGMENTATIONS, BACKGROUNDS, Augmentation
from salient_imagenet_data.store.reading import Store


@pytest.fixture(scope="module")
def batch(store: Store, images: Path) -> dict[str, Any]:
    return collate(list(SalientImageNet(store, images, v2.ToDtype(torch.float32, scale=True))))


def outside(name: str, batch: dict[str, Any]) -> Tensor:
    """(B, 1, S, S) what is changed: outside the core, dilated by 15 pixels of 224, with a sharp edge or over its peak."""
    core = batch["core_mask"].as_subclass(Tensor)
    soft = Region("not_core", dilation=4, normalise=True)
    where = region_masks(core, core, soft if name == "corm" else Region("not_core", threshold=0.5, dilation=4))
    return where * batch["has_core"][:, None, None, None] * (where.amin(dim=(1, 2, 3), keepdim=True) < 1)


@pytest.mark.parametrize("name", [*BACKGROUNDS, "corm"])
def test_the_core_stays_and_what_is_outside_changes(name: Augmentation, batch: dict[str, Any]) -> None:
    done = augmentation(name, 56, p=1.0, seed=0)(batch)
    before, after = batch["image"].as_subclass(Tensor), done["image"].as_subclass(Tensor)
    where = outside(name, batch)
    kept, far = (where == 0).expand_as(before), (where == 1).expand_as(before)
    assert torch.equal(after[kept], before[kept]) and kept.float().mean() > 0.1
    pixels, noise = after[far], after[far] - before[far]
    assert len(pixels) > 100
    if name == "background-removed":
        assert (pixels == 0.5).all()
    elif name == "background-noise":  # even in [0, 1]
        assert float(pixels.mean()) == pytest.approx(0.5, abs=0.01)
        assert float(pixels.var()) == pytest.approx(1 / 12, abs=0.002)
    elif name == "corm":
        inside = (before[far] > 0.3) & (before[far] < 0.7)  # where noise of less than 0.3 is not clipped
        assert float(noise[inside].abs().median()) == pytest.approx(0.25 * 0.6745, abs=0.03)
    else:
        assert (noise != 0).float().mean() > 0.5
    assert torch.equal(done["core_mask"], batch["core_mask"]) and set(done) == set(batch)


def test_an_image_whose_core_was_cropped_away_keeps_its_background(batch: dict[str, Any]) -> None:
    without = {**batch, "core_mask": batch["core_mask"] * 0.0}
    for name in (*BACKGROUNDS, "corm"):
        assert torch.equal(augmentation(name, 56, p=1.0, seed=0)(without)["image"], batch["image"]), name


def test_a_share_of_them_and_anew_at_every_call(batch: dict[str, Any]) -> None:
    transform = augmentation("background-removed", 56)
    torch.manual_seed(0)
    shares = []
    for _ in range(20):
        changed = (transform(batch)["image"] != batch["image"]).as_subclass(Tensor).flatten(1).any(dim=1)
        shares.append(float(changed[batch["has_core"]].float().mean()))
    assert sum(shares) / 20 == pytest.approx(0.5, abs=0.08) and len(set(shares)) > 3


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_works_in_a_pipeline_with_workers(name: Augmentation, store: Store, images: Path) -> None:
    pool = SalientImageNet(store, images, v2.RandomResizedCrop(32))
    pipeline = v2.Compose(
        [
            v2.RandomResizedCrop(32),
            augmentation(name, 32, pool=pool, classes=10, p=1.0),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    dataset = SalientImageNet(store, images, pipeline)
    torch.manual_seed(1)
    (first, second) = DataLoader(
        dataset, batch_size=20, num_workers=2 if name == "background-swapped" else 0, collate_fn=collate
    )
    assert first["image"].shape == second["core_mask"].expand(-1, 3, -1, -1).shape == (20, 3, 32, 32)
    assert 0.0 <= first["image"].min() < first["image"].max() <= 1.0
    assert ("cue_mask" in first) == name.startswith("planted")


def test_what_is_refused() -> None:
    with pytest.raises(SalientError, match="augmentation is not known; expected one of background-removed, "):
        augmentation("cutout", 56)  # type: ignore[arg-type]
    with pytest.raises(SalientError, match="planted-patch: needs the number of classes"):
        augmentation("planted-patch", 56)
