"""What a folder of images is: one function decides, says so in doubt, and refuses what could be two things."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.imagenet import wnids
from salient_imagenet_data.images.folder import FileSource, FolderSource
from salient_imagenet_data.images.layout.answers import validation_labels
from salient_imagenet_data.images.layout.names import LAYOUTS, Layout
from salient_imagenet_data.images.layout.walking import Contents, contents, holds_pictures
from salient_imagenet_data.images.passed_over import ARCHIVE, ASIDE, text_of
from salient_imagenet_data.images.tar import TarSource, find_shards

KAGGLE = ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "CLS-LOC")
VALIDATION_PREFIX = "ILSVRC2012_val_"
_WORDS = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}
_SPLIT = re.compile(
    r"(train|training|val|valid|validation|test|testing)(\..+|[-_ ]?(?:set|data|images|imgs|split|\d{4}))?"
)


@dataclass(frozen=True)
class Found:
    """What was found. layout: how `base` is to be read. doubts: why a person should be told. passed: beside `base`."""

    layout: Literal["classes", "validation", "tar"]
    base: Path
    doubts: tuple[str, ...] = ()
    passed: tuple[tuple[str, str], ...] = ()


def local_source(given: Path, split: str = "train", layout: Layout | None = None) -> FileSource | TarSource:
    """The images of a split of a folder, a tar file or a pattern of them.

    Raises SalientError if they are none of the layouts, or could be two of them and `layout` does not say which.
    """
    found = find_layout(given, split, layout)
    source: FileSource | TarSource
    if found.layout == "tar":
        source = TarSource(find_shards(found.base))
    elif found.layout == "validation":
        source = _validation_source(found.base)
    else:
        source = FolderSource(found.base)
    if found.passed:
        source.passed_over = replace(source.passed_over, items=(*found.passed, *source.passed_over.items))
    if found.doubts:
        base = "" if found.base == given else f" in {text_of(str(found.base))}"
        what = {"tar": "tars", "validation": "ImageNet's validation pictures"}.get(found.layout, "class folders")
        images = f"{len(source)} images of {len(set(source.labels().tolist()))} classes"
        source.taken_for = f"{text_of(str(given))}: taken for {what}{base}, {images}; {'; '.join(found.doubts)}"
    return source


def find_layout(given: Path, split: str = "train", layout: Layout | None = None) -> Found:
    """What a path is; only the names of what lies there are looked at. Raises SalientError as `local_source` does."""
    if layout is not None and layout not in LAYOUTS:
        raise SalientError(f"layout {layout!r} is not known", expected=", ".join(LAYOUTS))
    if layout == "tar" or not given.is_dir():
        if find_shards(given):
            if layout not in (None, "tar"):
                raise SalientError(f"{given}: tar files", expected=f"a folder for the layout {layout}")
            return Found("tar", given)
        if given.is_dir():
            raise SalientError(f"{given}: no tar files", expected="files ending in .tar for the layout tar")
        return Found("classes", given)  # which says what is expected
    base = _kaggle_base(given) if layout in (None, "kaggle") else given
    if layout == "kaggle" and base == given and given.name != Path(KAGGLE[0]).name:
        raise SalientError(f"{given}: not Kaggle's folder", expected=f"{KAGGLE[0]} in it")
    doubts: tuple[str, ...] = ()
    passed: list[tuple[str, str]] = []
    inside = contents(str(base))
    if layout in (None, "splits", "kaggle"):
        folder, doubts = _split_folder(base, inside, split, forced=layout is not None)
        if folder is not None:
            passed += ((f"../{text_of(name)}", reason) for name, reason in inside.passed if reason == ARCHIVE)
            base = base / folder
            inside = contents(str(base))
    what = _what(base, inside, layout)
    if what == "classes" and layout is None:
        doubts += _doubtful_class(base, inside)
    return Found(what, base, doubts, tuple(passed))


def split_word(name: str) -> str | None:
    """train, val or test, if a folder's name means one: Train, training, TRAIN, val.X, test_images, train2017."""
    match = _SPLIT.fullmatch(name.lower())
    return _WORDS.get(match[1], match[1]) if match else None


