"""Training under guidance: what the network is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.localisation.truth import Box, Truth
from salient_imagenet_data.evaluation.mitigation import finetune as room
from salient_imagenet_data.evaluation.mitigation.finetune import FinetuneConfig, finetune
from salient_imagenet_data.evaluation.plan.regions import foreground, labels_of
from salient_imagenet_data.evaluation.run.images import Items
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.joining import join
from salient_imagenet_data.loaders import Region, region_masks
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.store.reading import Store

SETTINGS = Settings(batch_size=10)
Seen = tuple[Tensor, int, Tensor, Tensor]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Seen]:
    """What the guide is given, image by image: pixels, class, mask, what is known."""
    given: list[Seen] = []
    real = room.guidance

    def listening(*args: Any, **options: Any) -> Callable[..., tuple[Tensor, Tensor]]:
        guide = real(*args, **options)

        def hear(images: Tensor, labels: Tensor, masks: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
            given.extend(zip(images.clone(), labels.tolist(), masks.clone(), known.clone(), strict=True))
            return guide(images, labels, masks, known)

        return hear

    monkeypatch.setattr(room, "guidance", listening)
    return given


@pytest.mark.parametrize("flip", [True, False])
def test_masks_are_mirrored_with_their_images(
    flip: bool, seen: list[Seen], store: Store, images: Path, weights: Path
) -> None:
    source = FolderSource(images)
    settings = Settings(batch_size=10, seed=2)
    finetune(Classifier("m", load_model(weights)[0]), store, source, FinetuneConfig(flip=flip), settings)
    joined = join(store, source)
    items = Items(joined, store.manifest.preprocessing, [foreground(store)])
    labels = labels_of(store)[joined.rows].tolist()
    mirrored = 0
    for image, label, mask, known in seen:
        ways = []
        for item, own in zip((items[k] for k in range(len(items))), labels, strict=True):
            original = item.image.float() / 255.0
            expected = item.masks.get("foreground", torch.zeros(mask.shape[1:]))
            there = torch.full(mask.shape[1:], float("foreground" in item.masks))
            for turn in (False, True):
                pixels, m = (x.flip(-1) if turn else x for x in (original, expected))
                if torch.equal(pixels, image):
                    assert label == own and torch.equal(m, mask[0]) and torch.equal(there, known[0])
                    ways.append(turn)
        assert len(ways) == 1  # no scene is its own mirror image
        mirrored += ways[0]
    assert len(seen) == 40 and (8 <= mirrored <= 32 if flip else mirrored == 0)
    assert any(mask.any() and not torch.equal(mask, mask.flip(-1)) for _, _, mask, _ in seen)


def test_boxes_guide_in_place_of_masks_and_a_share_is_enough(
    seen: list[Seen], store: Store, images: Path, weights: Path
) -> None:
    source = FolderSource(images)
    ids = store.rows.image_ids.to_pylist()
    truth = Truth({image_id: (Box(0.25, 0.0, 0.5, 1.0),) for image_id in ids}, True, {})
    config = FinetuneConfig(flip=False, annotated_fraction=0.25)
    _, done = finetune(Classifier("m", load_model(weights)[0]), store, source, config, SETTINGS, boxes=truth)
    assert done.annotation is not None and done.annotation.words == (
        "guided by the people's boxes of 10 images, of 40 that have one and 40 in all"
    )
    boxed = [(label, mask, known) for _, label, mask, known in seen if mask.any()]
    assert len(seen) == 40 and sorted(label for label, _, _ in boxed) == list(range(10))
    columns = torch.zeros(56)
    columns[13:28] = 1.0  # a quarter to half of 60 pixels, of which the central 56 begin at 2
    for _, mask, known in boxed:
        assert known.all() and torch.equal(mask[0], columns.expand(56, 56))
    assert all(not known.any() for _, _, mask, known in seen if not mask.any())
    assert len(done.losses) == 1 and done.layer == "image"


def test_half_of_the_images_with_a_mask_get_another_background(
    seen: list[Seen], store: Store, images: Path, weights: Path
) -> None:
    """Outside the dilated core they are gray, in it they are as they were; the same seed gives the same."""
    config = FinetuneConfig(loss="none", flip=False, augment="background-removed", annotated_fraction=0.75, epochs=2)
    for _ in range(2):
        finetune(Classifier("m", load_model(weights)[0]), store, FolderSource(images), config, SETTINGS)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(seen[:80], seen[80:], strict=True))
    joined = join(store, FolderSource(images))
    originals = torch.stack([i.image for i in map(Items(joined, store.manifest.preprocessing).__getitem__, range(40))])
    originals = originals.float() / 255.0
    changed = []
    for image, label, mask, known in seen[:80]:
        core = region_masks(mask[None], mask[None], Region("core", threshold=0.5, dilation=4))[0].expand_as(image) > 0
        (own,) = [x for x in originals if core.any() and torch.equal(x[core], image[core])] or [image]
        changed.append(not torch.equal(own, image))
        assert not changed[-1] or (bool(known.all()) and bool((image[~core] == 0.5).all()) and label != 1)
    usable = [bool((mask >= 0.5).any()) for _, _, mask, _ in seen[:80]]
    assert 0.3 < sum(changed) / sum(usable) < 0.7 and sum(usable) < 60
    assert changed[:40] != changed[40:]


def test_the_control_needs_no_masks(bare_store: Store, images: Path, weights: Path) -> None:
    model = Classifier("m", load_model(weights)[0])
    _, done = finetune(model, bare_store, FolderSource(images), FinetuneConfig(loss="none"), SETTINGS)
    assert done.annotation is None and done.layer is None and done.losses[0][1] == 0.0
    with pytest.raises(SalientError, match="not annotated, so no feature is core or spurious yet"):
        finetune(model, bare_store, FolderSource(images), FinetuneConfig(), SETTINGS)


def test_a_recipe_that_says_too_much(store: Store, images: Path, weights: Path) -> None:
    with pytest.raises(SalientError, match="the loss none uses no masks, so an annotated fraction says nothing; leave"):
        FinetuneConfig(loss="none", annotated_fraction=0.5)
    truth = Truth({"x": (Box(0, 0, 1, 1),)}, True, {})
    with pytest.raises(
        SalientError, match="the loss none uses no masks, so a file of boxes says nothing; leave it out"
    ):
        model = Classifier("m", load_model(weights)[0])
        finetune(model, store, FolderSource(images), FinetuneConfig(loss="none"), SETTINGS, boxes=truth)
    with pytest.raises(SalientError, match="annotated fraction; expected a number above 0 and at most 1; got 0"):
        FinetuneConfig(annotated_fraction=0.0)
    with pytest.raises(SalientError, match="augmentation; expected one of background-removed, .*; got corm"):
        FinetuneConfig(augment="corm")  # type: ignore[arg-type]
    with pytest.raises(SalientError, match="where to look is said twice"):
        FinetuneConfig(layer="image", depth="last")
    with pytest.raises(SalientError, match="adversarial looks at no attributions; expected a saliency, layer or depth"):
        FinetuneConfig(loss="adversarial", depth="last")
