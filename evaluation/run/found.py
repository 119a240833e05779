"""The images that there are to evaluate on: what is missing or cannot be decoded is an error, or left out and told."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.errors import ImageError
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.images.reading import read_ahead
from salient_imagenet_data.images.source import picture_of
from salient_imagenet_data.joining import Images, Joined, join
from salient_imagenet_data.progress import counted
from salient_imagenet_data.store.reading import Store


def say(line: str) -> None:
    """A line to stderr."""
    print(line, file=sys.stderr)


def images_found(
    store: Store,
    images: Images,
    settings: Settings,
    rows: NDArray[np.integer],
    report: Callable[[str], None] = say,
) -> Joined:
    """The images of some rows. With `missing="skip"` every one is decoded once before anything runs, and those that are
    not there or no longer decode are left out, with a line for each kind to `report`.

    Raises SalientError where one is missing otherwise, or none is left.
    """
    joined = join(store, images, missing=settings.missing, rows=rows.tolist())
    if settings.missing == "error":
        return joined
    if joined.missing:
        report(f"{len(joined.missing)} images are missing and left out, such as {joined.missing[0]}")
    broken = _broken(joined)
    if not broken:
        return joined
    if len(broken) == len(joined):
        raise broken[0]
    ids = [store.rows[int(joined.rows[item])].image_id for item in broken]
    report(f"{len(broken)} images cannot be decoded and are left out, such as {ids[0]}")
    kept = np.setdiff1d(np.arange(len(joined)), list(broken))
    return replace(joined.take(kept), missing=(*joined.missing, *ids))


def images_to_swap_in(joined: Joined, settings: Settings, report: Callable[[str], None] = say) -> Joined:
    """All images of the store that the source has, of which another one is swapped into each: they do not depend on
    what else is evaluated. joined: of `images_found`, which are known to decode. With `missing="skip"` the others are
    decoded once too, and those that do not are left out, with a line to `report`."""
    pool = join(joined.store, joined.source, missing="skip")
    if settings.missing == "error":
        return pool
    others = np.flatnonzero(~np.isin(pool.rows, joined.rows))
    broken = others[list(_broken(pool.take(others)))]
    unsaid = [row for row in pool.rows[broken].tolist() if pool.store.rows[row].image_id not in joined.missing]
    if unsaid:
        first = pool.store.rows[unsaid[0]].image_id
        report(f"{len(unsaid)} more images cannot be decoded and are not swapped in, such as {first}")
    return pool.take(np.setdiff1d(np.arange(len(pool)), broken))


def _broken(joined: Joined) -> dict[int, ImageError]:
    """The items that do not decode, with the reason."""
    read = read_ahead(joined.indices.tolist(), lambda index: picture_of(joined.source, index).size)
    found = [found for _, found in counted(read, total=len(joined), what="read")]
    return {item: size for item, size in enumerate(found) if isinstance(size, ImageError)}
