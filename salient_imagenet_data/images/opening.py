"""What a user may give as images, and the source that reads it."""

from __future__ import annotations

import os
from pathlib import Path

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.images.layout.finding import local_source
from salient_imagenet_data.images.layout.names import Layout
from salient_imagenet_data.images.source import ImageSource
from salient_imagenet_data.places import hub_name, is_url


def open_source(
    images: str | os.PathLike[str] | ImageSource, split: str = "train", *, layout: Layout | None = None
) -> ImageSource:
    """A source as it is; else a folder (class per folder, ImageNet's trees), tar shards, or a data set on the Hub.

    A string like "ILSVRC/imagenet-1k" that is no existing path is a data set on the Hub, downloaded by `datasets` into
    its cache. split: which one, where there are several. layout: what a folder is, where names could mean two things
    (`layout.names.LAYOUTS`). Raises SalientError for what is none of these.
    """
    if not isinstance(images, (str, os.PathLike)):
        return images
    name = hub_name(images)
    if name is not None:
        from salient_imagenet_data.images.table import TableSource, hub_table

        return TableSource(hub_table(name, split))
    if is_url(images):
        raise SalientError(
            f"{images}: images cannot be read from there",
            expected="a folder, tar shards, or a data set on the Hub",
            then="copy them here first",
        )
    return local_source(Path(images), split, layout)
