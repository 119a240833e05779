"""One published mask: from JPEG bytes to pixels, and from pixels back to the grid that they were resized from."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from salient_imagenet_data.errors import ImageError
from salient_imagenet_data.geometry import axis_weights


@dataclass(frozen=True)
class Errors:
    """mean, max: (n,) float32, of grids resized back against their masks, 1 = full scale."""

    mean: NDArray[np.float32]
    max: NDArray[np.float32]


def pooling(size: int, grid: tuple[int, int]) -> int:
    """Pixels a side, 8, 4, 2 or 1, that masks are averaged over before a grid is fitted.

    The most that JPEG's 8 x 8 blocks allow and that leaves 4 values a cell and side; 8 for 224 pixels and 7 cells.
    """
    return next((p for p in (8, 4, 2) if size % 8 == 0 and size >= 4 * p * max(grid)), 1)


class GridFit:
    """Reduces masks of size x size pixels, given as the means of pool x pool pixels, to grids of (h, w).

    A mask is A g B^T with the bilinear weights A and B of `geometry.axis_weights`, and JPEG's noise on it. The grid
    is the least-squares solution pinv(A) m pinv(B)^T, clipped to [0, 1] and rounded to 8 bits. A and B are averaged
    like the pixels.
    """

    def __init__(self, size: int, grid: tuple[int, int], pool: int = 1) -> None:
        self._down, across = (_pooled(axis_weights(size, cells, 0.0, float(size))[0], pool) for cells in grid)
        self._across = np.ascontiguousarray(across.T)
        self._up = np.linalg.pinv(self._down.astype(np.float64)).astype(np.float32)
        self._back = np.ascontiguousarray(np.linalg.pinv(across.astype(np.float64)).astype(np.float32).T)

    def __call__(self, masks: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """masks: (n, size / pool, size / pool) uint8. Returns (n, h, w) uint8, 255 = 1."""
        n, rows, columns = masks.shape
        # The products over all masks' rows at once: one call for many masks, not one a mask.
        values = masks.reshape(n * rows, columns).astype(np.float32)
        grids = self._up @ (values @ self._back).reshape(n, rows, -1)
        return np.clip(np.rint(grids), 0.0, 255.0).astype(np.uint8)

    def errors(self, grids: NDArray[np.uint8], masks: NDArray[np.uint8]) -> Errors:
        """Of (n, h, w) grids against the (n, size / pool, size / pool) masks that they are of."""
        n, rows, columns = masks.shape
        rest = (self._down @ grids.astype(np.float32)).reshape(n * rows, -1) @ self._across
        rest -= masks.reshape(n * rows, columns)
        np.abs(rest, out=rest)
        rest = rest.reshape(n, -1) / np.float32(255)
        return Errors(rest.mean(axis=1), rest.max(axis=1))


def decode_mask(data: bytes, size: int, name: str, pool: int = 1) -> NDArray[np.uint8]:
    """A mask's JPEG bytes as (size / pool, size / pool) uint8, 255 = 1.

    With pool, a value is the mean of pool x pool pixels, which libjpeg makes in less time than the pixels.
    Raises ImageError for bytes that are no JPEG, are cut short, or hold another size or colours; the size is checked
    before pixels are made.
    """
    try:
        # Not through Image.open and numpy's array protocol, which for so small a file take a tenth of the time.
        with JpegImageFile(io.BytesIO(data)) as image:
            if image.mode != "L" or image.size != (size, size):
                raise ImageError(
                    f"{name}: not a mask",
                    expected=f"8-bit gray, {size} x {size}",
                    got=f"{image.mode}, {image.width} x {image.height}",
                )
            if pool > 1:
                image.draft("L", (size // pool, size // pool))
            pixels = np.frombuffer(image.tobytes(), dtype=np.uint8)
            return pixels.reshape(image.height, image.width)
    except SyntaxError as error:
        raise ImageError(f"{name}: cannot decode", expected="a JPEG file", got=f"{len(data)} other bytes") from error
    except (OSError, ValueError, Image.DecompressionBombError, EOFError) as error:
        raise ImageError(f"{name}: cannot decode", got=f"{type(error).__name__}: {error}") from error


def _pooled(weights: NDArray[np.float32], pool: int) -> NDArray[np.float32]:
    """(pixels, cells) -> (pixels / pool, cells), means of adjacent rows."""
    result: NDArray[np.float32] = weights.reshape(-1, pool, weights.shape[1]).mean(axis=1)
    return result
