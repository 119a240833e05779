"""Insertion and deletion against plain loops over pixels, and in the orders that must be best and worst."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.evaluation.saliency.alignment import align
from salient_imagenet_data.evaluation.saliency.curves import areas
from salient_imagenet_data.folds import Fold
from salient_imagenet_data.loaders import Blur, corrupt
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.ranking.left_out import LeftOut
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run

SIDE = 6


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(4))

    def forward(self, images: Tensor) -> Tensor:
        return torch.einsum("bchw,kchw->bk", images, self.weight)


def test_areas_against_plain_loops() -> None:
    generator = torch.Generator().manual_seed(1)
    x, values = torch.rand(2, 3, SIDE, SIDE, generator=generator), torch.rand(2, SIDE, SIDE, generator=generator)
    model, classes = Linear(), torch.tensor([0, 1])
    found = areas(model, x, classes, [values], [5, 6], steps=4)
    blurred = corrupt(x, torch.ones(2, 1, SIDE, SIDE), Blur(10.0 * SIDE / 224), [0, 0])
    for k in range(2):
        order = np.argsort(-values[k].numpy().ravel())
        for column, (start, end) in enumerate(((x[k], torch.full_like(x[k], 0.5)), (blurred[k], x[k]))):
            p = []
            for count in (0, 9, 18, 27, 36):
                shown = start.clone().flatten(1)
                shown[:, order[:count]] = end.flatten(1)[:, order[:count]]
                p.append(float(model(shown.view(1, 3, SIDE, SIDE)).softmax(dim=1)[0, classes[k]]))
            assert found[k, column] == pytest.approx((p[0] / 2 + p[1] + p[2] + p[3] + p[4] / 2) / 4, rel=1e-5)
    assert found.shape == (2, 4) and not np.allclose(found[:, :2], found[:, 2:])


def test_what_speaks_for_the_class_goes_first_and_what_speaks_against_it_last() -> None:
    """Of a linear model the pixel's own share of the log odds is the best order there is for deletion."""
    x = torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    model, classes = Linear(), torch.zeros(3, dtype=torch.int64)
    share = ((model.weight[0] - model.weight[1]) * (x - 0.5)).sum(dim=1)
    found = areas(model, x, classes, [share, -share], [1, 2, 3], steps=36)
    best, worst, random = found[:, 0], found[:, 2], found[:, 4]
    assert (best < random).all() and (random < worst).all()


def test_equal_values_come_in_a_random_order_by_the_seed() -> None:
    x = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    flat = torch.zeros(1, SIDE, SIDE)
    first, again, other = (areas(Linear(), x, torch.tensor([0]), [flat], [s], steps=6) for s in (1, 1, 2))
    assert np.array_equal(first, again) and not np.allclose(first, other)
    with pytest.raises(SalientError, match="steps of the curves; expected 1 or more; got 0"):
        areas(Linear(), x, torch.tensor([0]), [flat], [1], steps=0)


def test_the_command(store: Store, images: Path, weights: Path, tmp_path: Path, run: Run) -> None:
    given = ("align", store.path, "--images", images, "--weights", weights, "--curves", 3, "--fold", "1/2")
    code, out, _ = run(*given, "--json")
    figures = json.loads(out)[str(weights)]
    names = [f"{way}{of}" for of in ("", "_core", "_random") for way in ("deletion", "insertion")]
    assert code == 0 and list(figures["curves"]) == names and figures["fold"] == "1/2"
    model, _ = load_model(weights)
    settings = Settings(batch_size=5, fold=Fold(1, 2))
    again = align(Classifier("m", model), store, images, curves=3, settings=settings).curves
    assert again is not None
    for name, e in dataclasses.asdict(again).items():
        assert figures["curves"][name]["value"] == pytest.approx(e["value"], rel=1e-4) and 0 < e["value"] < 1
    here = [image_id for image_id in store.rows.image_ids.to_pylist() if Fold(1, 2).holds([image_id])[0]]
    (tmp_path / "ids.txt").write_text(here[0])
    code, out, _ = run(*given, "--leave-out", tmp_path / "ids.txt")
    assert code == 0 and all(f" {name} " in out for name in names)
    facts = LeftOut(frozenset(here[:1])).facts(here)
    assert facts is not None and out.splitlines()[-2:] == ["only fold 1/2 of the images", facts.words]
