"""Clusters of planted points, the Laplacian against SciPy and closed forms, and gaps of single clouds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.cluster.vq import kmeans2
from scipy.sparse.csgraph import laplacian as scipy_laplacian

from salient_imagenet_data.evaluation.relevance.clustering import (
    cloud_like,
    cluster,
    graph_laplacian,
    joined,
    k_means,
    laplacian,
    largest_gap,
    normalised,
)


def planted(sizes: tuple[int, ...], spread: float = 0.2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points about the axes of a space of 30, in random order, and whose axis each is."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return 2.0 * np.eye(30)[labels] + rng.normal(0.0, spread, (len(labels), 30)), labels


def test_points_are_joined_with_their_nearest_whichever_of_two_says_so() -> None:
    places = np.array([0.0, 1.0, 2.5, 2.6, 9.0])
    graph = joined(places[:, None], 1)
    wanted = np.zeros((5, 5))
    for a, b in ((0, 1), (2, 3), (3, 4)):
        wanted[a, b] = wanted[b, a] = 1.0
    assert (graph == wanted).all()


def test_the_laplacian_is_scipys() -> None:
    graph = joined(planted((8, 8))[0], 3)
    assert np.allclose(laplacian(graph), scipy_laplacian(graph, normed=True))


def test_eigenvalues_of_separate_cliques() -> None:
    """Two groups of four, each point nearest to the three of its own: 0 twice, and 4/3 for all others."""
    points = np.repeat(np.array([[0.0, 0.0], [100.0, 0.0]]), 4, axis=0)
    points[:, 1] = np.tile([0.0, 1.0, 2.0, 3.0], 2)
    values = np.linalg.eigvalsh(graph_laplacian(points))
    assert np.allclose(values, [0.0, 0.0, *[4.0 / 3.0] * 6])
    assert largest_gap(values, 4) == (2, pytest.approx(4.0 / 3.0))
    assert largest_gap(np.array([0.0, 0.1, 0.2, 0.9, 1.0]), 4) == (3, pytest.approx(0.7))


@pytest.mark.parametrize("sizes", [(20, 20), (30, 8), (14, 12, 10)])
def test_planted_clusters_are_found_and_beyond_chance(sizes: tuple[int, ...]) -> None:
    points, labels = planted(sizes)
    found = cluster(points)
    assert (found.chance or 1.0) <= 0.02 and len(found.sizes) == len(sizes)
    assert found.sizes == sizes if len(set(sizes)) == len(sizes) else sorted(found.sizes) == sorted(sizes)
    together = labels[:, None] == labels[None, :]
    assert ((found.labels[:, None] == found.labels[None, :]) == together).all()
    assert len(found.eigenvalues) == 9 and found.gap == pytest.approx(
        found.eigenvalues[len(sizes)] - found.eigenvalues[len(sizes) - 1]
    )


def test_lengths_play_no_part() -> None:
    points, _ = planted((16, 10))
    scaled = points * np.random.default_rng(1).uniform(0.1, 10.0, (26, 1))
    assert (cluster(points, 2).labels == cluster(scaled, 2).labels).all()


def test_single_clouds_are_within_chance_as_often_as_they_should() -> None:
    chances = [cluster(planted((30,), 0.3, seed)[0]).chance for seed in range(12)]
    assert sum(c is not None and c <= 0.05 for c in chances) <= 2


def test_a_cloud_has_the_mean_and_covariance_of_the_points() -> None:
    points = normalised(planted((300, 300), 0.1)[0][:, :3])
    cloud = cloud_like(points + 5.0, np.random.default_rng(0))  # far out, where lengths change little
    assert np.allclose(cloud.mean(axis=0), normalised(points + 5.0).mean(axis=0), atol=0.01)
    assert np.allclose(np.cov(cloud.T), np.cov(normalised(points + 5.0).T), atol=2e-3)


def test_a_number_that_is_given_is_taken_without_chance() -> None:
    points, _ = planted((20, 20))
    found = cluster(points, 4)
    assert len(found.sizes) == 4 and found.chance is None and sorted(found.sizes, reverse=True) == list(found.sizes)
    with pytest.raises(ValueError, match="expected at least 4 points"):
        cluster(points[:6], 4)


def test_k_means_is_no_worse_than_scipys() -> None:
    points = np.random.default_rng(0).normal(size=(60, 3))

    def spread(labels: np.ndarray) -> float:
        return sum(float(((points[labels == k] - points[labels == k].mean(axis=0)) ** 2).sum()) for k in set(labels))

    mine = spread(k_means(points, 4, np.random.default_rng(0)))
    theirs = min(spread(kmeans2(points, 4, minit="++", rng=seed)[1]) for seed in range(10))
    assert mine <= theirs * 1.02
    assert set(k_means(np.ones((5, 2)), 2, np.random.default_rng(0))) <= {0, 1}
