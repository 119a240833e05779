"""Which images show their class's cue, and accuracies over groups against plain arithmetic and simulated truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.numbers.groups import Rule, groups_of, otsu, weighted_accuracy, worst_group

CUES = np.array([True, False, True])


def test_the_top_part_of_each_class_shows_its_cue() -> None:
    scores = np.array([0.3, np.nan, -1.0, 0.9, np.nan, 0.3, 5.0])
    labels = np.array([0, 1, 0, 0, 1, 0, 2])
    half = groups_of(scores, labels, CUES, Rule())
    assert half.shown.tolist() == [False, False, False, True, False, True, False]  # equal scores: the later row
    assert half.index.tolist() == [0, 2, 0, 1, 2, 1, 4] and half.sizes() == {0: 2, 1: 2, 4: 1}
    assert half.counted.tolist() == [True, False, True, True, False, True, True]
    assert groups_of(scores, labels, CUES, Rule(0.75)).sizes() == {0: 1, 1: 3, 4: 1}
    part = half.at(np.array([3, 4]))
    assert part.index.tolist() == [1, 2] and part.sizes() == {1: 1} and part.scores[0] == 0.9


@pytest.mark.parametrize(
    ("share", "n", "shown"), [(0.5, 5, 2), (0.1, 10, 1), (0.9, 10, 9), (0.29, 100, 29), (0.5, 1, 0)]
)
def test_a_share_is_rounded_down_and_not_by_the_rounding_of_floats(share: float, n: int, shown: int) -> None:
    assert Rule(share).shown(np.arange(n, dtype=float)).sum() == shown


@given(st.lists(st.integers(-6, 6), min_size=1, max_size=25))
def test_the_split_leaves_the_least_variance_within_the_parts(values: list[int]) -> None:
    """Against a search of every cut between different values."""
    ascending = np.sort(np.array(values, dtype=float))
    cuts = [i for i in range(1, len(ascending)) if ascending[i - 1] < ascending[i]]
    found = otsu(ascending)
    if not cuts:
        assert found == len(ascending)
        return
    within = {i: ascending[:i].var() * i + ascending[i:].var() * (len(ascending) - i) for i in cuts}
    assert found in within and within[found] == pytest.approx(min(within.values()), abs=1e-9)


def test_the_split_finds_the_share_by_itself() -> None:
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(-2.5, 0.3, 12), rng.normal(0.3, 0.3, 88)])
    assert Rule(None).shown(scores).tolist() == [False] * 12 + [True] * 88
    assert not Rule(None).shown(np.full(4, 0.0)).any()  # nothing to tell apart


def test_a_rule_is_read_from_its_words_and_says_what_it_is() -> None:
    assert Rule.parse("0.9") == Rule(0.9) and Rule.parse("split") == Rule(None) and str(Rule(None)) == "split"
    assert [Rule.parse(str(rule)) for rule in (Rule(), Rule(0.25))] == [Rule(0.5), Rule(0.25)]
    assert Rule().words == "shown are the 0.5 of a class with the highest spuriosity" and "two" in Rule(None).words
    for bad in ("1", "0", "nan", "half"):
        with pytest.raises(SalientError, match=f"images that show the cue; expected a share .*, or split; got {bad}"):
            Rule.parse(bad)


def test_accuracies_over_groups_by_hand() -> None:
    index = np.array([0] * 4 + [1] * 6 + [5] * 2)
    hits = np.array([1, 1, 1, 0, 1, 0, 0, 0, 0, 0, 1, 1], dtype=bool)
    worst = worst_group(hits, index)
    assert (worst.value, worst.n, worst.classes) == (pytest.approx(1 / 6), 6, 3) and worst.low < 1 / 6 < worst.high
    alike = weighted_accuracy(hits, index, {0: 1.0, 1: 1.0, 5: 1.0})
    assert (alike.value, alike.n, alike.classes) == (pytest.approx((3 / 4 + 1 / 6 + 1) / 3), 12, 3)
    by_size = weighted_accuracy(hits, index, {0: 4.0, 1: 6.0, 5: 2.0})
    assert by_size.value == pytest.approx(hits.mean())
    other = weighted_accuracy(hits, index, {0: 30.0, 1: 10.0, 7: 60.0})  # 7 has no image here
    assert (other.value, other.classes) == (pytest.approx(0.75 * 0.75 + 0.25 / 6), 2)
    with pytest.raises(ValueError, match="expected a group with images and a weight above 0"):
        weighted_accuracy(hits, index, {7: 1.0})


def test_the_interval_of_a_weighted_mean_is_that_of_independent_groups() -> None:
    """Against the normal approximation: variance sum of w^2 p (1 - p) / n."""
    index, hits = np.repeat([0, 1], [400, 100]), np.r_[np.arange(400) < 300, np.arange(100) < 20]
    found = weighted_accuracy(hits, index, {0: 3.0, 1: 1.0})
    spread = (0.75**2 * 0.75 * 0.25 / 400 + 0.25**2 * 0.2 * 0.8 / 100) ** 0.5
    assert (found.low, found.high) == pytest.approx(
        (found.value - 1.96 * spread, found.value + 1.96 * spread), abs=3e-3
    )


def test_the_interval_of_the_worst_group_holds_the_least_true_accuracy() -> None:
    """Of groups with known accuracies, drawn 400 times: alike, which is the hardest, and one worse than the others."""
    rng = np.random.default_rng(1)
    for truth in (np.full(20, 0.8), np.r_[0.5, np.full(9, 0.8)]):
        index = np.repeat(np.arange(len(truth)), 50)
        found = [worst_group(rng.random(len(index)) < truth[index], index) for _ in range(400)]
        held = np.mean([e.low <= truth.min() <= e.high for e in found])
        assert held >= 0.95
    # What the mean of the least shares says of twenty groups that are alike, without the interval.
    index = np.repeat(np.arange(20), 50)
    assert np.mean([worst_group(rng.random(1000) < 0.8, index).value for _ in range(100)]) < 0.72