def _kaggle_base(given: Path) -> Path:
    return next((given / below for below in KAGGLE if (given / below).is_dir()), given)


def _split_folder(base: Path, inside: Contents, split: str, *, forced: bool) -> tuple[str | None, tuple[str, ...]]:
    """The folder of the split, None if the folders are classes; and what a person should be told."""
    words = {name: word for name in inside.folders if (word := split_word(name))}
    if not words:
        if forced:
            raise SalientError(f"{base}: no split folders", expected="folders such as train and val")
        return None, ()
    listed = ", ".join(words)
    if not forced:
        holding = [n for n in inside.folders if n not in words and holds_pictures(os.path.join(base, n))]
        if _all_plain_classes(base, words) and (holding or len(words) == len(inside.folders) == 1):
            return None, (f"{listed} is called as a split but holds pictures itself, so it is a class",)
        if holding:
            raise SalientError(
                f"{base}: cannot tell whether {listed} are splits or classes",
                got=f"folders with pictures beside them, such as {text_of(holding[0])}",
                then="give the layout: --layout splits or --layout classes",
            )
        if _all_plain_classes(base, words):
            raise SalientError(
                f"{base}: the folders {listed} are called as splits but hold no class folders",
                then="give the layout if they are classes: --layout classes",
            )
    taken = [name for name in words if name == split] or [n for n in words if words[n] == split_word(split)]
    if not taken:
        raise SalientError(f"{base}: no split {split!r}", expected=f"one of {', '.join(sorted(words))}")
    if len(taken) > 1:
        raise SalientError(
            f"{base}: several folders of the split {split!r}", got=", ".join(taken), then="give one of them as images"
        )
    doubt = () if taken[0] == split else (f"{text_of(taken[0])} is the split {split!r}",)
    return taken[0], doubt


def _all_plain_classes(base: Path, names: Iterable[str]) -> bool:
    """Whether every folder holds pictures itself, as a class does and a split does not."""
    return all(_holds_itself(contents(os.path.join(base, name))) for name in names)


def _holds_itself(inside: Contents) -> bool:
    return any(not name.startswith(VALIDATION_PREFIX) for name in inside.pictures)


def _what(base: Path, inside: Contents, layout: Layout | None) -> Literal["classes", "validation", "tar"]:
    flat = any(name.startswith(VALIDATION_PREFIX) for name in inside.pictures)
    if layout == "classes" or not (flat or inside.tars or layout):
        return "classes"
    classes = [name for name in inside.folders if holds_pictures(os.path.join(base, name))]
    if layout == "validation" and not flat:
        raise SalientError(f"{base}: no validation pictures", expected=f"files {VALIDATION_PREFIX}*.JPEG")
    if flat:
        if classes and layout != "validation":
            raise SalientError(
                f"{base}: both validation pictures and folders of pictures",
                got=f"folders such as {text_of(classes[0])}",
                then="give the layout: --layout validation or --layout classes",
            )
        return "validation"
    return "tar" if inside.tars and not classes else "classes"


def _doubtful_class(base: Path, inside: Contents) -> tuple[str, ...]:
    """Of one class that has folders of pictures and no pictures itself."""
    if len(inside.folders) != 1:
        return ()
    only = contents(os.path.join(base, inside.folders[0]))
    if only.pictures or not only.folders:
        return ()
    return (f"its only folder, {text_of(inside.folders[0])}, holds folders: give that one if they are the classes",)


def _validation_source(base: Path) -> FileSource:
    inside = contents(str(base))
    flat = [name for name in inside.pictures if name.startswith(VALIDATION_PREFIX)]
    passed = [(text_of(name), reason) for name, reason in inside.passed]
    others = set(inside.pictures) - set(flat)
    passed += ((text_of(name), f"name does not begin with {VALIDATION_PREFIX}") for name in others)
    passed += ((text_of(name), ASIDE) for name in inside.folders)
    return FileSource(base, flat, validation_labels(base, flat), wnids(), sorted(passed))
