"""Facts about ImageNet (ILSVRC 2012): its thousand classes, and one id for one image whatever the source.

The class index is the rank of the WordNet id in sorted order, as in the devkit's blob of 1000 and in every public
checkpoint. The files of the training set are called `<wnid>_<number>.JPEG`, those of the validation set
`ILSVRC2012_val_<number>.JPEG`; the Hub's Parquet copy appends `_<wnid>` to both.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath

_FILE = re.compile(r"(?P<id>n\d{8}_\d+|ILSVRC2012_(?:val|test)_\d{8})(?:_n\d{8})?")


@cache
def classes() -> dict[str, str]:
    """{wnid: name} of the thousand classes in index order. Names are unique ("crane" and "crane bird")."""
    text = files("salient_imagenet_data").joinpath("imagenet_classes.txt").read_text(encoding="utf-8")
    return dict(line.split(" ", 1) for line in text.splitlines())


@cache
def wnids() -> tuple[str, ...]:
    """WordNet ids by class index."""
    return tuple(classes())


def display_names(class_names: tuple[str, ...]) -> tuple[str, ...]:
    """Names to show: ImageNet's wnids become words, whether all thousand are there or some; any other names stay. Names
    stay as they are where words would make two of them alike."""
    words = tuple(classes().get(name, name) for name in class_names)
    return words if len(set(words)) == len(words) else class_names


def is_imagenet(name: str) -> bool:
    """Whether a class name, an image id or a path is one of ImageNet's: a wnid, or a file's name with either."""
    stem = PurePosixPath(name.replace("\\", "/")).name.split(".")[0]
    return bool(re.fullmatch(r"n\d{8}", stem) or _FILE.fullmatch(stem))


def id_of_path(path: str) -> str:
    """The id of the image at `path` (with forward slashes, relative to the root of its source).

    An ImageNet file's id is its bare name without the Hub's class suffix: `train/n01440764/n01440764_18.JPEG` and
    `n01440764_18_n01440764.JPEG` are both `n01440764_18`. Any other path loses only its extension.
    """
    match = _FILE.fullmatch(path.rpartition("/")[2].split(".", 1)[0])
    return match["id"] if match else PurePosixPath(path).with_suffix("").as_posix()
