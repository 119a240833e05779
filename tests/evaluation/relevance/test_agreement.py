"""Agreement by value, and what is said of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from salient_imagenet_data.evaluation.relevance.agreement import agreement, compared, top_iou


def test_the_strongest_fifth_by_hand() -> None:
    first = np.array([9.0, 8.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    second = np.array([0.0, 8.0, 9.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    assert top_iou(first, second) == pytest.approx(1 / 3)
    assert top_iou(first, first) == 1.0 and top_iou(first, second, 0.1) == 0.0
    # One place of two is left for three cells: a third of it each.
    tied = np.array([9.0, 5.0, 5.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    assert top_iou(tied, first) == pytest.approx((1 + 1 / 3) / (1 + 1 + 2 / 3))


def test_maps_that_are_the_same_everywhere_have_no_correlation() -> None:
    flat, other = np.ones((3, 3)), np.arange(9.0).reshape(3, 3)
    assert all(math.isnan(v) for pair in (compared(flat, other), compared(other, flat)) for v in pair)
    noisy = np.random.default_rng(0).normal(size=(3, 3))
    assert compared(other, noisy)[0] == pytest.approx(spearmanr(other.ravel(), noisy.ravel()).statistic)


def of(own: float, others: float, images: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Maps, and relevance of three units that follow them more or less."""
    rng = np.random.default_rng(0)
    maps = rng.random((images, 7, 7))
    noise = rng.random((images, 3, 7, 7))
    share = np.array([others, own, others])[None, :, None, None]
    return maps, share * maps[:, None] + (1.0 - share) * noise


def test_a_unit_of_its_own_place_agrees() -> None:
    maps, relevance = of(0.9, 0.1)
    found = agreement(maps, relevance, 1)
    wanted = [spearmanr(m.ravel(), r[1].ravel()).statistic for m, r in zip(maps, relevance, strict=True)]
    others = [
        np.mean([spearmanr(m.ravel(), r[k].ravel()).statistic for k in (0, 2)])
        for m, r in zip(maps, relevance, strict=True)
    ]
    assert found.correlation.value == pytest.approx(np.mean(wanted)) and found.correlation.n == 12
    assert found.other_correlation.value == pytest.approx(np.mean(others))
    assert found.correlation_gain.value == pytest.approx(np.mean(wanted) - np.mean(others))
    assert found.iou.value > 0.5 > found.other_iou.value
    assert found.words == "agrees" and not found.low


@pytest.mark.parametrize(
    ("own", "others", "words"),
    [
        (0.9, 0.9, "agrees, but so does the relevance of other units"),
        (0.15, 0.9, "low: its relevance lies elsewhere, no nearer to its map than others'"),
        (0.2, -0.3, "low: its relevance lies elsewhere, though nearer to its map than that of other units"),
    ],
)
def test_what_is_said(own: float, others: float, words: str) -> None:
    found = agreement(*of(own, others), 1)
    assert found.words == words and found.low == words.startswith("low")
    assert found.to_json()["flag"] == words


def test_images_without_a_map_do_not_count() -> None:
    maps, relevance = of(0.9, 0.1)
    maps[3:] = 0.0
    found = agreement(maps, relevance, 1)
    assert found.correlation.n == 3 and found.words == "too few images to tell: 3" and not found.low
    alone = agreement(of(0.9, 0.1)[0], of(0.9, 0.1)[1][:, 1:2], 0)
    assert alone.words == "agrees; no other unit to hold it against"
    assert alone.to_json()["other_correlation"] is None
