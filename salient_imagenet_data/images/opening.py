"""What a user may give as images, and the source that reads it."""

from __future__ import annotations

import os
from pathlib import Path

from salient_imagenet_data.images.layouts import folder_source
from salient_imagenet_data.images.source import ImageSource
from salient_imagenet_data.images.tar import TarSource, find_shards
from salient_imagenet_data.places import is_repo_id


def open_source(images: str | os.PathLike[str] | ImageSource, split: str = "train") -> ImageSource:
    """A source as it is; else a folder (class per folder, ImageNet's trees), tar shards, or a data set on the Hub.

    A string like "ILSVRC/imagenet-1k" that is no existing path is a data set on the Hub, downloaded by `datasets` into
    its cache. split: which one, where there are several. Raises SalientError for what is none of these.
    """
    if not isinstance(images, (str, os.PathLike)):
        return images
    if isinstance(images, str) and is_repo_id(images):
        import datasets

        from salient_imagenet_data.hub_errors import hub_errors
        from salient_imagenet_data.images.table import TableSource

        with hub_errors(images, "load the images from the Hub, and there is no such folder"):
            name, _, revision = images.partition("@")
            table = datasets.load_dataset(name, split=split, revision=revision or None)
        return TableSource(table)
    path = Path(images)
    shards = find_shards(path)
    return TarSource(shards) if shards else folder_source(path, split)
