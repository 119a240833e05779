"""Units that are planted in a cluster are nominated, and none where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest

from salient_imagenet_data.evaluation.relevance.nominating import effects, lacking, nominated


def units(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(1.0, 0.2, (40, 25))


CHOSEN = np.arange(40) < 8


def test_effects_are_those_of_the_formula() -> None:
    values = units()
    values[:, 3] = 7.0
    (found,) = effects(values, CHOSEN[None])
    inside, outside = values[CHOSEN, 0], values[~CHOSEN, 0]
    pooled = np.sqrt((7 * inside.var(ddof=1) + 31 * outside.var(ddof=1)) / 38)
    assert found[0] == pytest.approx((inside.mean() - outside.mean()) / pooled)
    assert found[3] == 0.0


def test_planted_units_are_nominated_by_how_much_they_matter() -> None:
    values = units()
    values[CHOSEN, 4] += 0.6
    values[CHOSEN, 9] += 1.5
    values[CHOSEN, 11] -= 1.5  # less of it than elsewhere
    values[:, 13] = values[:, 13] * 1e-3 + np.where(CHOSEN, 0.01, 0.0)  # a strong effect that matters to nothing
    values[:, 17] += np.where(CHOSEN, -3.0, -5.0)  # speaks against the class, though less
    found = nominated(values, CHOSEN)
    assert [n.unit for n in found] == [9, 4]
    assert found[0].inside == pytest.approx(values[CHOSEN, 9].mean())
    assert found[0].outside == pytest.approx(values[~CHOSEN, 9].mean())
    assert found[0].effect > found[1].effect > found[1].chance
    assert [n.unit for n in nominated(values, CHOSEN, most=1)] == [9]


def test_units_that_a_cluster_lacks_are_those_that_the_others_have() -> None:
    values = units()
    values[CHOSEN, 11] -= 0.8
    values[CHOSEN, 4] += 0.8
    (found,) = lacking(values, CHOSEN)
    assert found.unit == 11 and found.effect < -found.chance < 0
    assert found.inside == pytest.approx(values[CHOSEN, 11].mean())
    assert found.outside == pytest.approx(values[~CHOSEN, 11].mean())


def test_random_clusters_have_units_as_rarely_as_they_should() -> None:
    """One unit varies so much that its means differ by what matters in most clusters."""
    clusters, values = [np.random.default_rng(seed).permutation(CHOSEN) for seed in range(20)], units()
    values[:, 2] = np.random.default_rng(1).normal(9.0, 4.0, 40)
    assert sum(values[c, 2].mean() - values[~c, 2].mean() > 0.5 for c in clusters) > 4
    assert sum(bool(nominated(values, chosen)) for chosen in clusters) <= 4


def test_too_few_images_nominate_nothing() -> None:
    values = units()
    values[:2, 4] += 9.0
    assert nominated(values, np.arange(40) < 2) == () == nominated(values, np.arange(40) < 38)
