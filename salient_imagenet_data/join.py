"""Join a store's rows to the user's own images, by image id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.images import ImageSource, index_by_id
from salient_imagenet_data.store import Store

Missing = Literal["error", "skip"]


@dataclass(frozen=True)
class Joined:
    """Store rows with their images. rows[i] of the store goes with image indices[i] of the source.

    missing: ids of the store's images that the source lacks (always empty with `missing="error"`).
    """

    store: Store
    source: ImageSource
    rows: tuple[int, ...]
    indices: tuple[int, ...]
    missing: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def crop(self, item: int) -> NDArray[np.uint8]:
        """Image of an item in the crop frame, (crop, crop, 3) uint8."""
        return self.store.manifest.preprocessing.apply(self.image(item))

    def image(self, item: int) -> NDArray[np.uint8]:
        """Image of an item, (height, width, 3) uint8.

        Raises SalientError if its size is not the store's; a store that does not know it takes any.
        """
        pixels, row = self.source.pixels(self.indices[item]), self.store.rows[self.rows[item]]
        if row.size_known and pixels.shape[:2] != (row.height, row.width):
            raise SalientError(
                f"{row.image_id}: not the image that the masks were made of",
                expected=f"{row.width} x {row.height} pixels",
                got=f"{pixels.shape[1]} x {pixels.shape[0]}",
            )
        return pixels


def join(store: Store, source: ImageSource, *, missing: Missing = "error", rows: Sequence[int] | None = None) -> Joined:
    """Find the image of each store row (or of the given rows) in a source.

    Raises SalientError if images are missing, with their number and the first five, unless missing="skip";
    also if none is found, or a label's class name differs.
    """
    index = index_by_id(source)
    wanted = range(len(store)) if rows is None else rows
    found = [(row, index[store.rows[row].image_id]) for row in wanted if store.rows[row].image_id in index]
    absent = tuple(store.rows[row].image_id for row in wanted if store.rows[row].image_id not in index)
    if absent and (missing == "error" or not found):
        raise SalientError(
            f"{len(absent)} of {len(wanted)} images of {store.path} are missing",
            expected=f"images with ids such as {', '.join(absent[:5])}",
            got=f"a source with ids such as {source.entry(0).image_id}" if len(source) else "no images",
            then="give the folder the store was built from" + (', or missing="skip"' if found else ""),
        )
    for row, position in found:
        ours = store.class_names[store.rows[row].label]
        theirs = source.class_names[source.entry(position).label]
        if ours != theirs:
            raise SalientError(f"{store.rows[row].image_id}: class differs", expected=repr(ours), got=repr(theirs))
    return Joined(store, source, tuple(r for r, _ in found), tuple(i for _, i in found), absent)
