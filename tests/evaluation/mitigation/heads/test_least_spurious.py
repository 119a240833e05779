"""Choosing images by spuriosity."""

from __future__ import annotations

import numpy as np
import pytest

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.mitigation.heads.least_spurious import choose_rows


def test_the_least_spurious_half_of_each_class() -> None:
    """Typed by hand: class 0 has a spurious feature in slot 1, class 1 none, class 2 one image."""
    activations = np.array([[9, 5.0], [9, 1], [9, 3], [9, 2], [1, 1], [2, 2], [3, 3], [4, 4], [0, 7]])
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2])
    spurious = np.array([[False, True], [False, False], [True, False]])
    least = choose_rows(activations, labels, spurious, "least")
    most = choose_rows(activations, labels, spurious, "most")
    assert least[:2].tolist() == [1, 3] and most[:2].tolist() == [0, 2]
    assert least[2:].tolist() == most[2:].tolist() and set(least[2:4]) < {4, 5, 6, 7} and least[4] == 8
    assert choose_rows(activations, labels, spurious, "least", most=1)[0] == 1
    random = choose_rows(activations, labels, spurious, "random", seed=3)
    assert len(random) == 5 and random.tolist() == choose_rows(activations, labels, spurious, "random", seed=3).tolist()
    drawn = {tuple(choose_rows(activations, labels, spurious, "random", seed=s)[:2]) for s in range(40)}
    assert len(drawn) == 6  # every pair of four comes
    with pytest.raises(SalientError, match="which images is not known; expected least, random, most; got fewest"):
        choose_rows(activations, labels, spurious, "fewest")
