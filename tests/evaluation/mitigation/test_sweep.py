"""The weight chosen on held-out images: which these are, and that the choice is what the criterion says."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.mitigation import sweep as room
from salient_imagenet_data.evaluation.mitigation.finetune import FinetuneConfig, finetune_on
from salient_imagenet_data.evaluation.mitigation.sweep import check_sweep, held_out, least_spurious, sweep
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.folds import Fold
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.joining import Joined, join
from salient_imagenet_data.names import SPURIOUS
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.ranking.spuriosity import spuriosity
from salient_imagenet_data.store.reading import Store

CONFIG, SETTINGS = FinetuneConfig(learning_rate=3e-2, epochs=3), Settings(batch_size=10)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=60), st.integers(0, 1000))
def test_the_least_spurious_by_plain_loops(labels: list[int], seed: int) -> None:
    scores = np.random.default_rng(seed).integers(0, 9, len(labels)).astype(float)
    scores[np.array(labels) == 1] = np.nan
    wanted = []
    for label in (0, 2):
        mine = sorted((k for k, own in enumerate(labels) if own == label), key=lambda k: (scores[k], k))
        wanted += mine[: max(1, int(0.2 * len(mine)))] if mine else []
    assert least_spurious(scores, np.array(labels)).tolist() == sorted(wanted)


def test_a_quarter_is_held_out_of_every_fold() -> None:
    ids = [f"image-{k}" for k in range(4000)]
    held = held_out(ids)
    assert held.tolist() == held_out(ids[::-1]).tolist()[::-1] and 900 < held.sum() < 1100
    for number in range(1, 5):
        mine = Fold(number, 4).holds(ids)
        assert 0.2 < held[mine].mean() < 0.3


def test_the_weight_that_is_best_on_the_least_spurious_is_chosen(store: Store, images: Path, weights: Path) -> None:
    """Each weight again, by hand, image after image."""
    joined, model = join(store, FolderSource(images)), load_model(weights)[0]
    before = copy.deepcopy(model.state_dict())
    told = []
    found = sweep(Classifier("m", model), joined, CONFIG, (30.0, 0.0, 3.0, 3.0), SETTINGS, report=told.append)
    assert [t.weight for t in found.tried] == [0.0, 3.0, 30.0] and told == list(found.tried)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    held = held_out([store.rows[int(row)].image_id for row in joined.rows])
    assert (found.trained_on, found.held_out) == (int((~held).sum()), int(held.sum())) and found.held_out > 4
    rows = joined.rows[held]
    labels = np.array([store.rows[int(row)].label for row in rows])
    scores = spuriosity(store.activations[rows], labels, store.kind_table[SPURIOUS])
    values = {}
    for weight in (0.0, 3.0, 30.0):
        training = joined.take(np.flatnonzero(~held))
        net, _ = finetune_on(
            Classifier("m", load_model(weights)[0]), training, replace(CONFIG, weight=weight), SETTINGS
        )
        right = []
        for item in np.flatnonzero(held).tolist():
            pixels = store.manifest.preprocessing.apply(joined.image(item))
            x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
            right.append(int(net(x)[0].argmax()) == store.rows[int(joined.rows[item])].label)
        by_class = [
            [right[k] for k in least_spurious(scores, labels).tolist() if labels[k] == label]
            for label in sorted(set(labels.tolist()))
        ]
        values[weight] = float(np.mean([np.mean(some) for some in by_class if some]))
    assert {t.weight: t.least.value for t in found.tried} == pytest.approx(values)
    best = max(values.values())
    assert found.chosen == min(weight for weight, value in values.items() if value == best)


def test_of_equals_the_smallest_and_no_held_out_image_is_trained_on(
    store: Store, images: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[set[int]] = []
    real = room.finetune_on

    def listening(classifier: Classifier, joined: Joined, *args: Any, **options: Any) -> Any:
        shown.append(set(joined.rows.tolist()))
        return real(classifier, joined, replace(args[0], learning_rate=1e-9), *args[1:], **options)

    monkeypatch.setattr(room, "finetune_on", listening)
    joined = join(store, FolderSource(images))
    found = sweep(Classifier("m", load_model(weights)[0]), joined, CONFIG, (5.0, 1.0), SETTINGS)
    assert found.chosen == 1.0 and found.tried[0].least == found.tried[1].least
    held = held_out([store.rows[int(row)].image_id for row in joined.rows])
    assert shown == [set(joined.rows[~held].tolist())] * 2


def test_what_cannot_be_chosen(store: Store, images: Path, weights: Path) -> None:
    for loss in ("none", "corm"):
        with pytest.raises(SalientError, match=f"{loss} has no weight to choose; expected another loss"):
            check_sweep(loss, (1.0,))
    for bad in ((), (-1.0,), (float("inf"),), (float("nan"),)):
        with pytest.raises(SalientError, match="weights to choose among; expected numbers >= 0"):
            check_sweep("energy", bad)
    classifier = Classifier("m", load_model(weights)[0])
    joined = join(store, FolderSource(images), rows=np.flatnonzero(store.rows.labels == 0).tolist())
    with pytest.raises(SalientError, match="no weight can be chosen; .* 0 of them ranked; give the weight instead"):
        sweep(classifier, joined, CONFIG, (1.0,), SETTINGS)
