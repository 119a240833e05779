"""Join a store's rows to the user's own images, by image id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.images.source import ImageSource, ids_of, labels_of, picture_of
from salient_imagenet_data.store.reading import Store

Missing = Literal["error", "skip"]


@dataclass(frozen=True)
class Joined:
    """Store rows with their images. rows[i] of the store goes with image indices[i] of the source.

    missing: ids of the store's images that the source lacks (always empty with `missing="error"`).
    """

    store: Store
    source: ImageSource
    rows: NDArray[np.int64]
    indices: NDArray[np.int64]
    missing: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, items: NDArray[np.int64]) -> Joined:
        """Some of the items, in that order."""
        return replace(self, rows=self.rows[items], indices=self.indices[items])

    def crop(self, item: int) -> NDArray[np.uint8]:
        """Image of an item in the crop frame, (crop, crop, 3) uint8."""
        picture = picture_of(self.source, int(self.indices[item]))
        self._check_size(item, *picture.size)
        return self.store.manifest.preprocessing.apply_to_picture(picture)

    def image(self, item: int) -> NDArray[np.uint8]:
        """Image of an item, (height, width, 3) uint8. Raises SalientError if its size is not the store's, where that
        is known."""
        pixels = self.source.pixels(int(self.indices[item]))
        self._check_size(item, pixels.shape[1], pixels.shape[0])
        return pixels

    def _check_size(self, item: int, width: int, height: int) -> None:
        rows, row = self.store.rows, int(self.rows[item])
        known = rows.widths[row] > 0
        if known and (width, height) != (rows.widths[row], rows.heights[row]):
            raise SalientError(
                f"{rows[row].image_id}: not the image that the masks were made of",
                expected=f"{rows.widths[row]} x {rows.heights[row]} pixels",
                got=f"{width} x {height}",
            )


def join(store: Store, source: ImageSource, *, missing: Missing = "error", rows: Sequence[int] | None = None) -> Joined:
    """Find the image of each store row (or of the given rows) in a source.

    Raises SalientError if images are missing, with their number and the first five, unless missing="skip";
    also if none is found, or a label's class name differs.
    """
    wanted = np.arange(len(store)) if rows is None else np.asarray(rows, dtype=np.int64)
    ids = store.rows.image_ids.take(pa.array(wanted))
    places = pc.fill_null(pc.index_in(ids, value_set=ids_of(source)), -1).to_numpy(zero_copy_only=False)
    found = places >= 0
    absent = tuple(ids.filter(pa.array(~found)).to_pylist())
    if absent and (missing == "error" or not found.any()):
        raise SalientError(
            f"{len(absent)} of {len(wanted)} images of {store.path} are missing",
            expected=f"images with ids such as {', '.join(absent[:5])}",
            got=f"a source with ids such as {source.entry(0).image_id}" if len(source) else "no images",
            then="give the folder the store was built from" + (', or missing="skip"' if found.any() else ""),
        )
    joined = Joined(store, source, wanted[found], places[found].astype(np.int64), absent)
    _check_labels(joined)
    return joined


def _check_labels(joined: Joined) -> None:
    """The class of each image has the same name on both sides."""
    ours = np.array(joined.store.class_names)[joined.store.rows.labels[joined.rows]]
    theirs = np.array(joined.source.class_names)[labels_of(joined.source)[joined.indices]]
    differs = np.flatnonzero(ours != theirs)
    if len(differs):
        first = int(differs[0])
        name = joined.store.rows[int(joined.rows[first])].image_id
        raise SalientError(f"{name}: class differs", expected=repr(str(ours[first])), got=repr(str(theirs[first])))
