"""The bytes of plain JPEGs, for decoders other than Pillow, and one of these: simplejpeg.

Plain: what every libjpeg decodes to the same pixels. All else stays with Pillow, so that a file is read, refused and
quarantined alike whatever the decoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from salient_imagenet_data.errors import not_installed
from salient_imagenet_data.images.source import ImageSource
from salient_imagenet_data.images.trouble import is_trouble, patiently

PLAIN = (0xC0, 0xC1, 0xC2)
"""Frames of baseline, extended and progressive Huffman coding (ITU-T T.81, table B.1)."""


class Frame(NamedTuple):
    """Of a JPEG's frame header (ITU-T T.81, B.2.2). marker: its second byte. bits: of a sample."""

    marker: int
    bits: int
    height: int
    width: int
    components: int


def jpeg_of(source: ImageSource, index: int) -> NDArray[np.uint8] | None:
    """Bytes of an image that is a plain JPEG, gray or of three components, (N,) uint8; else None."""
    value: dict[str, Any] = source.encoded(index)
    path = value["path"]
    try:
        data = value["bytes"] if value["bytes"] is not None else patiently(lambda: _bytes_of(path), path, path)
    except OSError:
        return None  # Pillow says what it is
    view = np.frombuffer(data, dtype=np.uint8)
    return view if _is_plain(frame_of(view)) else None


def _bytes_of(path: str) -> NDArray[np.uint8]:
    return np.fromfile(path, dtype=np.uint8)


def frame_of(data: NDArray[np.uint8]) -> Frame | None:
    """The frame header of a JPEG; None for what is no JPEG."""
    for marker, place in _segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if place + 8 > len(data):
                return None
            bits, *sides, components = data[place + 2 : place + 8].tolist()
            return Frame(marker, bits, sides[0] * 256 + sides[1], sides[2] * 256 + sides[3], components)
    return None


def is_usual(data: NDArray[np.uint8]) -> bool:
    """Whether a plain JPEG (N,) is one that nvJPEG decodes as libjpeg does: it takes pictures stored as RGB for YCbCr,
    and what is cut off it fills with whatever was in memory."""
    return bytes(data[-64:]).rstrip(b"\0\r\n ").endswith(b"\xff\xd9") and not _is_rgb(data)


def _is_rgb(data: NDArray[np.uint8]) -> bool:
    """As libjpeg guesses it of three components: JFIF never is; Adobe's marker says so; else their names do."""
    transform = None
    for marker, place in _segments(data):
        if marker == 0xE0 and bytes(data[place + 2 : place + 7]) == b"JFIF\0":
            return False
        if marker == 0xEE and bytes(data[place + 2 : place + 7]) == b"Adobe" and place + 13 < len(data):
            transform = int(data[place + 13])
        if marker in PLAIN and data[place + 7] == 3:
            return transform == 0 if transform is not None else bytes(data[place + 8 : place + 17 : 3]) == b"RGB"
    return False


def without_exif(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy of a JPEG (N,) whose APP1 segments are called APP15, since torchcodec would turn its picture by these."""
    copy = data.copy()
    for marker, place in _segments(data):
        if marker == 0xE1:
            copy[place - 1] = 0xEF
    return copy


def _segments(data: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Second byte of each marker before the scan, and the place of the segment's length; none of what is no JPEG."""
    if bytes(data[:2]) != b"\xff\xd8":
        return
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = int(data[place + 1])
        if marker == 0xFF:  # padding
            place += 1
            continue
        if marker == 0xDA:
            return
        yield marker, place + 2
        place += 2 + int(data[place + 2]) * 256 + int(data[place + 3])


def _is_plain(frame: Frame | None) -> bool:
    """Whether Pillow decodes such a JPEG, as every libjpeg does. Pillow warns of very large ones and refuses larger."""
    if frame is None or frame.marker not in PLAIN or frame.bits != 8 or frame.components not in (1, 3):
        return False
    return Image.MAX_IMAGE_PIXELS is None or frame.height * frame.width <= Image.MAX_IMAGE_PIXELS


def check_simplejpeg() -> None:
    """Raises SalientError where simplejpeg is not installed."""
    try:
        import simplejpeg  # noqa: F401
    except ImportError as error:
        raise not_installed("simplejpeg", "decoder simplejpeg") from error


def by_simplejpeg(data: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """(H, W, 3) uint8 RGB of a plain JPEG, Pillow's pixels; None for one that libjpeg has anything to say about, which
    is left to Pillow: it reads some of these and refuses others."""
    import simplejpeg

    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB", strict=True)
    except Exception as error:
        if is_trouble(error):
            raise
        return None
    return pixels
