"""What a store remembers of its images: likenesses of up to 32, by which other pictures of the same names are found.

ImageNet's and other people's sets have the same names and sizes in train and val, or in two editions. A likeness is the
picture in 8 x 8 gray cells. It is of pixels, not of bytes, so that copies that were written anew (another quality,
another format) are taken for what they are; masks fit them as well.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from salient_imagenet_data.errors import ImageError
from salient_imagenet_data.images.source import ImageSource, picture_of

CELLS = 8
"""Of a side of a likeness."""
SAMPLE = 32
"""Images of a store that a likeness is kept of."""
DIFFERENT = 6.0
"""Mean difference of cells, in gray levels of 255, above which two pictures are not one. Of 42 photographs of ImageNet:
saved anew as JPEG of quality 10 at most 1.7, quality 30 at most 0.5; any two of them at least 15.9. Two pictures of
uniform noise of 40 x 40 pixels: at least 7.9."""


def likeness(picture: Image.Image) -> str:
    """The means of 8 x 8 cells of a picture in gray, row by row, as 128 hexadecimal digits."""
    small = picture.convert("L").resize((CELLS, CELLS), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.uint8).tobytes().hex()


def difference(one: str, other: str) -> float:
    """Mean difference of the cells of two likenesses, in gray levels of 255."""
    a, b = (np.frombuffer(bytes.fromhex(text), dtype=np.uint8).astype(np.float64) for text in (one, other))
    return float(np.abs(a - b).mean())


def likenesses(source: ImageSource, indices: NDArray[np.integer]) -> dict[str, str]:
    """{image id: likeness} of up to 32 images of a source, spread evenly over indices: (N,), a store's rows in order.

    The same for the same images, whatever made the store; one that cannot be decoded is left out.
    """
    found: dict[str, str] = {}
    for place in np.unique(np.linspace(0, max(len(indices) - 1, 0), SAMPLE).astype(np.int64))[: len(indices)]:
        index = int(indices[place])
        try:
            found[source.entry(index).image_id] = likeness(picture_of(source, index))
        except ImageError:
            continue
    return found
