"""How the bytes of an image become RGB pixels.

Decoding follows torchvision's reference loader: `PIL.Image.convert("RGB")` for gray, palette and CMYK files alike, and
no EXIF rotation. Where `convert` would clip, gray levels are scaled: 16 bits are divided by 257, floats from 0 to 1
multiplied by 255.
"""

from __future__ import annotations

import io
import os
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from salient_imagenet_data.errors import ImageError
from salient_imagenet_data.images.trouble import is_trouble, patiently, said

PHOTOGRAPHS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF", "QOI", "MPO")
"""Pillow's names of raster formats that begin with bytes of their own. Not on the list: what runs another program
(PostScript), what describes shapes (WMF), and what is told by hardly any byte, as which a damaged file might pass."""
_DEEP = ("I", "F")
_MODES_OF_16_BITS = ("I;16", "I;16L", "I;16B", "I;16N")


@cache
def formats() -> tuple[str, ...]:
    """The formats that are read, of those this Pillow has."""
    Image.init()
    return tuple(name for name in PHOTOGRAPHS if name in Image.OPEN)


@cache
def extensions() -> tuple[str, ...]:
    """File name endings (lower case) that a folder or a tar takes for images: Pillow's for `formats`."""
    return tuple(sorted(ending for ending, name in Image.registered_extensions().items() if name in PHOTOGRAPHS))


def decode(data: bytes | str | os.PathLike[str], name: str) -> NDArray[np.uint8]:
    """Decode an image file (bytes or path) to (height, width, 3) uint8 RGB.

    Raises ImageError, naming `name` and no path, for anything that Pillow cannot decode completely, whatever a decoder
    raised, and SalientError where the system is in trouble (`trouble.patiently`).
    """
    return np.asarray(decode_picture(data, name))


def decode_picture(data: bytes | str | os.PathLike[str], name: str) -> Image.Image:
    """The same as an RGB picture of Pillow's, which spares two copies where it is resized next."""
    where = None if isinstance(data, bytes) else data

    def attempt() -> Image.Image:
        try:
            with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data, formats=formats()) as image:
                return _in_rgb(image, name)
        except ImageError:
            raise
        except UnidentifiedImageError as error:  # whose text holds the path
            raise ImageError(f"{name}: cannot decode", got=f"no {', '.join(formats())}") from error
        except Exception as error:  # Pillow reports broken files by any, depending on the format's plugin
            if is_trouble(error, where):
                raise
            reason = said(error) if where is None else said(error).replace(os.fspath(where), name)
            raise ImageError(f"{name}: cannot decode", got=reason) from error

    return patiently(attempt, name, where)


def _in_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode in _MODES_OF_16_BITS or image.mode in _DEEP:
        return Image.fromarray(_eight_bits(image, name)).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image, name: str) -> NDArray[np.uint8]:
    """(height, width) gray of a picture of more than 8 bits. Raises ImageError where nothing says what white is."""
    values = np.asarray(image)
    if image.mode == "F":
        low, high = (float(v) for v in (values.min(), values.max()))
        if not (low >= 0.0 and high <= 1.0):  # or NaN
            raise ImageError(f"{name}: cannot decode", expected="float values from 0 to 1", got=f"{low:g} to {high:g}")
        return np.rint(values * 255.0).astype(np.uint8)
    if image.mode == "I" and image.format not in ("PNG", "PPM"):  # which scale to 16 bits, in Pillow's "I"
        raise ImageError(
            f"{name}: cannot decode", expected="at most 16 bits without sign", got="32-bit or signed values"
        )
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Lossless PNG bytes of a (height, width) gray or (height, width, 3) RGB uint8 array."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
