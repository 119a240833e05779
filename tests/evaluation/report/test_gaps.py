"""Gaps of features in words, the farthest first, and only those beyond their interval."""

from __future__ import annotations

from salient_imagenet_data.evaluation.report.gaps import SHOWN, named, sorted_gaps
from tests.evaluation.results import gap


def test_features_are_told_apart_by_the_side_of_their_interval() -> None:
    found = sorted_gaps([gap(0, 0.5, 0.46), gap(1, 0.9, 0.3), gap(2, 0.2, 0.9), gap(3, 0.95, 0.2), gap(4, 0.2, 0.3)])
    assert [g.class_index for g in found.leaned_on] == [3, 1] and [g.class_index for g in found.confusing] == [2, 4]
    assert found.features == 5 and found.by_chance == 0.125
    assert found.words == (
        "gaps of 5 features: 2 lift accuracy where they show, 2 lower it (confusing); 0.1 of either by chance; "
        "largest 0.750 [0.700, 0.800] class 3 feature 13, spurious (background); "
        "lowest -0.700 [-0.750, -0.650] class 2 feature 12, spurious (background)"
    )
    assert not gap(0, 0.5, 0.5, 0.0).confusing and not gap(0, 0.5, 0.5, 0.0).leaned_on


def test_of_none_beyond_its_interval_only_counts_are_said() -> None:
    found = sorted_gaps([gap(0, 0.5, 0.46)])
    assert (
        found.words
        == "gaps of 1 features: 0 lift accuracy where they show, 0 lower it (confusing); 0.0 of either by chance"
    )
    assert named(gap(1, 0.5, 0.4, kind="core")) == "class 1 feature 11, core"
    assert named(gap(1, 0.5, 0.4, kind=None)) == "class 1 feature 11" and SHOWN == 10
