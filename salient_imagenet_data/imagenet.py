"""Facts about ImageNet (ILSVRC 2012): its thousand classes, and one id for one image whatever the source.

The class index is the rank of the WordNet id in sorted order, as in the devkit's blob of 1000 and in every public
checkpoint. The files of the training set are called `<wnid>_<number>.JPEG`, those of the validation set
`ILSVRC2012_val_<number>.JPEG`; the Hub's Parquet copy appends `_<wnid>` to both.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath

from salient_imagenet_data.errors import SalientError

_FILE = re.compile(r"(?P<id>n\d{8}_\d+|ILSVRC2012_(?:val|test)_\d{8})(?:_n\d{8})?")
_WITH_CLASS = re.compile(r"(n\d{8})_\d+|ILSVRC2012_(?:val|test)_\d{8}_(n\d{8})")


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


def display_name(name: str) -> str:
    """The same of one class by itself."""
    return classes().get(name, name)


@cache
def _wnid_of() -> dict[str, str]:
    """By words as they are, and in small letters where these mean one class ("Cardigan" is a dog, "cardigan" not)."""
    exact = {words: wnid for wnid, words in classes().items()}
    small = Counter(words.lower() for words in exact)
    return {words.lower(): wnid for words, wnid in exact.items() if small[words.lower()] == 1} | exact


def wnid_of_words(name: str) -> str:
    """The wnid of a class called by ImageNet's words, "tench" or "tench, Tinca tinca"; any other name stays."""
    known = _wnid_of()
    words = name.replace("_", " ")
    first = words.split(",")[0].strip()
    return next((known[w] for w in (words, first, words.lower(), first.lower()) if w in known), name)


def wnid_in(name: str) -> str | None:
    """The class that an ImageNet file's name tells: `n01440764_18.JPEG`, `ILSVRC2012_val_00000293_n01440764.JPEG`."""
    match = _WITH_CLASS.match(name.rpartition("/")[2])
    return None if match is None else match[1] or match[2]


def wnids_of_labels(names: tuple[str, ...], used: Iterable[int], seen: Mapping[int, str]) -> dict[int, str]:
    """The wnid of each used label of a table of ImageNet's thousand classes.

    names: of all labels. seen: wnids by label, as file names tell them; they decide. For the other labels: where nine
    in ten names that can be read stand where the wnids do, the order is that of the wnids, which forgives words that
    mean two classes (crane, maillot); else each name must be read. Raises SalientError if a label remains that neither
    tells, or two labels are one class.
    """
    read = [name if name in classes() else wnid_of_words(name) for name in names]
    known = {label: wnid for label, wnid in enumerate(read) if wnid in classes()} | dict(seen)
    in_order = sum(wnid == wnids()[label] for label, wnid in known.items())
    if known and in_order >= 0.9 * len(known):
        known = dict(enumerate(wnids())) | dict(seen)
    found: dict[str, int] = {}
    for label in sorted(set(used)):
        wnid = known.get(label)
        if wnid is None or found.setdefault(wnid, label) != label:
            raise SalientError(
                "cannot tell which of ImageNet's classes a label means",
                expected="names that are wnids or ImageNet's words, names in the order of the wnids, or wnids in file "
                "names",
                got=f"label {label}, called {names[label]!r}"
                + ("" if wnid is None else f", for the class of label {found[wnid]}"),
                then='name them by wnids: table.cast_column("label", datasets.ClassLabel(names=[...]))',
            )
    return {label: wnid for wnid, label in found.items()}


def is_imagenet(name: str) -> bool:
    """Whether a class name, an image id or a path is one of ImageNet's: a wnid, or a file's name with either."""
    stem = PurePosixPath(name.replace("\\", "/")).name.split(".")[0]
    return bool(re.fullmatch(r"n\d{8}", stem) or _FILE.fullmatch(stem))


def composed(name: str) -> str:
    """A name with one character for a letter and its accent (NFC). File systems and archives of macOS take them apart,
    so that one name is two texts that look alike."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def id_of_path(path: str) -> str:
    """The id of the image at `path` (with forward slashes, relative to the root of its source), `composed`.

    An ImageNet file's id is its bare name without the Hub's class suffix: `train/n01440764/n01440764_18.JPEG` and
    `n01440764_18_n01440764.JPEG` are both `n01440764_18`. Any other path loses only its extension.
    """
    match = _FILE.fullmatch(path.rpartition("/")[2].split(".", 1)[0])
    return match["id"] if match else composed(PurePosixPath(path).with_suffix("").as_posix())
