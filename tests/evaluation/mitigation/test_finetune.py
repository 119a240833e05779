"""Training under guidance: what the network is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from salient_imagenet_data.evaluation.mitigation import finetune as room
from salient_imagenet_data.evaluation.mitigation.finetune import FinetuneConfig, finetune
from salient_imagenet_data.evaluation.plan.regions import foreground, labels_of
from salient_imagenet_data.evaluation.run.images import Items
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.joining import join
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.store.reading import Store

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
