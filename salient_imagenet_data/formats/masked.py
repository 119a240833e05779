"""Images of a store with their masks in the pixels of the original image, some rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import valid_box
from salient_imagenet_data.imagenet import display_names
from salient_imagenet_data.masks import to_uint8, union_in_image
from salient_imagenet_data.names import KINDS, Kind
from salient_imagenet_data.store.checks.checked_array import CheckedArray
from salient_imagenet_data.store.reading import Store

BLOCK = 1024
"""Rows whose maps are read at once: a read costs milliseconds whatever its size."""


@dataclass(frozen=True)
class Masked:
    """One image. row: its number in the store. class_words: of an ImageNet class, else its name. valid: left, top,
    width and height, in whole pixels, of the part of the image that the maps cover; outside it nothing is known, and
    masks are 0. masks: (height, width) uint8 by kind, 255 = 1; only kinds of which its class has a feature. file: of
    the user's, as the format wants it; "" where none is given.
    """

    row: int
    image_id: str
    label: int
    class_name: str
    class_words: str
    width: int
    height: int
    valid: tuple[int, int, int, int]
    masks: dict[Kind, NDArray[np.uint8]]
    file: str = ""


def check_sizes(store: Store) -> None:
    """Raise SalientError where the size of an image is not known: then it has no image frame."""
    unknown = np.flatnonzero(store.rows.widths <= 0)
    if len(unknown):
        raise SalientError(
            f"{store.rows[int(unknown[0])].image_id}: the store does not hold the image's size",
            expected="sizes of all images, since these formats have masks in the pixels of the original image",
            got=f"{len(unknown)} of {len(store)} without",
            then="import again with --images, or use --format hub",
        )


def masked_images(store: Store, start: int, stop: int, files: Sequence[str] | None = None) -> Iterator[Masked]:
    """Rows start to stop of an annotated store. files: of each of them."""
    maps, rows = CheckedArray.of(store.path, store.manifest, "maps"), store.rows
    words = display_names(store.class_names)
    for begin in range(start, stop, BLOCK):
        block = maps.read(begin, min(begin + BLOCK, stop))
        for row, grid in enumerate(block, begin):
            record = rows[row]
            yield Masked(
                row,
                record.image_id,
                record.label,
                store.class_names[record.label],
                words[record.label],
                record.width,
                record.height,
                valid_box(record.height, record.width, record.box),
                {
                    kind: to_uint8(union_in_image(grid, chosen, record.height, record.width, record.box)[0])
                    for kind in KINDS
                    if (chosen := store.kind_table[kind][record.label]).any()
                },
                files[row - start] if files else "",
            )
