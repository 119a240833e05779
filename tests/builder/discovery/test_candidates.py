from __future__ import annotations

import hashlib

import numpy as np
import pytest

from salient_imagenet_data.builder.discovery.candidates import (
    ends_of,
    go_again,
    missed,
    most_kept,
    pilot_rows,
    slots,
)


def test_the_pilot_is_what_hashes_lowest_in_each_class() -> None:
    ids = [f"n{i % 7}/{i:05d}" for i in range(200)]
    labels = np.array([i % 3 if i < 190 else 4 for i in range(200)])
    found = pilot_rows(ids, labels, 20)
    expected = []
    for label in range(5):
        mine = [i for i in range(200) if labels[i] == label]
        expected += sorted(mine, key=lambda i: hashlib.sha256(ids[i].encode()).hexdigest())[:20]
    assert found.tolist() == sorted(expected) and len(found) == 3 * 20 + 10
    # Wherever an image stands, it is in or out; more images a class only add some.
    turned = pilot_rows(ids[::-1], labels[::-1], 20)
    assert {ids[i] for i in found} == {ids[::-1][i] for i in turned}
    assert set(found.tolist()) <= set(pilot_rows(ids, labels, 30).tolist())


def test_images_that_a_second_pass_has_at_most() -> None:
    labels = np.array([0, 0, 0, 2, 2, 2, 2, 2])
    assert most_kept(labels, None) == 8 and most_kept(labels, 4) == 7 and most_kept(labels, 1) == 2


def test_places_among_the_candidates_and_classes_that_lack_one() -> None:
    features = np.array([[4, 2], [7, 8], [5, -1], [-1, -1], [3, 1]])
    candidates = np.array([[2, 9, 4], [7, 1, 2], [0, 5, 6], [1, 2, 3], [-1, -1, -1]])
    assert slots(features, candidates).tolist() == [[2, 0], [0, -1], [1, -1], [-1, -1], [-1, -1]]
    assert missed(features, candidates).tolist() == [False, True, False, False, True]


@pytest.mark.parametrize("seed", range(20))
def test_whole_batches_go_again_against_plain_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count, shard, batch = int(rng.integers(1, 60)), int(rng.integers(1, 20)), int(rng.integers(1, 8))
    lacking = rng.random(count) < 0.1
    together = np.where(rng.random(count) < 0.95, batch, 1)
    found = go_again(lacking, together, shard_rows=shard, batch_size=batch)
    expected, lengths = np.zeros(count, dtype=bool), []
    for start in range(0, count, shard):
        unit = list(range(count))[start : start + shard]
        for first in range(0, len(unit), batch):
            members = unit[first : first + batch]
            expected[members] = any(lacking[i] or together[i] != len(members) for i in members)
        lengths.append(int(expected[unit].sum()))
    assert found.tolist() == expected.tolist()
    ends = ends_of(found, shard)
    assert np.diff(ends, prepend=0).tolist() == [length for length in lengths if length]


def test_batches_that_were_the_same_do_not_go_again() -> None:
    """Units of 5 images and batches of 2: the fifth was alone in both passes."""
    same = np.array([2, 2, 2, 2, 1, 2, 2, 2, 2, 1])
    assert not go_again(np.zeros(10, dtype=bool), same, shard_rows=5, batch_size=2).any()
    assert not len(ends_of(np.zeros(10, dtype=bool), 5)) and not len(ends_of(np.zeros(0, dtype=bool), 5))
    again = go_again(np.arange(10) == 6, same, shard_rows=5, batch_size=2)
    assert np.flatnonzero(again).tolist() == [5, 6]
