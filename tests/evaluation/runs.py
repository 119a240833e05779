"""What tests of an evaluation share: a classifier, and running it on the tests' store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from salient_imagenet_data.evaluation.plan.plan import Conditions, Plan
from salient_imagenet_data.evaluation.run.infer import infer
from salient_imagenet_data.evaluation.run.predictions import PredictionsFile
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.joining import join
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.store.reading import Store

ALL = Conditions(("iclr2022", "corm2022", "spuriosity2023"), (0.5,), ("fill_gray",))


def sensitive(x: torch.Tensor) -> torch.Tensor:
    """A random linear classifier of pixels: its answers vary with the image and with the noise."""
    weight = torch.randn(x[0].numel(), 10, generator=torch.Generator().manual_seed(0))
    return (x - 0.5).flatten(1) @ weight / 10


def pixels_of(store: Store, source: FolderSource, row: int) -> torch.Tensor:
    index = {source.entry(i).image_id: i for i in range(len(source))}[store.rows[row].image_id]
    crop = store.manifest.preprocessing.apply(source.pixels(index))
    return torch.from_numpy(crop).permute(2, 0, 1).float() / 255


def run(store: Store, images: Path, path: Path, plan: Plan, **options: Any) -> PredictionsFile:
    joined = join(store, FolderSource(images), rows=plan.rows.tolist())
    model = options.pop("model", sensitive)
    return infer(Classifier("linear", model), joined, plan, path, Settings(**options))


def same(first: PredictionsFile, second: PredictionsFile) -> bool:
    """The same answers, whatever the order of rows; probabilities to rounding, classes exactly."""
    for name, a in first.conditions.items():
        b = second.conditions[name]
        order = [b.image_ids.index(i) for i in a.image_ids]
        if not np.array_equal(a.predicted, b.predicted[order]):
            return False
        if not np.allclose(a.probabilities, b.probabilities[order], atol=1e-6):
            return False
    return first.conditions.keys() == second.conditions.keys()


class Counting:
    """A model that counts its images, and may stop after some."""

    def __init__(self, stop: int | None = None) -> None:
        self.images, self.stop = 0, stop

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.images += len(x)
        if self.stop is not None and self.images > self.stop:
            raise RuntimeError("power cut")
        return sensitive(x)
