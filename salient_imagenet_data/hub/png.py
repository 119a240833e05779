"""PNG for soft masks: gray, 8 bits, every row filtered by its left neighbour.

A mask is a bilinear enlargement, so its horizontal differences are nearly constant inside a grid cell. Libraries
choose a filter row by row with a heuristic that misses this, and zlib's greedy matching misses what is left: libdeflate
looks ahead for the cheapest way to say it. `benchmarks/hub.py` prints the sizes of all.
"""

from __future__ import annotations

import struct
import zlib

import deflate
import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SUB = 1  # filter type: the difference to the pixel on the left, modulo 256 (PNG specification, section 9.2)


def encode_mask(mask: NDArray[np.uint8], level: int = 10) -> bytes:
    """Lossless PNG bytes of a (height, width) uint8 mask. level: libdeflate's, 1 to 12; from 10 on it looks ahead."""
    height, width = mask.shape
    rows = np.empty((height, width + 1), dtype=np.uint8)
    rows[:, 0] = _SUB
    rows[:, 1] = mask[:, 0]
    np.subtract(mask[:, 1:], mask[:, :-1], out=rows[:, 2:])
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", bytes(deflate.zlib_compress(rows.tobytes(), level))), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
