"""What the release's tables say: its classes, their features, and which image has a mask of which feature.

    wordnet_dict.py                  a Python literal {class index: wnid}
    <wnid>/image_names_map.csv       one column a feature index; below it image names without extension. Columns of
                                     other heads, or of none, are passed over, as the authors' reader does
    <wnid>/feature_<j>/<image>.JPEG  the mask, 8-bit gray, in the crop frame

All of it may lie below one folder more, as in the zip.
"""

from __future__ import annotations

import ast
import csv
import io
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.annotation.verdicts import Verdict
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.imagenet import id_of_path, wnids
from salient_imagenet_data.official.archive import TABLE_LIMIT, TABLES, Archive
from salient_imagenet_data.official.zip_index import Member

CLASSES_TABLE, NAMES_TABLE = TABLES
MASK_SUFFIX = ".JPEG"
CLASSES_LIMIT = 100_000
FEATURES_LIMIT = 256
"""Features of a class at most; the release has 5."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?")


@dataclass(frozen=True)
class Plan:
    """Rows and columns of the store to be.

    root: folder of the release in the archive, "" or ending in a slash. class_names: by class index; ImageNet's
    thousand where the release's are among them. features: by class index, the feature index of each of the K slots,
    -1 for none. names: (N,) image names, by class and name. labels: (N,) int32. places: (N, K) int64, where in the
    archive's index the mask is, -1 where the image is not listed for the feature. absent: classes that
    wordnet_dict.py names and that have no folder. others: columns of the lists that are of no feature. left_out: names
    of classes that were not wanted, and masks_left_out: how many masks are listed for them.
    """

    root: str
    class_names: tuple[str, ...]
    features: dict[int, tuple[int, ...]]
    names: tuple[str, ...]
    labels: NDArray[np.int32]
    places: NDArray[np.int64]
    absent: int
    others: int
    left_out: tuple[str, ...] = ()
    masks_left_out: int = 0

    def mask_path(self, row: int, slot: int) -> str:
        """Name in the archive of a mask."""
        label = int(self.labels[row])
        return _mask_path(f"{self.root}{self.class_names[label]}", self.features[label][slot], self.names[row])

    def image_id(self, row: int) -> str:
        """The id that image sources give the image: ImageNet's bare name, else class and name."""
        return id_of_path(f"{self.class_names[self.labels[row]]}/{self.names[row]}{MASK_SUFFIX}")


def make_plan(
    archive: Archive,
    verdicts: Iterable[Verdict] = (),
    feature_count: int = 2048,
    wanted: Collection[str] | None = None,
) -> Plan:
    """Read the tables and find every mask that they list. wanted: names of the classes to take; None: all.

    The features of a class stand in the order of the verdicts' ranks; those without a verdict, or all if there are
    none, fill what is left by feature index. Raises SalientError for tables that cannot be, and for masks that are
    listed and not there.
    """
    root, classes = _classes(archive)
    ranks: dict[int, dict[int, int]] = {}
    for verdict in verdicts:
        ranks.setdefault(verdict.class_index, {})[verdict.feature_index] = verdict.feature_rank
    class_names = _class_names(classes, f"{archive.path}: {root}{CLASSES_TABLE}")
    folders = {f.removeprefix(root).split("/")[0] for f in archive.folders if f.startswith(root)}
    present = {label: name for label, name in sorted(classes.items()) if name in folders}
    features: dict[int, tuple[int, ...]] = {}
    names: list[str] = []
    labels: list[int] = []
    others = masks_left_out = 0
    left_out = [name for name in present.values() if wanted is not None and name not in wanted]
    if left_out and len(left_out) == len(present):
        raise SalientError(
            f"{archive.path}: none of its classes is among the images'",
            expected=f"classes such as {', '.join(left_out[:3])}",
            then="give --images of some of these classes",
        )
    parts: list[NDArray[np.int64]] = []
    for label, name in present.items():
        columns, passed_over = _read_columns(archive, f"{root}{name}", feature_count)
        if name in left_out:
            masks_left_out += sum(map(len, columns.values()))
            continue
        others += len(passed_over)
        features[label] = order_features(sorted(columns), ranks.get(label, {}))
        mine = sorted({image for column in columns.values() for image in column})
        names += mine
        labels += [label] * len(mine)
        parts.append(_find_masks(archive, f"{root}{name}", mine, columns, features[label]))
    if not parts:
        raise SalientError(f"{archive.path}: no class folder", expected=f"folders such as {class_names[0]}")
    slots = max(part.shape[1] for part in parts)
    if slots > FEATURES_LIMIT:
        raise SalientError(f"{archive.path}: {slots} features of one class", expected=f"at most {FEATURES_LIMIT}")
    places = np.concatenate([np.pad(p, ((0, 0), (0, slots - p.shape[1])), constant_values=-1) for p in parts])
    absent = len(classes) - len(present)
    found = features, tuple(names), np.array(labels, dtype=np.int32), places
    plan = Plan(root, class_names, *found, absent, others, tuple(left_out), masks_left_out)
    _check_listed(archive, plan)
    return plan


