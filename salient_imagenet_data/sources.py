"""What a user may give as images, and the source that reads it."""

from __future__ import annotations

import os
from pathlib import Path

from salient_imagenet_data.ilsvrc import folder_source
from salient_imagenet_data.images import ImageSource
from salient_imagenet_data.tar_source import TarSource, find_shards


def open_source(images: str | os.PathLike[str] | ImageSource, split: str = "train") -> ImageSource:
    """A source as it is; else a folder (class per folder, ImageNet's trees) or tar shards at a path.

    split: which one, for folders that hold several. Raises SalientError for what is none of these.
    """
    if not isinstance(images, (str, os.PathLike)):
        return images
    path = Path(images)
    shards = find_shards(path)
    return TarSource(shards) if shards else folder_source(path, split)
