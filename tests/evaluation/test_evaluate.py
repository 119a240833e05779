from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from salient_imagenet_data.builder.model import load_model
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.evaluate import NOT_RUN, evaluate, predict
from salient_imagenet_data.evaluation.metrics import auroc, class_average, iou, wilson
from salient_imagenet_data.evaluation.protocols import iclr2022
from salient_imagenet_data.images import FolderSource
from salient_imagenet_data.loaders.corruptions import gaussian_noise, image_generator
from salient_imagenet_data.store import Store


def sensitive(x: torch.Tensor) -> torch.Tensor:
    """A random linear classifier of pixels: its answers vary with the image and with the noise."""
    weight = torch.randn(x[0].numel(), 10, generator=torch.Generator().manual_seed(0))
    return (x - 0.5).flatten(1) @ weight


def test_wilson_against_published_values() -> None:
    # Newcombe 1998, table I: 81 of 263 and 0 of 20.
    estimate = wilson(81, 263)
    assert (round(estimate.low, 4), round(estimate.high, 4)) == (0.2553, 0.3662)
    assert (wilson(0, 20).low, round(wilson(0, 20).high, 4)) == (0.0, 0.1611)
    with pytest.raises(ValueError, match="got 0 of 0"):
        wilson(0, 0)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_auroc_is_the_share_of_right_pairs(pairs: list[tuple[int, bool]]) -> None:
    scores, truth = np.array([float(s) for s, _ in pairs]), np.array([t for _, t in pairs])
    yes, no = scores[truth], scores[~truth]
    if not len(yes) or not len(no):
        assert math.isnan(auroc(scores, truth))
        return
    wins = sum((a > b) + 0.5 * (a == b) for a in yes for b in no)
    assert auroc(scores, truth) == pytest.approx(wins / (len(yes) * len(no)))


def test_iou_by_hand() -> None:
    truth = np.array([True, True, False, False])
    assert iou(np.array([0.9, 0.1, 0.5, 0.0]), truth) == pytest.approx(1 / 3)
    assert math.isnan(iou(np.zeros(2), np.zeros(2, dtype=bool)))


def test_class_average_weighs_classes_evenly_and_covers() -> None:
    hits = np.array([True] * 90 + [False] * 10 + [False] * 5)
    labels = np.array([0] * 100 + [1] * 5)
    estimate = class_average(hits, labels)
    assert estimate.value == pytest.approx(0.45) and (estimate.n, estimate.classes) == (105, 2)
    # Standard error of the mean of two shares, one of them certain: sqrt(.9 * .1 / 100) / 2 = 0.015.
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * 0.015, rel=0.1)
    assert class_average(hits, labels) == estimate


def test_trap_images_without_such_a_feature_do_not_count(store: Store) -> None:
    core, spurious = iclr2022(store)
    assert {store.rows[r].label for r in spurious.rows} == set(range(1, 10))
    assert {store.rows[r].label for r in core.rows} == {0, *range(2, 10)}
    for region in (core, spurious):
        for row in region.rows:
            top = store.chosen(int(row), region.name, top_only=True)  # type: ignore[arg-type]
            assert top.any() and np.array_equal(region.chosen[row], top)


def test_accuracies_against_a_plain_loop(store: Store, images: Path) -> None:
    model, source = sensitive, FolderSource(images)
    result = evaluate(model, store, source, sigmas=(0.25, 1.0), seed=4)
    index = {source.entry(i).image_id: i for i in range(len(source))}
    for kind, name in (("spurious", "core_accuracy"), ("core", "spurious_accuracy")):
        hits: dict[int, list[bool]] = {}
        for row, record in enumerate(store.rows):
            mask = store.mask(row, kind, top_only=True)  # type: ignore[arg-type]
            if mask is None:
                continue
            crop = store.manifest.preprocessing.apply(source.pixels(index[record.image_id]))
            x = torch.from_numpy(crop).permute(2, 0, 1).float() / 255
            noisy = gaussian_noise(x, torch.from_numpy(mask), 1.0, image_generator(4, record.image_id))
            with torch.inference_mode():
                hits.setdefault(record.label, []).append(int(model(noisy[None]).argmax()) == record.label)
        entry = result["sigma"]["1"][name]
        assert entry["accuracy"]["value"] == pytest.approx(np.mean([np.mean(h) for h in hits.values()]))
        assert entry["accuracy"]["n"] == sum(map(len, hits.values()))
        assert entry["accuracy"]["classes"] == len(hits) == len(entry["per_class"]) == 9
    assert set(result["sigma"]) == {"0.25", "1"}


def test_batch_size_workers_and_order_change_nothing(store: Store, images: Path) -> None:
    source, regions = FolderSource(images), iclr2022(store, single_features=True)
    first = predict(sensitive, store, source, regions, (0.5,), batch_size=64)
    for options in ({"batch_size": 3}, {"batch_size": 7, "workers": 2}):
        again = predict(sensitive, store, source, regions, (0.5,), **options)  # type: ignore[arg-type]
        assert np.array_equal(first.clean, again.clean)
        assert all(np.array_equal(first.noisy[key], again.noisy[key]) for key in first.noisy)
    other = predict(sensitive, store, source, regions, (0.5,), seed=9)
    assert any(not np.array_equal(first.noisy[key], other.noisy[key]) for key in first.noisy)


def test_no_noise_is_clean(store: Store, images: Path) -> None:
    found = predict(sensitive, store, FolderSource(images), iclr2022(store), (0.0,))
    for noisy in found.noisy.values():
        ran = noisy != NOT_RUN
        assert np.array_equal(noisy[ran], found.clean[ran])


def test_single_features(store: Store, images: Path, weights: Path) -> None:
    model, _ = load_model(weights)
    result = evaluate(model, store, FolderSource(images), single_features=True)["sigma"]["0.25"]
    rows = result["noise_on_rank_2"]["per_feature"]
    assert len(rows) == 10 and rows[3]["kind"] == "spurious" and rows[3]["n"] == 2
    feature = next(r for r in store.features if (r["class_index"], r["rank"]) == (3, 2))
    assert rows[3]["feature_index"] == feature["feature_index"]


def test_wrong_number_of_classes_and_bad_sigma(store: Store, images: Path) -> None:
    source = FolderSource(images)
    with pytest.raises(SalientError, match=r"expected \(batch, 10\) logits; got \(\d+, 7\)"):
        evaluate(lambda x: torch.zeros(len(x), 7), store, source)
    with pytest.raises(SalientError, match="noise levels"):
        evaluate(lambda x: torch.zeros(len(x), 10), store, source, sigmas=(-1.0,))
