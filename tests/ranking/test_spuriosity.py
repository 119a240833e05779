from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from salient_imagenet_data.ranking.spuriosity import ends, spuriosity

SPURIOUS = np.array([[True, False, True], [False, False, False], [False, True, False]])


@given(st.integers(2, 40), st.integers(0, 1000))
def test_spuriosity_is_the_mean_z_score_within_the_class(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    activations, labels = rng.random((n, 3)), rng.integers(0, 3, n)
    found = spuriosity(activations, labels, SPURIOUS)
    assert np.isnan(found[labels == 1]).all()
    for label, slots in ((0, [0, 2]), (2, [1])):
        mine = labels == label
        if mine.sum() >= 2:
            expected = stats.zscore(activations[mine][:, slots], axis=0).mean(axis=1)
            assert found[mine] == pytest.approx(expected)


def test_a_feature_that_does_not_vary_says_nothing() -> None:
    found = spuriosity(np.array([[1.0, 0, 1], [1.0, 0, 3]]), np.array([0, 0]), SPURIOUS)
    assert found == pytest.approx([-0.5, 0.5])


@given(st.lists(st.integers(0, 2), min_size=1, max_size=60), st.integers(1, 12))
def test_trap_the_ends_of_a_small_class_never_share_an_image(labels_list: list[int], most: int) -> None:
    labels = np.array(labels_list)
    scores = np.random.default_rng(0).random(len(labels))
    scores[labels == 1] = np.nan
    found = ends(scores, labels, most)
    assert not set(found.top) & set(found.bottom) and 1 not in found.labels
    for label in (0, 2):
        k = min(most, int((labels == label).sum()) // 2)
        top, bottom = (rows[found.labels == label] for rows in (found.top, found.bottom))
        assert len(top) == len(bottom) == k
        if k:
            ordered = np.sort(scores[labels == label])
            assert set(scores[top]) == set(ordered[-k:]) and set(scores[bottom]) == set(ordered[:k])
