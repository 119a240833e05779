"""Other images behind the object, by value."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from salient_imagenet_data.loaders import Inpaint, OtherBackground, Region, SalientImageNet, Swap, collate, corrupt
from salient_imagenet_data.loaders.augment.backgrounds import TRIES
from salient_imagenet_data.loaders.corruption.corruptions import image_seeds
from salient_imagenet_data.store.reading import Store

CORE_OVER = Region("not_core", threshold=0.5)


def plain(image: object) -> Tensor:
    return torch.as_tensor(image).as_subclass(Tensor)


@pytest.fixture(scope="module")
def dataset(store: Store, images: Path) -> SalientImageNet:
    return SalientImageNet(store, images)


def behind(batch: dict[str, Tensor], done: Tensor, candidates: Tensor) -> list[int | None]:
    """For each image the candidate whose pixels are where its core is not; None for one that is as it was."""
    found: list[int | None] = []
    for k in range(len(done)):
        outside = (plain(batch["core_mask"])[k, 0] < 0.5).expand(3, -1, -1)
        assert torch.equal(done[k][~outside], plain(batch["image"])[k][~outside])
        same = [j for j in range(len(candidates)) if torch.equal(done[k][outside], candidates[j][outside])]
        found.append(None if torch.equal(done[k], plain(batch["image"])[k]) else same[0])
    return found


def test_in_a_batch_another_image_of_another_class_stands_behind_the_core(dataset: SalientImageNet) -> None:
    batch = collate([dataset[i] for i in range(40)])
    done = plain(OtherBackground(CORE_OVER, p=1.0, seed=1)(batch)["image"])
    others = behind(batch, done, plain(batch["image"]))
    labels = batch["label"].tolist()
    for k, other in enumerate(others):
        if batch["has_core"][k]:
            assert other is not None and other != k and labels[other] != labels[k]
        else:  # what is not core is not known
            assert other is None
    assert len(set(others)) > 12
    again = plain(OtherBackground(CORE_OVER, p=1.0, seed=2)(batch)["image"])
    assert behind(batch, again, plain(batch["image"])) != others


def test_without_its_object_only_the_other_images_background_comes(dataset: SalientImageNet) -> None:
    batch = collate([dataset[i] for i in range(40)])
    images, cores = plain(batch["image"]), plain(batch["core_mask"])
    done = plain(OtherBackground(CORE_OVER, without_object=True, p=1.0, seed=1)(batch)["image"])
    objects = (cores >= 0.5).float()
    empty = corrupt(images, objects, Inpaint(), image_seeds(1, batch["image_id"]))
    others = behind(batch, done, empty)
    has = batch["has_core"].tolist()
    assert all((other is not None) == has[k] for k, other in enumerate(others))
    assert all(has[other] for other in others if other is not None)


def test_from_a_pool_samples_get_what_batches_get(dataset: SalientImageNet, store: Store, images: Path) -> None:
    pool = SalientImageNet(store, images, rows=list(range(0, 40, 3)))
    swap = OtherBackground(CORE_OVER, pool=pool, p=1.0, seed=4)
    batch = collate([dataset[i] for i in range(12)])
    together = plain(swap(batch)["image"])
    alone = torch.stack([plain(swap(dataset[i])["image"]) for i in range(12)])
    assert torch.equal(together, alone)
    candidates = torch.stack([plain(pool[j]["image"]) for j in range(len(pool))])
    others = behind(batch, together, candidates)
    for k, other in enumerate(others):
        assert (other is None) != bool(batch["has_core"][k])
        assert other is None or pool[other]["label"] != batch["label"][k]
    floats = SalientImageNet(store, images, v2.ToDtype(torch.float32, scale=True))
    again = plain(swap(floats[0])["image"])
    assert again.dtype == torch.float32 and torch.equal(again.mul(255).round().byte(), alone[0])


def test_an_image_without_another_is_left_alone(dataset: SalientImageNet, store: Store, images: Path) -> None:
    item = next(i for i in range(40) if dataset[i]["has_core"])
    batch = collate([dataset[item]])
    assert torch.equal(OtherBackground(CORE_OVER, p=1.0, seed=0)(batch)["image"], batch["image"])
    bare = next(i for i in range(40) if not dataset[i]["has_core"])
    two = collate([dataset[item], dataset[bare]])
    assert torch.equal(OtherBackground(CORE_OVER, without_object=True, p=1.0, seed=0)(two)["image"], two["image"])
    assert not torch.equal(OtherBackground(CORE_OVER, p=1.0, seed=0)(two)["image"], two["image"])
    itself = OtherBackground(CORE_OVER, pool=SalientImageNet(store, images, rows=[item]), p=1.0)
    assert torch.equal(plain(itself(dataset[item])["image"]), plain(dataset[item]["image"]))
    nothing = OtherBackground(CORE_OVER, pool=SalientImageNet(store, images, rows=[bare]), without_object=True, p=1.0)
    assert torch.equal(plain(nothing(dataset[item])["image"]), plain(dataset[item]["image"]))
    # Where all are of one class, another image of that class will do.
    label = dataset[item]["label"]
    same = collate([s for s in (dataset[i] for i in range(40)) if s["label"] == label])
    done = plain(OtherBackground(CORE_OVER, p=1.0, seed=0)(same)["image"])
    assert None not in behind(same, done, plain(same["image"])) and TRIES == 16


def test_a_share_of_the_images_and_soft_edges(dataset: SalientImageNet) -> None:
    batch = collate([dataset[i] for i in range(40) if dataset[i]["has_core"]])
    half = OtherBackground(Region("not_core", dilation=4, normalise=True), p=0.5, seed=0)
    changed = (half(batch)["image"] != batch["image"]).as_subclass(Tensor).flatten(1).any(dim=1).float().mean()
    assert 0.25 < changed < 0.75
    assert repr(pickle.loads(pickle.dumps(half))) == repr(half) and "pool=batch" in repr(half)


def test_what_is_refused(dataset: SalientImageNet, store: Store, images: Path) -> None:
    with pytest.raises(ValueError, match="expected a batch, or a pool of other images"):
        OtherBackground(CORE_OVER)(dataset[0])
    with pytest.raises(ValueError, match="a region that is not_core, got core"):
        OtherBackground(Region("core"))
    small = SalientImageNet(store, images, v2.Resize(28))
    with pytest.raises(ValueError, match=r"expected images of \(3, 56, 56\) from the pool, got \(3, 28, 28\)"):
        OtherBackground(CORE_OVER, pool=small, p=1.0)(dataset[0])
    assert Swap().needs_other
