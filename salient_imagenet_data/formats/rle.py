"""Run lengths of binary masks: COCO's strings, and the packed bits of Label Studio's brush.

COCO counts runs down the columns, 0 first, and writes them as in `rleToString` of its mask API: five bits a character,
from the fourth count on the difference to the count two before. Label Studio packs what thi.ng/rle-pack defines: runs
along the rows, of pixels of four equal channels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def run_lengths(values: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(n,) bool -> lengths of its runs, the first of False, which may be 0."""
    if not len(values):
        return np.zeros(0, dtype=np.int64)
    edges = np.concatenate(([0], np.flatnonzero(values[1:] != values[:-1]) + 1, [len(values)]))
    lengths = np.diff(edges)
    return np.concatenate(([0], lengths)) if values[0] else lengths


def coco_counts(mask: NDArray[np.bool_]) -> str:
    """(height, width) bool -> `counts` of COCO's compressed run-length encoding."""
    counts = run_lengths(mask.ravel(order="F"))
    left = counts.copy()
    left[3:] -= counts[1:-2]
    going = np.ones(len(left), dtype=np.bool_)
    columns, used = [], []
    while going.any():
        low = left & 0x1F
        left >>= 5  # keeps the sign
        more = np.where(low & 0x10, left != -1, left != 0)
        columns.append((low + 0x20 * more + 48).astype(np.uint8))
        used.append(going)
        going = going & more
    # By number, and within a number from its low bits up.
    return bytes(np.stack(columns, axis=1)[np.stack(used, axis=1)]).decode("ascii") if columns else ""


SIZES = (3, 4, 8, 16)
"""Bits of a run's length, the choices; a run says in two bits which."""


def brush(mask: NDArray[np.bool_]) -> bytes:
    """(height, width) bool -> rle-pack of (height, width, 4) uint8, 255 in the mask and 0 outside, as bytes."""
    flat = np.ascontiguousarray(mask).ravel()
    bits = [f"{4 * len(flat):032b}", f"{7:05b}", *(f"{size - 1:04b}" for size in SIZES)]
    for number, length in enumerate((4 * run_lengths(flat)).tolist()):
        word = "11111111" if number % 2 else "00000000"
        while length:
            part = min(length, 1 << SIZES[-1])
            choice = next(i for i, size in enumerate(SIZES) if part <= 1 << size)
            bits.append(f"1{choice:02b}{part - 1:0{SIZES[choice]}b}{word}")
            length -= part
    text = "".join(bits)
    return np.packbits(np.frombuffer(text.encode("ascii"), dtype=np.uint8) - 48).tobytes()
