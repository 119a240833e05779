"""Open the user's own images for a store, and join its rows to them by image id."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from salient_imagenet_data.errors import ImageError, SalientError
from salient_imagenet_data.imagenet import wnid_of_words
from salient_imagenet_data.images.layout.names import Layout
from salient_imagenet_data.images.likeness import DIFFERENT, difference, likeness
from salient_imagenet_data.images.opening import open_source
from salient_imagenet_data.images.source import ImageSource, ids_of, labels_of, picture_of
from salient_imagenet_data.places import hub_name
from salient_imagenet_data.store.reading import Store

Missing = Literal["error", "skip"]
AT_LEAST, SECONDS = 4, 0.2
"""Pictures that are compared on joining in any case, and how long more of them are."""
_checked: WeakKeyDictionary[ImageSource, WeakSet[Store]] = WeakKeyDictionary()
Images = Any
"""What a user gives as images: a path, a name on the Hub, a table or stream of `datasets`, or an `ImageSource`."""


def images_of(store: Store, images: Images, *, layout: Layout | None = None) -> ImageSource:
    """The user's images for a store: the one way to open them.

    images: a folder (class per folder, ImageNet's trees) or tar shards; a data set on the Hub, "org/name" or
    "org/name@revision", also as hf://datasets/org/name or with its page's address; a `datasets.Dataset` or
    `DatasetDict`; or any `ImageSource`, which is given back. Where there are several splits, the store's is taken.
    layout: what a folder is, where its names could mean two things. Raises SalientError for a stream, in which nothing
    can be looked up, and for what is none of these.
    """
    given = table_of(store, images)
    if given is None:
        if isinstance(images, ImageSource):
            return images
        return open_source(_path(images), store.manifest.split, layout=layout)
    import datasets

    from salient_imagenet_data.images.table import TableSource

    if isinstance(given, datasets.IterableDataset):
        raise SalientError(
            "a stream of images, in which none can be looked up",
            expected="a folder, tar shards, a datasets.Dataset or a name on the Hub",
            then='for a stream use load_dataset(store, images=stream, missing="skip")',
        )
    return TableSource(given, like=store.rows[0].image_id)


def opened(store: Store | str | Path, images: Images) -> tuple[Store, ImageSource]:
    """A store and the user's images for it, each opened where it is not yet."""
    store = store if isinstance(store, Store) else Store(store)
    return store, images_of(store, images)


def table_of(store: Store, images: Images, *, streaming: bool = False, cache_dir: str | None = None) -> Any:
    """The `datasets.Dataset` or `IterableDataset` of the store's split that images mean; None if they mean no table."""
    name = hub_name(images)
    if name is not None:
        from salient_imagenet_data.images.table import hub_table

        return hub_table(name, store.manifest.split, streaming=streaming, cache_dir=cache_dir)
    if not type(images).__module__.startswith("datasets"):
        return None
    import datasets

    from salient_imagenet_data.images.table import names_of_split

    if isinstance(images, (datasets.DatasetDict, datasets.IterableDatasetDict)):
        split = next((name for name in names_of_split(store.manifest.split) if name in images), None)
        if split is None:
            raise SalientError(
                f"the images have no split {store.manifest.split!r}",
                got=", ".join(images),
                then="pass one split of them",
            )
        return images[split]
    return images if isinstance(images, (datasets.Dataset, datasets.IterableDataset)) else None


def _path(images: Images) -> str | os.PathLike[str]:
    if not isinstance(images, (str, os.PathLike)):
        raise SalientError(
            "cannot take these for images",
            expected="a path, a name on the Hub, a table of `datasets`, or an ImageSource",
            got=type(images).__name__,
        )
    return images


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

    def tell(self) -> None:
        """Say on stderr how many rows have an image, and which have none."""
        tell_joined(len(self) + len(self.missing), self.missing)

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


def join(store: Store, images: Images, *, missing: Missing = "error", rows: Sequence[int] | None = None) -> Joined:
    """Find the image of each store row (or of the given rows) among the user's images, as `images_of` takes them.

    Raises SalientError if images are missing, with their number and the first five, unless missing="skip";
    also if none is found, a label's class name differs, or rows are no numbers of rows.
    """
    check_missing(missing)
    wanted = np.arange(len(store)) if rows is None else _numbers(rows, len(store))
    source = images_of(store, images)
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
    _check_pictures(joined)
    return joined


def tell_joined(count: int, absent: Sequence[str]) -> None:
    """Say on stderr how many of so many rows have an image, and name the first five that have none."""
    text = f"{count - len(absent)} of {count} rows joined to images"
    if absent:
        text += f"; {len(absent)} missing: {', '.join(absent[:5])}" + (", ..." if len(absent) > 5 else "")
    print(text, file=sys.stderr)


def check_missing(missing: str) -> Missing:
    """What to do about missing images, if it is one of the two ways. Raises SalientError for another."""
    if missing not in ("error", "skip"):
        raise SalientError("missing", expected="error or skip", got=repr(missing))
    return "skip" if missing == "skip" else "error"


def _numbers(rows: Sequence[int], count: int) -> NDArray[np.int64]:
    """(n,) the numbers of rows. Raises SalientError for what is none: a mask, taken for numbers, would mean 0 and 1."""
    given = np.asarray(rows)
    whole = given.ndim == 1 and (given.dtype.kind in "iu" or not len(given))
    if not whole or (len(given) and (given.min() < 0 or given.max() >= count)):
        got = f"{given.dtype} {given.shape}" if not whole else f"{given.min()} to {given.max()}"
        raise SalientError(
            "rows of the store",
            expected=f"a list of whole numbers from 0 to {count - 1}",
            got=got,
            then="np.flatnonzero(mask) makes numbers of a mask" if given.dtype == np.bool_ else "",
        )
    return given.astype(np.int64)


def _check_pictures(joined: Joined) -> None:
    """The images are those that the masks were made of: size and likeness of the store's sample, as far as it is here.

    At least four of them, and no more after a fifth of a second; once for a store and a source.
    """
    store, sample = joined.store, joined.store.manifest.likenesses
    if not sample or _was_checked(joined):
        return
    ids = store.rows.image_ids.take(pa.array(joined.rows))
    items = np.flatnonzero(pc.is_in(ids, value_set=pa.array(list(sample))).to_numpy(zero_copy_only=False))
    start = time.monotonic()
    for number, item in enumerate(items.tolist()):
        if number >= AT_LEAST and time.monotonic() - start > SECONDS:
            break
        try:
            picture = picture_of(joined.source, int(joined.indices[item]))
        except ImageError:
            continue  # told where it is read
        joined._check_size(item, *picture.size)
        check_likeness(store, ids[item].as_py(), picture)
    with suppress(TypeError):  # a source that cannot be a key is looked at each time
        _checked.setdefault(joined.source, WeakSet()).add(store)


def check_likeness(store: Store, image_id: str, picture: Image.Image) -> None:
    """Raise SalientError if an image is of the store's sample, and another picture than it was."""
    known = store.manifest.likenesses.get(image_id)
    if known is not None and difference(likeness(picture), known) > DIFFERENT:
        raise SalientError(
            f"{image_id}: same name, other picture than the masks were made of",
            expected=f"the images of split {store.manifest.split!r} that the store was built from",
            then="is this another split or edition of the data? Give the right copy",
        )


def _was_checked(joined: Joined) -> bool:
    try:
        return joined.store in _checked.get(joined.source, ())
    except TypeError:
        return False


def _check_labels(joined: Joined) -> None:
    """The class of each image has the same name on both sides."""
    named, given = joined.store.class_names, joined.source.class_names
    ours = np.array(named)[joined.store.rows.labels[joined.rows]]
    theirs = np.array(given)[labels_of(joined.source)[joined.indices]]
    if (ours != theirs).any():  # one side may call ImageNet's classes by wnid and the other by words
        ours = np.array(list(map(wnid_of_words, named)))[joined.store.rows.labels[joined.rows]]
        theirs = np.array(list(map(wnid_of_words, given)))[labels_of(joined.source)[joined.indices]]
    differs = np.flatnonzero(ours != theirs)
    if len(differs):
        first = int(differs[0])
        name = joined.store.rows[int(joined.rows[first])].image_id
        raise SalientError(f"{name}: class differs", expected=repr(str(ours[first])), got=repr(str(theirs[first])))
