"""One published mask: from JPEG bytes to pixels, and from pixels back to the grid that they were resized from."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from salient_imagenet_data.errors import ImageError
from salient_imagenet_data.geometry import axis_weights


@dataclass(frozen=True)
class Fitted:
    """grid: (h, w) uint8, 255 = 1. mean_error, max_error: of the grid resized back against the mask, 1 = full scale."""

    grid: NDArray[np.uint8]
    mean_error: float
    max_error: float


class GridFit:
    """Reduces masks of size x size pixels to a grid.

    A mask is A g B^T with the bilinear weights A and B of `geometry.axis_weights`, and JPEG's noise on it. The grid
    is the least-squares solution pinv(A) m pinv(B)^T, clipped to [0, 1] and rounded to 8 bits; the errors are
    those of what is left. Buffers are kept between calls, so one object serves one thread.
    """

    def __init__(self, size: int, grid: tuple[int, int]) -> None:
        self._down, _ = axis_weights(size, grid[0], 0.0, float(size))
        across, _ = axis_weights(size, grid[1], 0.0, float(size))
        self._across = np.ascontiguousarray(across.T)
        self._up = np.linalg.pinv(self._down.astype(np.float64)).astype(np.float32)
        self._back = np.ascontiguousarray(np.linalg.pinv(across.astype(np.float64)).astype(np.float32).T)
        self._mask = np.empty((size, size), dtype=np.float32)
        self._rest = np.empty_like(self._mask)
        self._ones = np.ones(size * size, dtype=np.float32)

    def __call__(self, mask: NDArray[np.uint8]) -> Fitted:
        """mask: (size, size) uint8."""
        np.copyto(self._mask, mask)
        grid = np.rint(np.clip(self._up @ self._mask @ self._back, 0.0, 255.0))
        np.matmul(self._down @ grid, self._across, out=self._rest)
        np.subtract(self._rest, self._mask, out=self._rest)
        np.abs(self._rest, out=self._rest)
        # A dot product with ones is a sum at a third of np.sum's time.
        total = float(np.dot(self._rest.reshape(-1), self._ones))
        return Fitted(grid.astype(np.uint8), total / (255.0 * self._rest.size), float(self._rest.max()) / 255.0)


def decode_mask(data: bytes, size: int, name: str) -> NDArray[np.uint8]:
    """A mask's JPEG bytes as (size, size) uint8, 255 = 1.

    Raises ImageError for bytes that are no JPEG, are cut short, or hold another size or colours; the size is checked
    before pixels are made.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            if image.mode != "L" or image.size != (size, size):
                raise ImageError(
                    f"{name}: not a mask",
                    expected=f"8-bit gray, {size} x {size}",
                    got=f"{image.mode}, {image.width} x {image.height}",
                )
            return np.asarray(image)
    except UnidentifiedImageError as error:  # its text holds an address, which would differ from run to run
        raise ImageError(f"{name}: cannot decode", expected="a JPEG file", got=f"{len(data)} other bytes") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, EOFError) as error:
        raise ImageError(f"{name}: cannot decode", got=f"{type(error).__name__}: {error}") from error
