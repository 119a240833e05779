from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from salient_imagenet_data.builder.discovery.ranking import GroupSums, RunningSums, class_means, rank, top_images


def group_sums(features: NDArray[np.floating], groups: NDArray[np.integer], batch: int = 3) -> GroupSums:
    """Sums of all rows, added a batch at a time."""
    running = RunningSums(features.shape[1])
    for start in range(0, len(features), batch):
        running.add(features[start : start + batch], groups[start : start + batch])
    return running.total()


def test_importance_by_hand() -> None:
    features = np.array([[1.0, 0.0, 2.0], [3.0, 0.0, 0.0], [5.0, 1.0, 1.0]])
    means = class_means([group_sums(features, np.array([0, 0, 1]))], 2, 3)
    assert means.tolist() == [[2.0, 0.0, 1.0], [5.0, 1.0, 1.0]]
    found = rank(means, np.array([[1.0, 9.0, 3.0], [-1.0, 2.0, 1.0]]), 2)
    assert found.features.tolist() == [[2, 0], [1, 2]]
    assert found.importance.tolist() == [[3.0, 2.0], [2.0, 1.0]]


def test_ties_go_by_feature_index() -> None:
    found = rank(np.ones((1, 6)), np.array([[1.0, 2.0, 1.0, 2.0, 2.0, 0.0]]), 5)
    assert found.features.tolist() == [[1, 3, 4, 0, 2]]


def test_a_class_never_predicted_has_no_ranking() -> None:
    found = rank(class_means([group_sums(np.ones((2, 3)), np.array([0, 0]))], 2, 3), np.ones((2, 3)), 2)
    assert found.features.tolist() == [[0, 1], [-1, -1]] and np.isnan(found.importance[1]).all()


def test_top_images_within_class_ties_by_row() -> None:
    activations = np.array([[1.0], [5.0], [5.0], [2.0], [5.0]])
    chosen = top_images(activations, np.array([0, 0, 0, 1, 0]), 2)
    assert chosen[:, 0].tolist() == [False, True, True, True, False]


@pytest.mark.parametrize("seed", range(3))
def test_against_plain_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    features, weight, groups = rng.random((50, 20), dtype=np.float32), rng.normal(size=(4, 20)), rng.integers(0, 4, 50)
    found = rank(
        class_means([group_sums(features[:7], groups[:7]), group_sums(features[7:], groups[7:])], 4, features.shape[1]),
        weight,
        5,
    )
    for c in range(4):
        scores = []
        for j in range(20):
            values = [float(features[i, j]) * float(weight[c, j]) for i in range(50) if groups[i] == c]
            scores.append((-sum(values) / len(values), j))
        assert [j for _, j in sorted(scores)[:5]] == found.features[c].tolist()
