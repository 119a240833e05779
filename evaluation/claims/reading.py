"""Files of claims: what a method calls spurious for a class, in words, in regions of images, or both.

CSV, a row a region, or a claim in words alone:

    class,claim,words,image,left,top,right,bottom,mask

`class`: as the store calls it, or ImageNet's words. `claim`: any name that joins the rows of one claim; without it rows
of one class with the same words are one. `words`: may be empty. `image`: an image id or file name, with either a box,
in pixels of the image or, where no number of the file is above 1, as fractions, or `mask`, a PNG of the image's size,
not 0 inside, found from the folder of the CSV. Columns but `class` may be left out.

JSON: a list of `{"class": ..., "words": ..., "regions": [{"image": ..., "box": [left, top, right, bottom]} or
{"image": ..., "mask": ...}]}`, an entry a claim.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.localisation.truth import MOST_BYTES, Box, Truth, image_id_of
from salient_imagenet_data.spreadsheets.reading import decoded, rows_of

SIDES = ("left", "top", "right", "bottom")


@dataclass(frozen=True)
class Claim:
    """One thing that a method calls spurious for a class. words: "" where there are none. regions: where it is, by
    image id; empty where the method does not say."""

    class_name: str
    words: str
    regions: Truth


@dataclass(frozen=True)
class _Row:
    """A region of a claim, or a claim without one. key: joins rows. place: for messages."""

    key: tuple[str, str]
    words: str
    image_id: str
    box: Box | None
    mask: Path | None
    place: str


def read_claims(path: Path) -> tuple[Claim, ...]:
    """The claims of a CSV or JSON file, in the order of their first rows. Raises SalientError, naming file and row, for
    what cannot be one."""
    if not path.is_file():
        raise SalientError(f"{path}: no such file", expected="a CSV or JSON file of claims")
    if path.stat().st_size > MOST_BYTES:
        raise SalientError(f"{path}: too large", expected=f"at most {MOST_BYTES >> 20} MiB of claims")
    text = decoded(path.read_bytes(), "replace")
    rows = list(_of_json(text, path) if path.suffix.lower() == ".json" else _of_csv(text, path))
    if not rows:
        raise SalientError(f"{path}: no claims", expected="at least one")
    numbers = [n for r in rows if r.box for n in (r.box.left, r.box.top, r.box.right, r.box.bottom)]
    fractions = bool(numbers) and max(numbers) <= 1.0
    grouped: defaultdict[tuple[str, str], list[_Row]] = defaultdict(list)
    for row in rows:
        grouped[row.key].append(row)
    return tuple(_claim(group, fractions) for group in grouped.values())


def _claim(rows: list[_Row], fractions: bool) -> Claim:
    boxes: defaultdict[str, tuple[Box, ...]] = defaultdict(tuple)
    masks: dict[str, Path] = {}
    for row in rows:
        if row.box is not None:
            boxes[row.image_id] += (row.box,)
        if row.mask is not None and masks.setdefault(row.image_id, row.mask) != row.mask:
            raise SalientError(f"{row.place}: two masks of {row.image_id} in one claim", expected="one")
    if both := sorted(masks.keys() & boxes.keys()):
        raise SalientError(f"{rows[0].place}: a mask and boxes of {both[0]} in one claim", expected="either")
    words = " ".join(dict.fromkeys(row.words for row in rows if row.words))
    return Claim(rows[0].key[0], words, Truth(dict(boxes), fractions, masks))


def _of_csv(text: str, path: Path) -> Iterator[_Row]:
    reader = rows_of(text)
    if "class" not in (reader.fieldnames or ()):
        raise SalientError(
            f"{path}: no column class",
            expected="class, and words, or image with left, top, right, bottom or mask",
            got=", ".join(reader.fieldnames or ()) or "no header",
        )
    for number, row in enumerate(reader, start=1):
        fields = {key: (value or "").strip() for key, value in row.items() if isinstance(value, str)}
        if not any(fields.values()):  # of a spreadsheet that was longer before
            continue
        given = [fields.get(side, "") for side in SIDES]
        box = given if any(given) else None
        words, image = fields.get("words", ""), fields.get("image", "")
        key = (fields.get("class", ""), f"claim {fields['claim']}" if fields.get("claim") else f"words {words}")
        yield _row(key, words, image, box, fields.get("mask", ""), path, f"{path}, row {number}")


def _of_json(text: str, path: Path) -> Iterator[_Row]:
    try:
        claims = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SalientError(f"{path}: not JSON", got=str(error)[:120]) from error
    if not isinstance(claims, list):
        raise SalientError(f"{path}: not a list of claims", got=type(claims).__name__)
    for number, claim in enumerate(claims, start=1):
        place = f"{path}, claim {number}"
        if not isinstance(claim, Mapping) or not isinstance(claim.get("regions", []), list):
            raise SalientError(f"{place}: not a claim", expected="an object with class, words, regions")
        key, words = (_text(claim, "class", place), f"claim {number}"), _text(claim, "words", place)
        regions = claim.get("regions", [])
        if not regions:
            yield _row(key, words, "", None, "", path, place)
        for region in regions:
            if not isinstance(region, Mapping):
                raise SalientError(f"{place}: not a region", expected="an object with image, and box or mask")
            image, mask = _text(region, "image", place), _text(region, "mask", place)
            box = region.get("box")
            if box is not None and not (isinstance(box, list) and len(box) == 4):
                raise SalientError(f"{place}: not a box", expected="left, top, right, bottom", got=repr(box)[:80])
            yield _row(key, words, image, box, mask, path, place)


def _text(fields: Mapping[str, Any], name: str, place: str) -> str:
    value = fields.get(name, "")
    if not isinstance(value, str):
        raise SalientError(f"{place}: {name}", expected="text", got=repr(value)[:80])
    return value.strip()


def _row(
    key: tuple[str, str], words: str, image: str, given: list[Any] | None, mask: str, path: Path, place: str
) -> _Row:
    if not key[0]:
        raise SalientError(f"{place}: a claim about no class", expected="the name of a class")
    if image and (given is None) == (not mask):
        raise SalientError(
            f"{place}: a region of {image}", expected="a box or a mask", got="both" if mask else "neither"
        )
    if not image and (given is not None or mask):
        raise SalientError(f"{place}: a region of no image", expected="the id of an image")
    if not image and not words:
        raise SalientError(f"{place}: a claim of nothing", expected="words, or a region of an image")
    file = path.parent / mask if mask else None
    if file is not None and not file.is_file():
        raise SalientError(f"{place}: no such mask", got=str(file))
    box = None if given is None else _box(given, place)
    return _Row(key, words, image_id_of(image) if image else "", box, file, place)


def _box(given: list[Any], place: str) -> Box:
    try:
        left, top, right, bottom = (float(number) for number in given)
        if not all(map(math.isfinite, (left, top, right, bottom))) or right < left or bottom < top:
            raise ValueError(f"{left:g}, {top:g}, {right:g}, {bottom:g}")
    except (TypeError, ValueError) as error:
        raise SalientError(
            f"{place}: not a box", expected="left <= right and top <= bottom, four numbers", got=str(error)
        ) from error
    return Box(left, top, right, bottom)
