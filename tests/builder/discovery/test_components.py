"""Class-wise PCA against a singular value decomposition of the contributions themselves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from salient_imagenet_data.builder.discovery import fitting
from salient_imagenet_data.builder.discovery.components import Scatter, components
from salient_imagenet_data.builder.discovery.fitting import blocks
from salient_imagenet_data.builder.discovery.ranking import known_ranking
from salient_imagenet_data.store.features import Basis

RNG = np.random.default_rng(0)
POOLED = np.abs(RNG.normal(size=(30, 7)) * np.array([3, 1, 2, 1, 0.5, 1, 1]) + 1).astype(np.float32)
WEIGHT = RNG.normal(size=7).astype(np.float32)


def covariance(pooled: np.ndarray) -> torch.Tensor:
    scatter = Scatter(pooled.mean(axis=0, dtype=np.float64), len(pooled))
    scatter.add(pooled[:4])
    scatter.add(pooled[4:])
    return scatter.covariance()


def reference(pooled: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Alphas (n, F) of all components by variance, and these variances, from the images' contributions themselves."""
    psi = pooled.astype(np.float64) * weight
    centred = psi - psi.mean(axis=0)
    _, singular, vectors = np.linalg.svd(centred)
    return (centred @ vectors.T) * vectors.sum(axis=1), singular**2 / len(pooled)


@pytest.mark.parametrize("times", [1, 3])
def test_scatter_is_the_covariance(times: int) -> None:
    """Of few images, which are kept, and of many, which are added up."""
    pooled = np.concatenate([POOLED[:10]] * times)
    assert np.allclose(covariance(pooled).numpy(), np.cov(pooled.astype(np.float64).T, bias=True), rtol=1e-12)
    assert Scatter.size(len(pooled), 7) == {1: 10 * 7 * 4, 3: 7 * 7 * 8}[times]


def test_alphas_are_those_of_the_paper_and_sum_to_the_logit() -> None:
    mean = POOLED.mean(axis=0, dtype=np.float64)
    found = components(mean, covariance(POOLED), WEIGHT, 7)
    alphas, variances = reference(POOLED, WEIGHT)
    order = np.argsort(-alphas.std(axis=0))
    assert found.places.tolist() == order.tolist() != sorted(order.tolist())
    mine = POOLED.astype(np.float64) @ found.directions.T.astype(np.float64) + found.bias
    assert np.allclose(mine, alphas[:, order], atol=1e-5)
    assert np.allclose(found.spread, alphas.std(axis=0)[order], rtol=1e-9)
    logits = POOLED.astype(np.float64) @ WEIGHT
    assert np.allclose(mine.sum(axis=1) + logits.mean(), logits, atol=1e-5)
    assert np.sum(found.spread**2) == pytest.approx(logits.var(), rel=1e-9)
    assert np.allclose(variances, np.sort(variances)[::-1])


def test_the_most_important_are_kept() -> None:
    mean = POOLED.mean(axis=0, dtype=np.float64)
    whole = components(mean, covariance(POOLED), WEIGHT, 7)
    some = components(mean, covariance(POOLED), WEIGHT, 3)
    for name in ("places", "directions", "bias", "spread"):
        assert np.array_equal(getattr(some, name), getattr(whole, name)[:3])


@pytest.mark.parametrize(("images", "there"), [(1, 0), (2, 1), (4, 3)])
def test_few_images_have_few_components(images: int, there: int) -> None:
    pooled = POOLED[:images]
    found = components(pooled.mean(axis=0, dtype=np.float64), covariance(pooled), WEIGHT, 5)
    assert len(found.places) == len(found.directions) == len(found.bias) == len(found.spread) == there


def test_what_does_not_vary_is_no_component() -> None:
    """Neurons that are always the same, or that the class's row of the head takes for nothing."""
    pooled, weight = POOLED.copy(), WEIGHT.copy()
    pooled[:, :3], weight[3] = 2.0, 0.0
    found = components(pooled.mean(axis=0, dtype=np.float64), covariance(pooled), weight, 7)
    assert len(found.places) == 3 and np.allclose(found.directions[:, :4], 0.0, atol=1e-7)
    pooled[:] = 1.0
    assert not len(components(pooled.mean(axis=0, dtype=np.float64), covariance(pooled), weight, 7).places)


def test_blocks_hold_what_fits_and_at_least_one_class() -> None:
    """With ten neurons, five images take 200 bytes, and twenty or more 800."""
    counts = np.array([5, 5, 0, 5, 20, 1000, 5])
    assert blocks(counts, 10, 400) == [[0, 1], [3], [4], [5], [6]]
    assert blocks(counts, 10, 1000) == [[0, 1, 3], [4], [5, 6]]
    assert blocks(np.zeros(3, dtype=np.int64), 10) == []
    assert fitting.MEMORY >= 8 * 2048**2


def test_known_features_are_ranked_by_what_they_vary_by_here() -> None:
    activations = np.array([[1, 5], [3, 5], [0, 0], [0, 4]], dtype=np.float32)
    one = np.zeros(1)
    basis = Basis("pca", 10, np.arange(1), np.zeros((1, 2), dtype=np.float32), one, one)
    found = known_ranking(basis, np.array([[7, 9], [8, -1], [6, 5]]), activations, np.array([0, 0, 1, 1]))
    assert found.features.tolist() == [[7, 9], [8, -1], [6, 5]]
    assert np.array_equal(found.importance, [[1, 0], [0, np.nan], [np.nan, np.nan]], equal_nan=True)


def test_one_thread_whatever_the_process_has() -> None:
    """Eigenvectors differ in their last bits with the number of threads; those of the pool have one too."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with fitting._one_thread(), ThreadPoolExecutor(2) as pool:
            assert set(pool.map(lambda _: torch.get_num_threads(), range(4))) == {1} == {torch.get_num_threads()}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
