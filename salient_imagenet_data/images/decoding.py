"""How the bytes of an image become RGB pixels.

Decoding follows torchvision's reference loader: `PIL.Image.convert("RGB")` for gray, palette and CMYK files alike, and
no EXIF rotation.
"""

from __future__ import annotations

import io
import os

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from salient_imagenet_data.errors import ImageError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff")
"""File name endings (lower case) that a folder tree takes for images."""


def decode(data: bytes | str | os.PathLike[str], name: str) -> NDArray[np.uint8]:
    """Decode an image file (bytes or path) to (height, width, 3) uint8 RGB.

    Raises ImageError, naming `name`, for anything that Pillow cannot decode completely.
    """
    return np.asarray(decode_picture(data, name))


def decode_picture(data: bytes | str | os.PathLike[str], name: str) -> Image.Image:
    """The same as an RGB picture of Pillow's, which spares two copies where it is resized next."""
    try:
        with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, EOFError) as error:
        # Pillow reports broken files by all of these, depending on the format's plugin.
        raise ImageError(f"{name}: cannot decode", got=f"{type(error).__name__}: {error}") from error


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Lossless PNG bytes of a (height, width) gray or (height, width, 3) RGB uint8 array."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
