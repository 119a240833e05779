"""What a user may give as images, and the source that reads it."""

from __future__ import annotations

import os
from collections.abc import Callable

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.images.layout.finding import local_source
from salient_imagenet_data.images.layout.names import Layout
from salient_imagenet_data.images.source import ImageSource
from salient_imagenet_data.places import hub_name, is_url, on_disk

Place = str | os.PathLike[str]


def open_source(images: Place | ImageSource, split: str = "train", *, layout: Layout | None = None) -> ImageSource:
    """A source as it is; else a folder (class per folder, ImageNet's trees), tar shards, or a data set on the Hub.

    A string like "ILSVRC/imagenet-1k" that is no existing path is a data set on the Hub, downloaded by `datasets` into
    its cache. split: which one, where there are several. layout: what a folder is, where names could mean two things
    (`layout.names.LAYOUTS`). Raises SalientError for what is none of these.
    """
    if not isinstance(images, (str, os.PathLike)):
        return images
    sources = (opener(images, split, layout) for opener in OPENERS)
    return next(source for source in sources if source is not None)


def _on_the_hub(place: Place, split: str, layout: Layout | None) -> ImageSource | None:
    name = hub_name(place)
    if name is None:
        return None
    from salient_imagenet_data.images.table import TableSource, hub_table

    return TableSource(hub_table(name, split))


def _behind_a_url(place: Place, split: str, layout: Layout | None) -> ImageSource | None:
    if not is_url(place):
        return None
    raise SalientError(
        f"{place}: images cannot be read from there",
        expected="a folder, tar shards, or a data set on the Hub",
        then="copy them here first",
    )


def _on_disk(place: Place, split: str, layout: Layout | None) -> ImageSource | None:
    return local_source(on_disk(place), split, layout)


OPENERS: tuple[Callable[[Place, str, Layout | None], ImageSource | None], ...] = (
    _on_the_hub,
    _behind_a_url,
    _on_disk,
)
"""Place, split and layout -> images, or None where the place is not of this kind. The last takes all that is left."""
