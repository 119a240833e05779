"""Where people say that the object is: boxes or masks of images, read from the formats they come in.

- a CSV `image,left,top,right,bottom` with an optional `class`: one box a row, in pixels of the image or, where no
  number of the file is above 1, as fractions of its width and height
- Kaggle's `LOC_*_solution.csv`: `ImageId,PredictionString`, the string being groups of `wnid left top right bottom` in
  pixels
- ImageNet's XML files, one an image, in a folder and its sub-folders
- COCO's JSON: `images`, `annotations` with `bbox` (left, top, width, height in pixels), `categories`

The last two say how large the image was, so their boxes also fit a copy of another size.
A folder of mask PNGs, named as the images are, is read too: not 0 where the object is.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import CropBox, Preprocessing
from salient_imagenet_data.imagenet import id_of_path, wnid_of_words
from salient_imagenet_data.images.decoding import decode_picture
from salient_imagenet_data.spreadsheets.reading import decoded, rows_of

MOST_BYTES = 1 << 30
"""Of a CSV or JSON file; an XML file of one image is far smaller."""
MOST_XML_BYTES = 1 << 20


@dataclass(frozen=True)
class Box:
    """left, top, right, bottom: in pixels of the image, or as fractions of it (`Truth.fractions`).

    class_name: of what is in it, or "" where the file does not say.
    """

    left: float
    top: float
    right: float
    bottom: float
    class_name: str = ""

    def of(self, class_name: str) -> bool:
        """Whether it may be of a class: the file does not say of which, or says it by the same name or ImageNet's
        words for the same wnid."""
        return not self.class_name or wnid_of_words(self.class_name) == wnid_of_words(class_name)


@dataclass(frozen=True)
class Truth:
    """boxes: by image id. fractions: their numbers are shares of width and height. masks: files of masks by image id,
    of which an image with both has only the mask looked at.
    """

    boxes: Mapping[str, tuple[Box, ...]]
    fractions: bool
    masks: Mapping[str, Path]

    def __contains__(self, image_id: str) -> bool:
        return image_id in self.boxes or image_id in self.masks

    def names(self, image_id: str, class_name: str) -> bool:
        """Whether an image has a mask, or any box that may be of the class."""
        return image_id in self.masks or any(box.of(class_name) for box in self.boxes[image_id])

    def __len__(self) -> int:
        return len(self.boxes) or len(self.masks)

    def region(
        self, image_id: str, class_name: str, size: tuple[int, int], preprocessing: Preprocessing
    ) -> NDArray[np.bool_]:
        """(crop, crop) bool in the crop frame: pixels whose centre lies in a box of the class (a box without a class
        counts), or in the mask. size: width and height of the original image."""
        if image_id in self.masks:
            return _mask_region(self.masks[image_id], image_id, size, preprocessing)
        width, height = size
        scale = (width, height) if self.fractions else (1, 1)
        if not self.fractions:
            self._check_inside(image_id, size)
        crop = preprocessing.crop_box(width, height)
        region = np.zeros((preprocessing.crop, preprocessing.crop), dtype=np.bool_)
        for box in self.boxes[image_id]:
            if box.of(class_name):
                region |= _box_region(box, scale, crop, preprocessing.crop)
        return region

    def _check_inside(self, image_id: str, size: tuple[int, int]) -> None:
        for box in self.boxes[image_id]:
            if box.right > size[0] + 1 or box.bottom > size[1] + 1:
                raise SalientError(
                    f"{image_id}: a box lies outside the image",
                    expected=f"at most {size[0]} x {size[1]} pixels",
                    got=f"{box.right:g}, {box.bottom:g}",
                    then="are the boxes of a larger copy? Give them as fractions",
                )


def read_truth(path: Path) -> Truth:
    """Boxes or masks of a file or folder of one of the formats. Raises SalientError, naming the file, for any other."""
    if path.is_dir():
        xml, png = sorted(path.rglob("*.xml")), sorted(path.rglob("*.png"))
        if xml:
            return _checked(path, _boxes_of(box for file in xml for box in _read_xml(file)), fractions=True)
        if png:
            masks = {id_of_path(file.relative_to(path).as_posix()): file for file in png}
            return Truth({}, False, masks)
        raise SalientError(f"{path}: no boxes", expected="XML files of ImageNet, or mask PNGs", got="neither")
    if not path.is_file():
        raise SalientError(f"{path}: no such file", expected="a CSV or JSON of boxes, or a folder of XML or PNG files")
    if path.stat().st_size > MOST_BYTES:
        raise SalientError(f"{path}: too large", expected=f"at most {MOST_BYTES >> 20} MiB of boxes")
    text = decoded(path.read_bytes(), "replace")
    if path.suffix.lower() == ".json":
        return _checked(path, _boxes_of(_coco(text, path)), fractions=True)
    rows = list(rows_of(text))
    columns = set(rows[0]) if rows else set()
    if {"ImageId", "PredictionString"} <= columns:
        return _checked(path, _boxes_of(_kaggle(rows, path)), fractions=False)
    if {"image", "left", "top", "right", "bottom"} <= columns:
        boxes = _boxes_of(_plain(rows, path))
        fractions = all(max(b.right, b.bottom) <= 1.0 for some in boxes.values() for b in some)
        return _checked(path, boxes, fractions=fractions)
    raise SalientError(
        f"{path}: columns of no known layout",
        expected="image, left, top, right, bottom (and class), or Kaggle's ImageId, PredictionString",
        got=", ".join(map(str, columns)) or "no rows",
    )


def _checked(path: Path, boxes: dict[str, tuple[Box, ...]], *, fractions: bool) -> Truth:
    if not boxes:
        raise SalientError(f"{path}: no boxes", expected="at least one")
    for image_id, some in boxes.items():
        for box in some:
            numbers = (box.left, box.top, box.right, box.bottom)
            if not all(map(math.isfinite, numbers)) or box.right < box.left or box.bottom < box.top:
                raise SalientError(
                    f"{path}: a box of {image_id} cannot be",
                    expected="left <= right and top <= bottom",
                    got=str(numbers),
                )
    return Truth(boxes, fractions, {})


def _boxes_of(found: Iterable[tuple[str, Box]]) -> dict[str, tuple[Box, ...]]:
    boxes: defaultdict[str, list[Box]] = defaultdict(list)
    for image_id, box in found:
        boxes[image_id].append(box)
    return {image_id: tuple(some) for image_id, some in boxes.items()}


def _plain(rows: list[dict[str, str]], path: Path) -> Iterable[tuple[str, Box]]:
    for number, row in enumerate(rows, start=1):
        if not any(row.values()):  # of a spreadsheet that was longer before
            continue
        try:
            left, top, right, bottom = (float(row[side]) for side in ("left", "top", "right", "bottom"))
        except (TypeError, ValueError) as error:
            raise SalientError(f"{path}, row {number}: not a box", expected="four numbers", got=str(error)) from error
        yield image_id_of(row["image"]), Box(left, top, right, bottom, (row.get("class") or "").strip())


def _kaggle(rows: list[dict[str, str]], path: Path) -> Iterable[tuple[str, Box]]:
    for number, row in enumerate(rows, start=1):
        words = (row["PredictionString"] or "").split()
        try:
            for start in range(0, len(words), 5):
                left, top, right, bottom = map(float, words[start + 1 : start + 5])
                yield image_id_of(row["ImageId"]), Box(left, top, right, bottom, words[start])
        except ValueError as error:
            raise SalientError(
                f"{path}, row {number}: not Kaggle's boxes",
                expected="groups of a wnid and four numbers",
                got=repr(row["PredictionString"])[:80],
            ) from error


def _read_xml(file: Path) -> Iterable[tuple[str, Box]]:
    if file.stat().st_size > MOST_XML_BYTES:
        raise SalientError(f"{file}: too large for the boxes of one image", expected=f"{MOST_XML_BYTES >> 10} KiB")
    try:
        root = ElementTree.fromstring(file.read_bytes())
        width, height = (float(root.findtext(f"size/{side}", "")) for side in ("width", "height"))
        for found in root.iter("object"):
            box = found.find("bndbox")
            if box is None:
                raise ValueError("an object without bndbox")
            corners = (("xmin", width), ("ymin", height), ("xmax", width), ("ymax", height))
            left, top, right, bottom = (float(box.findtext(name, "")) / size for name, size in corners)
            yield image_id_of(file.name), Box(left, top, right, bottom, found.findtext("name", "").strip())
    except (ElementTree.ParseError, ValueError, ZeroDivisionError) as error:
        raise SalientError(
            f"{file}: not ImageNet's boxes", expected="size, and objects with a bndbox", got=str(error)
        ) from error


def _coco(text: str, path: Path) -> Iterable[tuple[str, Box]]:
    try:
        data = json.loads(text)
        names = {c["id"]: str(c["name"]) for c in data.get("categories", [])}
        images = {
            i["id"]: (image_id_of(str(i["file_name"])), float(i["width"]), float(i["height"])) for i in data["images"]
        }
        for annotation in data["annotations"]:
            left, top, across, down = (float(v) for v in annotation["bbox"])
            image_id, width, height = images[annotation["image_id"]]
            name = names.get(annotation.get("category_id"), "")
            yield image_id, Box(left / width, top / height, (left + across) / width, (top + down) / height, name)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ZeroDivisionError) as error:
        raise SalientError(
            f"{path}: not COCO's boxes",
            expected="images, annotations with bbox, categories",
            got=f"{type(error).__name__}: {error}"[:120],
        ) from error


def image_id_of(name: str) -> str:
    """The id of an image's name or path, with or without its ending."""
    name = name.replace("\\", "/").strip()
    ending = name.rpartition(".")[2].lower()
    return id_of_path(name if ending in ("jpg", "jpeg", "png", "webp", "bmp", "xml") else f"{name}.x")


