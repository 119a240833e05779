"""Subsets of pixels, against values and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.sufficiency.subsets import (
    NONE,
    border,
    border_width,
    dilated,
    kept,
    left_at,
    parts,
    random_orders,
    size_of,
    sufficient_sizes,
)


def test_sizes_by_hand() -> None:
    """Ten cells, four at a time: 10, 6, 2 and 0 are left where confidence is measured."""
    assert left_at(10, 4).tolist() == [10, 6, 2, 0] and left_at(8, 4).tolist() == [8, 4, 0]
    confidence = np.array(
        [
            [0.95, 0.92, 0.80, 0.10],  # the second is the last that has enough
            [0.95, 0.50, 0.91, 0.10],  # a longer end without it does not matter
            [0.80, 0.50, 0.70, 0.10],
            [0.95, 0.90, 0.90, 0.90],  # no pixel is needed
            [0.95, 0.89, 0.10, 0.10],
        ]
    )
    assert sufficient_sizes(confidence, 10, 4, 0.9).tolist() == [6, 2, NONE, 0, 10]
    with pytest.raises(ValueError, match=r"expected \(N, 4\) confidences, got \(5, 3\)"):
        sufficient_sizes(confidence[:, :3], 10, 4, 0.9)


def test_what_is_kept_is_the_end_of_the_order() -> None:
    order = np.array([[3, 0, 2, 1], [0, 1, 2, 3]])
    found = kept(order, np.array([2, 0]), 2)
    assert found[0].tolist() == [[False, True], [True, False]] and not found[1].any()
    large = kept(order, np.array([1, 4]), 4, cell=2)
    assert large[0].tolist() == [[False, False, True, True]] * 2 + [[False] * 4] * 2 and large[1].all()


@given(st.integers(3, 70), st.floats(0.01, 0.9))
def test_the_border_is_the_narrowest_with_its_share(side: int, share: float) -> None:
    width = border_width(side, share)
    if 2 * width >= side:
        with pytest.raises(SalientError, match="border; expected"):
            border(side, width)
        return
    found = border(side, width)
    edge = [min(r, c, side - 1 - r, side - 1 - c) for r in range(side) for c in range(side)]
    assert found.ravel().tolist() == [distance < width for distance in edge]
    assert found.mean() >= share - 1e-9
    assert width == 1 or border(side, width - 1).mean() < share
    assert border_width(224) == 3 and border_width(32) == 1 and border_width(64) == 1


@given(st.integers(0, 1000), st.integers(1, 4))
@settings(max_examples=30)
def test_dilation_by_a_plain_loop(seed: int, pixels: int) -> None:
    subset = np.random.default_rng(seed).random((2, 9, 7)) < 0.08
    found = dilated(subset, pixels)
    for k, row, column in np.ndindex(2, 9, 7):
        near = subset[k, max(0, row - pixels) : row + pixels + 1, max(0, column - pixels) : column + pixels + 1]
        assert found[k, row, column] == near.any()


def test_parts_share_the_image_out() -> None:
    core, spurious = np.array([[0.6, 0.5, 0.2, 0.7]]), np.array([[0.9, 0.5, 0.4, 0.1]])
    found = parts(core, spurious)[:, 0].astype(int).tolist()
    assert found == [[0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 1, 0]]


def test_sizes_of_shares_and_random_orders() -> None:
    assert size_of(0.05, 1024) == 51 and size_of(0.01, 20) == 1
    drawn = random_orders(50, [1, 2, 1])
    assert sorted(drawn[0]) == list(range(50)) and (drawn[0] == drawn[2]).all() and (drawn[0] != drawn[1]).any()
