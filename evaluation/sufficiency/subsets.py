"""Subsets of an image's pixels: those that suffice, those masked last, the border, random ones. Pure, on arrays."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.sufficiency.choices import BORDER

NONE = -1
"""Size of a subset that is not there."""


def left_at(cells: int, step: int) -> NDArray[np.int64]:
    """(T + 1,) how many of so many cells are not masked yet where each confidence is measured: before each step, and at
    the end."""
    return np.append(cells - np.arange(0, cells, step), 0).astype(np.int64)


def sufficient_sizes(confidence: NDArray[np.floating], cells: int, step: int, threshold: float) -> NDArray[np.int64]:
    """(N,) cells of each image's sufficient input subset: the shortest end of its order with a confidence of at least
    `threshold` [Carter et al. 2019, FindSIS]; 0 where the fill alone has it, NONE where no end does.

    confidence: (N, T + 1), of `Selected`. Sizes are exact to a step. Longer ends may have less confidence: what is
    sought from the end of the order is the first that has enough.
    """
    left = left_at(cells, step)
    if confidence.ndim != 2 or confidence.shape[1] != len(left):
        raise ValueError(f"sufficient_sizes: expected (N, {len(left)}) confidences, got {confidence.shape}")
    enough = confidence >= threshold
    last = len(left) - 1 - enough[:, ::-1].argmax(axis=1)
    return np.where(enough.any(axis=1), left[last], NONE)


def kept(order: NDArray[np.integer], sizes: NDArray[np.integer], side: int, cell: int = 1) -> NDArray[np.bool_]:
    """(N, side, side): the pixels of the last `sizes` cells of each order. order: (N, n). sizes: (N,) >= 0."""
    n = order.shape[1]
    across = side // cell
    result = np.zeros((len(order), n), dtype=np.bool_)
    wanted = np.arange(n)[None, :] >= n - np.asarray(sizes)[:, None]
    np.put_along_axis(result, order.astype(np.int64), wanted, axis=1)
    return result.reshape(len(order), across, across).repeat(cell, axis=1).repeat(cell, axis=2)


def size_of(share: float, cells: int) -> int:
    """Cells of a share of them, at least one."""
    return max(1, round(share * cells))


def random_orders(cells: int, seeds: list[int]) -> NDArray[np.int64]:
    """(N, cells) a random order for each seed."""
    return np.stack([np.random.default_rng(seed).permutation(cells) for seed in seeds]).astype(np.int64)


def border(side: int, width: int) -> NDArray[np.bool_]:
    """(side, side): the outermost `width` pixels. Raises SalientError for a width that leaves nothing out or in."""
    if not 0 < 2 * width < side:
        raise SalientError("border", expected=f"1 to {(side - 1) // 2} pixels", got=str(width))
    result = np.ones((side, side), dtype=np.bool_)
    result[width:-width, width:-width] = False
    return result


def border_width(side: int, share: float = BORDER) -> int:
    """Pixels of the narrowest border that holds at least a share of the image's."""
    return math.ceil(side * (1.0 - math.sqrt(1.0 - share)) / 2.0 - 1e-9)


def dilated(subsets: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """(N, H, W): also all at most so many pixels away, across, down or both."""
    padded = np.pad(subsets, ((0, 0), (pixels, pixels), (pixels, pixels)))
    rows = np.lib.stride_tricks.sliding_window_view(padded, 2 * pixels + 1, axis=1).any(axis=-1)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(rows, 2 * pixels + 1, axis=2).any(axis=-1))


def parts(core: NDArray[np.floating], spurious: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(3, ...) core, spurious and neither: each pixel belongs to the larger of two soft masks, to core where they are
    alike, if that is at least 0.5, so that the three shares of a subset add up to 1."""
    on_core, on_spurious = (core >= 0.5) & (core >= spurious), (spurious >= 0.5) & (spurious > core)
    return np.stack([on_core, on_spurious, ~(on_core | on_spurious)])
