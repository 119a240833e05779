"""The spurious gap, of classes and of single features [Moayeri et al. 2023]. Pure functions on arrays.

The gap is the accuracy on the k images that show most of what is spurious minus that on the k that show least of it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.evaluation.numbers.bootstrap import class_means, estimate, resampled
from salient_imagenet_data.evaluation.numbers.estimates import Estimate, wilson


def spurious_gap(top_hits: NDArray[np.bool_], bottom_hits: NDArray[np.bool_], labels: NDArray[np.integer]) -> Estimate:
    """Class-averaged accuracy at the top minus at the bottom. top_hits, bottom_hits, labels: (m,) as in `Ends`.

    The two ends are different images, so they are drawn apart. n counts the images of both ends.
    """
    top, bottom = class_means(np.stack([top_hits, bottom_hits]), labels)
    drawn = resampled(top_hits[None], labels, seed=0)[:, 0] - resampled(bottom_hits[None], labels, seed=1)[:, 0]
    found = estimate(float(top - bottom), drawn, labels)
    return Estimate(found.value, 2 * len(labels), found.low, found.high, found.classes)


def share_difference(first: Estimate, second: Estimate) -> Estimate:
    """The first share minus the second, of different images, each with Wilson's interval (`wilson`): Newcombe's hybrid
    interval [Newcombe 1998, method 10]. It keeps a width where every image, or none, is right, as of few images a
    bootstrap does not. n counts the images of both."""
    d = first.value - second.value
    low = d - math.hypot(first.value - first.low, second.high - second.value)
    high = d + math.hypot(first.high - first.value, second.value - second.low)
    return Estimate(d, first.n + second.n, max(-1.0, low), min(1.0, high))


def feature_gap(most_hits: NDArray[np.bool_], least_hits: NDArray[np.bool_]) -> tuple[Estimate, Estimate, Estimate]:
    """Accuracy on the images that show one feature of a class most, on those that show it least, and the first minus
    the second. most_hits, least_hits: (k,), k >= 1."""
    most, least = (wilson(int(hits.sum()), len(hits)) for hits in (most_hits, least_hits))
    return most, least, share_difference(most, least)
