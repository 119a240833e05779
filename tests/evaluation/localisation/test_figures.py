"""Maps against regions, by hand and against a slow reference."""

from __future__ import annotations

import numpy as np
import pytest

from salient_imagenet_data.evaluation.localisation.figures import THRESHOLDS, localised, place


def test_figures_by_hand() -> None:
    region = np.zeros((4, 4), dtype=bool)
    region[:2, :2] = True
    soft = np.zeros((4, 4))
    soft[0, 0], soft[3, 3] = 1.0, 0.5
    found = place(soft, region)
    assert found is not None
    assert found.mass == pytest.approx(1.0 / 1.5) and found.cover == 0.25 and found.pointing == 1.0
    # Over half the peak both pixels count: one of four in the region, five in the union; above, one in four.
    assert found.overlap[THRESHOLDS.index(0.5)] == pytest.approx(1 / 5)
    assert found.overlap[THRESHOLDS.index(0.55)] == pytest.approx(1 / 4)


def test_tied_maxima_count_by_their_share() -> None:
    region = np.zeros((2, 2), dtype=bool)
    region[0, 0] = True
    found = place(np.array([[0.7, 0.7], [0.7, 0.1]]), region)
    assert found is not None and found.pointing == pytest.approx(1 / 3)


def test_a_uniform_map_has_the_regions_share_and_a_map_of_zeros_is_nowhere() -> None:
    region = np.random.default_rng(0).random((20, 20)) > 0.7
    found = place(np.full((20, 20), 0.3), region)
    assert (
        found is not None and found.mass == pytest.approx(found.cover) and found.pointing == pytest.approx(found.cover)
    )
    assert place(np.zeros((20, 20)), region) is None


def test_overlap_against_counting_pixels() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        soft, region = rng.random((9, 7)) * 3, rng.random((9, 7)) > rng.random()
        found = place(soft, region)
        assert found is not None
        for threshold, overlap in zip(THRESHOLDS, found.overlap, strict=True):
            over = soft >= threshold * soft.max()
            union = (over | region).sum()
            assert overlap == pytest.approx((over & region).sum() / union)


def test_groups_are_means_over_images_with_intervals_around_them() -> None:
    rng = np.random.default_rng(2)
    placed = [place(rng.random((6, 6)), rng.random((6, 6)) > 0.5) for _ in range(40)]
    known = [p for p in placed if p is not None]
    found = localised(known)
    assert found is not None and found.images == 40 and localised([]) is None
    mass, cover = np.mean([p.mass for p in known]), np.mean([p.cover for p in known])
    assert found.mass.value == pytest.approx(mass) and found.lift.value == pytest.approx(mass / cover)
    assert found.mass.low < mass < found.mass.high and found.lift.low < found.lift.value < found.lift.high
    best = np.array([p.overlap for p in known]).mean(axis=0)
    assert found.iou.value == pytest.approx(best.max()) and found.threshold == THRESHOLDS[int(best.argmax())]
    again = np.random.default_rng(5)
    means = [again.choice([p.mass for p in known], 40).mean() for _ in range(4000)]
    assert found.mass.low == pytest.approx(np.quantile(means, 0.025), abs=0.004)
    assert found.mass.high == pytest.approx(np.quantile(means, 0.975), abs=0.004)
