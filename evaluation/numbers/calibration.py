"""Calibration of class probabilities: ECE, negative log likelihood and Brier score. Pure functions on arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BINS = 15
FLOOR = 1e-12
"""Probabilities below it count as it, so that one impossible label does not make the mean infinite."""


def expected_calibration_error(confidence: NDArray[np.floating], hits: NDArray[np.bool_], bins: int = BINS) -> float:
    """Sum over bins of (share of images) * |accuracy - mean confidence| [Guo et al. 2017], in [0, 1].

    confidence: (n,) the greatest class probability. hits: (n,). Bins are of equal width and closed on the right:
    ((b - 1) / bins, b / bins]; a confidence of 0 falls into the first. Raises ValueError without an image.
    """
    if not len(hits):
        raise ValueError("expected_calibration_error: expected at least one image, got none")
    index = np.clip(np.ceil(confidence.astype(np.float64) * bins).astype(np.int64) - 1, 0, bins - 1)
    gap = np.bincount(index, weights=hits - confidence.astype(np.float64), minlength=bins)
    return float(np.abs(gap).sum() / len(hits))


def negative_log_likelihood(label_probability: NDArray[np.floating]) -> float:
    """Mean of -log p(label), natural logarithm, with p held at least `FLOOR`. label_probability: (n,)."""
    return float(-np.log(np.maximum(label_probability.astype(np.float64), FLOOR)).mean())


def brier_score(label_probability: NDArray[np.floating], square_sum: NDArray[np.floating]) -> float:
    """Mean over images of the sum over classes of (p - 1[label])^2, in [0, 2].

    Multiplied out, that is the sum of squares minus twice the label's probability plus 1. Both: (n,).
    """
    return float((square_sum.astype(np.float64) - 2.0 * label_probability.astype(np.float64) + 1.0).mean())
