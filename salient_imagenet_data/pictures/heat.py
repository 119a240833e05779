"""Heat maps over photographs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def heatmap(image: NDArray[np.uint8], mask: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Red where the mask is 1, the darkened gray image where it is 0. image (S, S, 3) uint8, mask (S, S)."""
    gray = image.astype(np.float32).mean(axis=2, keepdims=True) * 0.6
    red = np.array([255.0, 40.0, 0.0], dtype=np.float32)
    weight = 0.75 * mask[..., None]
    result: NDArray[np.uint8] = np.rint(gray * (1 - weight) + red * weight).astype(np.uint8)
    return result