def read_classes(text: str, place: str) -> dict[int, str]:
    """The classes of wordnet_dict.py. Only a literal is read; nothing is run. Raises SalientError for any other."""
    try:
        found = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise SalientError(
            f"{place}: not a Python literal", expected="{class index: wnid, ...}", got=type(error).__name__
        ) from error
    if not isinstance(found, dict) or not 0 < len(found) <= CLASSES_LIMIT:
        raise SalientError(f"{place}: not a table of classes", expected=f"1 to {CLASSES_LIMIT} of {{index: wnid}}")
    for index, name in found.items():
        if type(index) is not int or not 0 <= index < CLASSES_LIMIT:
            raise SalientError(
                f"{place}: class index out of range", expected=f"0 to {CLASSES_LIMIT - 1}", got=f"{index!r:.50}"
            )
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise SalientError(f"{place}: not a class name", expected="letters, digits, _ - .", got=f"{name!r:.50}")
    if len(set(found.values())) < len(found):
        raise SalientError(f"{place}: two classes of one name", expected="every wnid once")
    return found


def read_names(data: bytes, place: str, feature_count: int) -> tuple[dict[int, tuple[str, ...]], tuple[str, ...]]:
    """image_names_map.csv: the image names of each feature index, and the heads of the columns that are passed over,
    which are of no number: an index that pandas wrote without a head, a text. Blank cells end a column that is shorter.

    Raises SalientError for a number that is no feature's, and for what is in the features' columns and is no name.
    """
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise SalientError(f"{place}: not a CSV file", got=str(error)) from error
    header = rows[0] if rows else []
    columns: dict[int, list[str]] = {}
    column_of: dict[int, int] = {}
    for position, text in enumerate(cell.strip() for cell in header):
        if not _NUMBER.fullmatch(text):
            continue
        index = int(text) if text.isdigit() and len(text) < 10 else -1
        if not 0 <= index < feature_count or index in columns:
            raise SalientError(
                f"{place}: column heads are feature indices",
                expected=f"different numbers from 0 to {feature_count - 1}",
                got=f"{text!r:.50}",
            )
        columns[index], column_of[position] = [], index
    if header and not columns:
        raise SalientError(
            f"{place}: no column of a feature",
            expected=f"column heads that are numbers from 0 to {feature_count - 1}",
            got=f"{', '.join(header)!r:.50}",
        )
    for number, row in enumerate(rows[1:], start=2):
        if len(row) > len(header):
            raise SalientError(f"{place}, line {number}: too many cells", expected=str(len(header)), got=str(len(row)))
        for position, index in column_of.items():
            name = row[position].strip() if position < len(row) else ""
            if name and not _NAME.fullmatch(name):
                raise SalientError(f"{place}, line {number}: not an image name", got=f"{name!r:.50}")
            if name:
                columns[index].append(name)
    if not any(columns.values()):
        raise SalientError(f"{place}: no images", expected="a column of image names for each feature")
    for index, names in columns.items():
        if len(set(names)) < len(names):
            twice = next(n for n in names if names.count(n) > 1)
            raise SalientError(f"{place}: {twice} twice for feature {index}", expected="every image once a feature")
    others = tuple(head for position, head in enumerate(header) if position not in column_of)
    return {index: tuple(names) for index, names in columns.items()}, others


