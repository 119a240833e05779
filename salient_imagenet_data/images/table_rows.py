"""Rows of a table of images: which can be used, under which ids, and of which classes. Pure functions on columns."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.imagenet import id_of_path, is_imagenet, wnid_in, wnids, wnids_of_labels


@dataclass(frozen=True)
class TableRows:
    """The rows of a table that have an image, an id and a class.

    kept: (n,) their places in the table. ids, labels: of each; labels are indices into class_names. left_out: number of
    rows by what they lack. by_folder: rows without a label whose folder, or file name of ImageNet, tells the class.
    """

    kept: NDArray[np.int64]
    ids: list[str]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    left_out: dict[str, int]
    by_folder: int

    def check_any(self) -> None:
        """Raise SalientError if no row is left."""
        if not len(self.kept):
            raise SalientError(
                "no row of the table can be used",
                expected="rows with an image, a label, and a column image_id or file_name or a path inside the image",
                got=self._counts() or "an empty table",
            )

    def _counts(self) -> str:
        return ", ".join(f"{number} without {what}" for what, number in self.left_out.items())

    def tell(self) -> None:
        """Say on stderr which rows are left out, and which classes are taken from names."""
        if self.by_folder:
            print(f"{self.by_folder} rows have no label: their class is that of their file's name", file=sys.stderr)
        if self.left_out:
            print(f"rows of the table that are left out: {self._counts()}", file=sys.stderr)


def read_rows(
    names: Sequence[str],
    labels: NDArray[np.integer],
    present: NDArray[np.bool_],
    classes: tuple[str, ...],
    like: str,
    seen: dict[int, str] | None = None,
) -> TableRows:
    """The usable rows of a table. names: of files or ids, "" for none. labels: indices into classes, negative for none.
    present: whether there is an image. like: see `TableSource`. seen: wnids by label as file names told them in earlier
    parts of the same table; those of this part are added.

    Raises SalientError if a label is beyond the classes, or ImageNet's classes cannot be told.
    """
    numbers: NDArray[np.int64] = np.array(labels, dtype=np.int64)
    if len(numbers) and numbers.max() >= len(classes):
        raise SalientError("label beyond the classes", expected=f"0 to {len(classes) - 1}", got=str(numbers.max()))
    named = np.array([name != "" for name in names], dtype=np.bool_)
    imagenet = len(classes) == len(wnids()) and all(is_imagenet(name) for name in names[:1000] if name)
    if imagenet:
        told = [wnid_in(name) for name in names]
        numbers, classes = _in_wnid_order(numbers, told, classes, {} if seen is None else seen), wnids()
    unlabelled = np.flatnonzero((numbers < 0) & named)
    if len(unlabelled):
        index = {name: label for label, name in enumerate(classes)}
        numbers[unlabelled] = [_by_name(names[row], index) for row in unlabelled.tolist()]
    by_folder = int((numbers[unlabelled] >= 0).sum())
    usable = present & named & (numbers >= 0)
    lacking = {"an image": ~present, "an id": present & ~named, "a label": present & named & (numbers < 0)}
    left_out = {what: int(rows.sum()) for what, rows in lacking.items() if rows.any()}
    kept = np.flatnonzero(usable)
    mine = [classes[label] for label in numbers[kept].tolist()]
    ids = ids_of_names([names[row] for row in kept.tolist()], mine, like)
    return TableRows(kept, ids, numbers[kept], classes, left_out, by_folder)


def ids_of_names(names: Sequence[str], classes: Sequence[str], like: str) -> list[str]:
    """Ids from names or paths and class names. Absolute paths count from the folder that all of them share; like: see
    `TableSource`."""
    absolute = [name for name in names if os.path.isabs(name)]
    root = os.path.commonpath([os.path.dirname(name) for name in absolute]) if absolute else ""
    relative = [os.path.relpath(name, root) if os.path.isabs(name) else name for name in names]
    ids = [id_of_path(PurePath(name).as_posix()) for name in relative]
    if "/" in like and not any("/" in image_id for image_id in ids):
        return [f"{name}/{image_id}" for name, image_id in zip(classes, ids, strict=True)]
    return ids


def as_names(values: Sequence[Any]) -> list[str]:
    """Ids of any type as text, "" for null."""
    return ["" if value is None else str(value) for value in values]


def _in_wnid_order(
    labels: NDArray[np.int64], told: Sequence[str | None], classes: tuple[str, ...], seen: dict[int, str]
) -> NDArray[np.int64]:
    """Labels as indices of the wnids. told: the wnid that each file's name tells; seen: see `read_rows`."""
    for label, wnid in zip(labels.tolist(), told, strict=True):
        if label >= 0 and wnid is not None and seen.setdefault(label, wnid) != wnid:
            raise SalientError(
                f"the label {label} ({classes[label]!r}) stands for two classes",
                expected="one class a label",
                got=f"files of {seen[label]} and of {wnid}",
            )
    index = {wnid: place for place, wnid in enumerate(wnids())}
    order = np.full(len(classes), -1)
    for label, wnid in wnids_of_labels(classes, np.unique(labels[labels >= 0]).tolist(), seen).items():
        order[label] = index[wnid]
    return np.where(labels < 0, -1, order[labels])


def _by_name(name: str, index: dict[str, int]) -> int:
    """The class of an ImageNet file by its name, or of a file in a folder called as a class; -1 for none."""
    told = wnid_in(name)
    if told in index:
        return index[told]
    folders = PurePath(name).parts[:-1]
    return next((index[folder] for folder in reversed(folders) if folder in index), -1)
