"""How far a soft mask agrees with a set of pixels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def auroc(scores: NDArray[np.floating], truth: NDArray[np.bool_]) -> float:
    """Area under the ROC curve by ranks, ties counted half. NaN if truth has one value only."""
    flat, positive = scores.ravel(), truth.ravel()
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return math.nan
    _, inverse, counts = np.unique(flat, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2.0)[inverse]
    return float((ranks[positive].sum() - positives * (positives + 1) / 2.0) / (positives * negatives))


def iou(mask: NDArray[np.floating], truth: NDArray[np.bool_], threshold: float = 0.5) -> float:
    """Intersection over union of mask >= threshold with the truth. NaN if both are empty."""
    found = mask >= threshold
    union = int((found | truth).sum())
    return int((found & truth).sum()) / union if union else math.nan


def pointing(mask: NDArray[np.floating], truth: NDArray[np.bool_]) -> float:
    """Share of the pixels of the mask's maximum that lie in the truth: the pointing game [Zhang et al. 2018]."""
    return float(truth[mask == mask.max()].mean())