def order_features(features: list[int], ranks: dict[int, int]) -> tuple[int, ...]:
    """Feature indices by slot, -1 for none: a ranked one at its rank, the others in the free slots in their order."""
    by_slot = {ranks[f] - 1: f for f in features if 0 < ranks.get(f, 0) <= FEATURES_LIMIT}
    rest = iter(f for f in features if f not in by_slot.values())
    result: list[int] = []
    while len(result) < max([len(features), *(slot + 1 for slot in by_slot)]):
        slot = len(result)
        result.append(by_slot[slot] if slot in by_slot else next(rest, -1))
    return tuple(result)


def _classes(archive: Archive) -> tuple[str, dict[int, str]]:
    found = [m for m in archive.tables.values() if m.path.rpartition("/")[2] == CLASSES_TABLE]
    if len(found) != 1:
        raise SalientError(
            f"{archive.path}: not the release's layout",
            expected=f"one {CLASSES_TABLE}",
            got=", ".join(m.path for m in found[:5]) or "none",
        )
    root = found[0].path.removesuffix(CLASSES_TABLE)
    place = f"{archive.path}: {found[0].path}"
    try:
        text = _read(archive, found[0]).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SalientError(f"{place}: not a Python literal", got=str(error)) from error
    return root, read_classes(text, place)


def _class_names(classes: dict[int, str], place: str) -> tuple[str, ...]:
    """ImageNet's thousand if all of these are among them under their own index, else the names from 0 on."""
    if all(index < len(wnids()) and wnids()[index] == name for index, name in classes.items()):
        return wnids()
    if sorted(classes) != list(range(len(classes))):
        gap = next(i for i in range(len(classes)) if i not in classes)
        raise SalientError(
            f"{place}: class indices with gaps, and not ImageNet's",
            expected="0 to the number of classes less 1, or ImageNet's index for its wnid",
            got=f"none for {gap}",
        )
    return tuple(classes[index] for index in range(len(classes)))


def _read_columns(
    archive: Archive, folder: str, feature_count: int
) -> tuple[dict[int, tuple[str, ...]], tuple[str, ...]]:
    table = archive.tables.get(f"{folder}/{NAMES_TABLE}")
    if table is None:
        raise SalientError(f"{archive.path}: no {folder}/{NAMES_TABLE}", expected="one in every class's folder")
    return read_names(_read(archive, table), f"{archive.path}: {table.path}", feature_count)


def _find_masks(
    archive: Archive, folder: str, names: list[str], columns: dict[int, tuple[str, ...]], features: tuple[int, ...]
) -> NDArray[np.int64]:
    """(len(names), len(features)) places in the index; -1 not listed, -2 listed and not there."""
    row_of = {name: row for row, name in enumerate(names)}
    places = np.full((len(names), len(features)), -1, dtype=np.int64)
    for slot, feature in enumerate(features):
        listed = columns.get(feature, ())
        found = archive.index.find([_mask_path(folder, feature, name) for name in listed])
        places[[row_of[name] for name in listed], slot] = np.where(found < 0, -2, found)
    return places


def _check_listed(archive: Archive, plan: Plan) -> None:
    missing = np.argwhere(plan.places == -2)
    if len(missing):
        first = ", ".join(plan.mask_path(int(row), int(slot)) for row, slot in missing[:5])
        raise SalientError(
            f"{archive.path}: {len(missing)} masks are listed and not there",
            expected=f"files such as {first}",
            then="is it all of the release?",
        )
    names: dict[str, int] = {}
    for row in range(len(plan.names)):
        other = names.setdefault(plan.image_id(row), row)
        if other != row:
            raise SalientError(
                f"{archive.path}: image {plan.names[row]} is listed for two classes",
                got=" and ".join(plan.class_names[plan.labels[r]] for r in (other, row)),
            )


def _read(archive: Archive, member: Member) -> bytes:
    return archive.reader.read(member, TABLE_LIMIT)


def _mask_path(folder: str, feature: int, name: str) -> str:
    return f"{folder}/feature_{feature}/{name}{MASK_SUFFIX}"
