"""Planted cues by value: which class's cue, how often, where, and what becomes of the masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.transforms import v2

from salient_imagenet_data.loaders import PlantedCue, SalientImageNet, SoftMask, collate
from salient_imagenet_data.loaders.augment.cues import PALETTE, cue_classes, cue_of, planted
from salient_imagenet_data.store.reading import Store

IDS = [f"class/{k:05d}" for k in range(12_000)]


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("shares", [(0.25, 0.25, 0.25, 0.25), (0.6, 0.3, 0.1)])
def test_the_correlation_with_each_class_is_the_one_asked_for(correlation: float, shares: tuple[float, ...]) -> None:
    """Measured on labels drawn with these shares; the error of a correlation of 12,000 images is below 0.01."""
    labels = np.random.default_rng(1).choice(len(shares), size=len(IDS), p=shares)
    cues = np.array(cue_classes(labels.tolist(), IDS, 7, correlation, np.array(shares)))
    for label, share in enumerate(shares):
        measured = np.corrcoef(cues == label, labels == label)[0, 1]
        assert measured == pytest.approx(correlation, abs=0.035)
        assert (cues == label).mean() == pytest.approx(share, abs=0.02)
    agreement = correlation + (1 - correlation) * sum(share**2 for share in shares)
    assert (cues == labels).mean() == pytest.approx(agreement, abs=0.02)


def test_all_or_nothing_and_each_by_its_own_seed() -> None:
    labels = [k % 5 for k in range(len(IDS))]
    assert cue_classes(labels, IDS, 0, 1.0, np.full(5, 0.2)) == labels
    first, again, other = (cue_classes(labels, IDS, seed, 0.5, np.full(5, 0.2)) for seed in (0, 0, 1))
    assert first == again != other
    assert cue_classes(labels[7:9], IDS[7:9], 0, 0.5, np.full(5, 0.2)) == first[7:9]


def test_how_cues_look() -> None:
    colours, where = cue_of("patch", 2, 6)
    assert colours.shape == (3, 6, 6) and bool((where == 1).all())
    assert torch.allclose(colours, torch.tensor(PALETTE[2])[:, None, None].expand(3, 6, 6))
    patches = {tuple(cue_of("patch", k, 2)[0].flatten().tolist()) for k in range(1000)}
    assert len(patches) == 1000
    marks = [cue_of("watermark", k, 12) for k in (1, 7, 71)]
    assert all(bool((colours == 1).all()) and where.max() > 0.9 and where.min() == 0 for colours, where in marks)
    one, seven, both = (where for _, where in marks)
    assert not torch.equal(one, seven) and both.shape[2] > seven.shape[2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_where_a_patch_lies_and_what_it_covers(dtype: torch.dtype) -> None:
    images = (
        torch.full((3, 3, 16, 24), 51, dtype=torch.uint8) if dtype == torch.uint8 else torch.full((3, 3, 16, 24), 0.2)
    )
    out, where = planted(images, [0, -1, 7], "patch", [(1.0, 0.0), (0, 0), (0.0, 1.0)], 0.25, 0.5)
    assert out.dtype == dtype and where.shape == (3, 1, 16, 24)
    assert torch.equal(out[1], images[1]) and not where[1].any()
    assert where.sum(dim=(1, 2, 3)).tolist() == [16.0, 0.0, 16.0]
    assert where[0, 0, 12:, :4].all() and where[2, 0, :4, 20:].all()
    value = out.float() / (255.0 if dtype == torch.uint8 else 1.0)
    assert value[0, :, 14, 2].tolist() == pytest.approx([0.55, 0.15, 0.15], abs=0.002)  # half of 0.2, half of its red
    assert value[2, :, 0, 23].tolist() == pytest.approx([0.6] * 3, abs=0.002)
    assert torch.equal(out[0][:, :12], images[0][:, :12])
    with pytest.raises(ValueError, match="larger than images"):
        planted(images, [0, 0, 0], "patch", [(0, 0)] * 3, 1.4, 1.0)


def test_a_sample_carries_its_cue_in_the_masks(store: Store, images: Path) -> None:
    plain = SalientImageNet(store, images)
    plant = PlantedCue("patch", 10, 1.0, place=(0.0, 0.0), share=0.25)
    item = next(i for i in range(40) if plain[i]["label"] == 0)  # whose class has no spurious feature
    before, after = plain[item], plant(plain[item])
    assert after["cue"] == before["label"] == 0 and not before["has_spurious"] and after["has_spurious"] is True
    assert isinstance(after["image"], tv_tensors.Image) and isinstance(after["cue_mask"], SoftMask)
    here = torch.zeros(1, 56, 56)
    here[:, :14, :14] = 1.0
    masks = {name: after[name].as_subclass(Tensor) for name in ("core_mask", "spurious_mask", "cue_mask")}
    assert torch.equal(masks["cue_mask"], here) and torch.equal(masks["spurious_mask"], here)
    assert torch.equal(masks["core_mask"], before["core_mask"].as_subclass(Tensor) * (1 - here))
    colour = torch.tensor(PALETTE[0]).mul(255).round().byte()
    assert torch.equal(after["image"].as_subclass(Tensor)[:, :14, :14], colour[:, None, None].expand(3, 14, 14))
    changed = (after["image"] != before["image"]).as_subclass(Tensor).any(dim=0)
    assert not changed[14:].any() and not changed[:, 14:].any()
    # It goes where the image goes.
    flipped = v2.functional.horizontal_flip(after["cue_mask"])
    assert isinstance(flipped, SoftMask) and flipped.as_subclass(Tensor)[:, :14, 42:].all()


def test_samples_batches_and_workers_give_the_same(store: Store, images: Path) -> None:
    plant = PlantedCue("watermark", 10, 0.5, place=None, seed=3)
    plain, cued = SalientImageNet(store, images), SalientImageNet(store, images, plant)
    batch = plant(collate([plain[i] for i in range(40)]))
    loaded = next(iter(DataLoader(cued, batch_size=40, num_workers=2, collate_fn=collate)))
    for name in ("image", "core_mask", "spurious_mask", "cue_mask", "cue", "has_spurious"):
        assert torch.equal(torch.as_tensor(batch[name]), torch.as_tensor(loaded[name])), name
    labels = torch.as_tensor(batch["label"])
    agree = (batch["cue"] == labels).float().mean()
    assert 0.3 < agree < 0.8 and type(batch["cue_mask"]) is SoftMask
    places = batch["cue_mask"].as_subclass(Tensor).amax(dim=(1, 3)).float().argmax(dim=1)
    assert len(places.unique()) > 10


def test_without_a_seed_every_call_draws_anew(store: Store, images: Path) -> None:
    batch = collate([SalientImageNet(store, images)[i] for i in range(40)])
    plant = PlantedCue("patch", 10, 0.0, seed=None)
    torch.manual_seed(0)
    first, second = plant(batch)["cue"], plant(batch)["cue"]
    torch.manual_seed(0)
    assert not torch.equal(first, second) and torch.equal(plant(batch)["cue"], first)


def test_only_some_classes_have_a_cue(store: Store, images: Path) -> None:
    batch = collate([SalientImageNet(store, images)[i] for i in range(40)])
    found = PlantedCue("patch", 10, 1.0, only={2, 5})(batch)
    labels = batch["label"].tolist()
    assert found["cue"].tolist() == [label if label in (2, 5) else -1 for label in labels]
    same = (found["image"] == batch["image"]).as_subclass(Tensor).flatten(1).all(dim=1).tolist()
    assert same == [label not in (2, 5) for label in labels]


def test_what_is_refused(store: Store, images: Path) -> None:
    for given, words in (
        (("dot", 10, 0.5), "expected patch or watermark"),
        (("patch", 10, 1.5), "a correlation in \\[0, 1\\]"),
        (("patch", [0.5, 0.4], 0.5), "shares of classes that add up to 1"),
    ):
        with pytest.raises(ValueError, match=words):
            PlantedCue(*given)  # type: ignore[arg-type]
    for options in ({"share": 0.0}, {"share": 1.1}, {"opacity": 1.5}, {"place": (0.5, 2.0)}, {"opacity": float("nan")}):
        with pytest.raises(ValueError, match="expected share, opacity and place in"):
            PlantedCue("patch", 10, 0.5, **options)  # type: ignore[arg-type]
    sample = SalientImageNet(store, images)[39]
    with pytest.raises(ValueError, match="expected labels below 3"):
        PlantedCue("patch", 3, 0.5)({**sample, "label": 3})
    with pytest.raises(ValueError, match="got the compact form"):
        PlantedCue("patch", 10, 0.5)(SalientImageNet(store, images, return_maps=True)[0])
