"""The classes of ImageNet's flat validation folder: Kaggle's answers, or the devkit's."""

from __future__ import annotations

import csv
from pathlib import Path

from salient_imagenet_data.errors import SalientError, not_installed
from salient_imagenet_data.imagenet import id_of_path, wnids
from salient_imagenet_data.images.trouble import is_trouble, said

GROUND_TRUTH, META, KAGGLE_ANSWERS = "ILSVRC2012_validation_ground_truth.txt", "meta.mat", "LOC_val_solution.csv"
VALIDATION_IMAGES = 50_000
ABOVE = 4
"""Folders above the pictures in which answers are looked for: Kaggle's lie above ILSVRC/Data/CLS-LOC/val."""


def validation_labels(folder: Path, names: list[str]) -> list[int]:
    """Class index of each validation file. Raises SalientError where there are no answers, or none for a file."""
    classes = validation_classes(folder)
    index = {wnid: label for label, wnid in enumerate(wnids())}
    known = [classes.get(id_of_path(name)) for name in names]
    unknown = next((i for i, wnid in enumerate(known) if wnid not in index), None)
    if unknown is not None:
        raise SalientError(
            f"{folder / names[unknown]}: no class known",
            expected="an answer for every validation image",
            got=str(known[unknown]),
        )
    return [index[wnid] for wnid in known if wnid is not None]


def validation_classes(folder: Path) -> dict[str, str]:
    """{image id: wnid} from Kaggle's answers, or the devkit's ground truth with its list of synsets."""
    place = folder.absolute()
    near = [place, *place.parents[:ABOVE]]
    places = [
        *near,
        *(place for parent in near for place in parent.glob("ILSVRC*devkit*/data")),
        *(p / "data" for p in near),
    ]
    for place in places:
        if (place / KAGGLE_ANSWERS).is_file():
            return _kaggle_answers(place / KAGGLE_ANSWERS)
        if (place / GROUND_TRUTH).is_file():
            return _devkit_answers(place)
    raise SalientError(
        f"{folder}: validation images without their classes",
        expected=f"class folders, or {KAGGLE_ANSWERS} or the devkit's {GROUND_TRUTH} beside or above the folder",
    )


def _kaggle_answers(path: Path) -> dict[str, str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        return {row["ImageId"]: row["PredictionString"].split()[0] for row in rows}
    except (KeyError, IndexError, AttributeError, UnicodeDecodeError, csv.Error) as error:
        raise SalientError(f"{path}: not Kaggle's answers", expected="columns ImageId and PredictionString") from error


def _devkit_answers(folder: Path) -> dict[str, str]:
    """The devkit counts its classes in an order of its own, which only meta.mat tells: not that of the wnids."""
    meta = folder / META
    if not meta.is_file():
        raise SalientError(f"{folder / GROUND_TRUTH}: numbers without names", expected=f"the devkit's {META} beside it")
    try:
        from scipy.io import loadmat
    except ModuleNotFoundError as error:
        raise not_installed("scipy", str(meta)) from error
    try:
        synsets = loadmat(meta, squeeze_me=True)["synsets"]
        names = {int(s["ILSVRC2012_ID"]): str(s["WNID"]) for s in synsets if int(s["num_children"]) == 0}
    except Exception as error:  # scipy's readers raise whatever the damaged bytes lead to
        if is_trouble(error, meta):
            raise SalientError(f"{meta}: the system cannot read it", got=said(error), then="run it again") from error
        raise SalientError(f"{meta}: damaged, or not the devkit's", got=said(error), then="unpack it again") from error
    try:
        numbers = [int(line) for line in (folder / GROUND_TRUTH).read_text(encoding="ascii").split()]
    except ValueError as error:
        raise SalientError(
            f"{folder / GROUND_TRUTH}: not the devkit's", expected=f"{VALIDATION_IMAGES} numbers", got=str(error)
        ) from error
    if len(numbers) != VALIDATION_IMAGES or not set(numbers) <= set(names):
        raise SalientError(
            f"{folder / GROUND_TRUTH}: not the devkit's",
            expected=f"{VALIDATION_IMAGES} numbers of synsets in {META}",
            got=f"{len(numbers)} lines",
        )
    return {f"ILSVRC2012_val_{i:08d}": names[number] for i, number in enumerate(numbers, start=1)}