def _box_region(box: Box, scale: tuple[int, int], crop: CropBox, side: int) -> NDArray[np.bool_]:
    centres = np.arange(side) + 0.5
    x = crop.left + centres * (crop.width / side)
    y = crop.top + centres * (crop.height / side)
    across = (x >= box.left * scale[0]) & (x < box.right * scale[0])
    down = (y >= box.top * scale[1]) & (y < box.bottom * scale[1])
    region: NDArray[np.bool_] = down[:, None] & across[None, :]
    return region


def _mask_region(file: Path, image_id: str, size: tuple[int, int], preprocessing: Preprocessing) -> NDArray[np.bool_]:
    picture = decode_picture(file, image_id)
    if picture.size != size:
        raise SalientError(f"{file}: mask of another size", expected=f"{size[0]} x {size[1]}", got=str(picture.size))
    crop = preprocessing.crop_box(*size)
    inside = np.asarray(picture).max(axis=2) > 0
    centres = np.arange(preprocessing.crop) + 0.5
    columns = np.clip((crop.left + centres * crop.width / preprocessing.crop).astype(int), 0, size[0] - 1)
    rows = np.clip((crop.top + centres * crop.height / preprocessing.crop).astype(int), 0, size[1] - 1)
    region: NDArray[np.bool_] = inside[rows[:, None], columns[None, :]]
    return region
