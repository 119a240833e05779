"""COCO JSON: `annotations.json` with a region a mask, run-length encoded.

An annotation's `score` is the mean of the soft mask over its region; `valid` of an image is what the maps cover of it.
Format: https://cocodataset.org/#format-data, and pycocotools' mask API for `counts`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from salient_imagenet_data.formats.about import About, Format, Pictures, compact, write_list
from salient_imagenet_data.formats.masked import Masked
from salient_imagenet_data.formats.rle import coco_counts
from salient_imagenet_data.formats.unit import Unit, Written
from salient_imagenet_data.names import KINDS
from salient_imagenet_data.whole_file import whole_file

FILE = "annotations.json"
IMAGES, ANNOTATIONS = "images", "annotations"


def _write(written: Written, images: Iterator[Masked], about: About, pictures: Pictures | None) -> None:
    records, annotations = [], []
    for image in images:
        records.append(compact(_image(image)))
        written.counts["images"] += 1
        for number, kind in enumerate(KINDS, start=1):
            if kind not in image.masks:
                continue
            mask = image.masks[kind]
            inside = about.inside(mask)
            if not inside.any():
                written.counts[f"{kind} masks left out, below the threshold everywhere"] += 1
                continue
            rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
            left, top = int(columns[0]), int(rows[0])
            annotation = {
                "id": 2 * image.row + number,
                "image_id": image.row + 1,
                "category_id": number,
                "segmentation": {"size": [image.height, image.width], "counts": coco_counts(inside)},
                "area": int(inside.sum()),
                "bbox": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
                "iscrowd": 0,
                "score": round(float(mask[inside].mean()) / 255.0, 4),
            }
            annotations.append(compact(annotation))
            written.counts[f"{kind} masks"] += 1
    written.lines(IMAGES, records)
    written.lines(ANNOTATIONS, annotations)


def _image(image: Masked) -> dict[str, Any]:
    return {
        "id": image.row + 1,
        "file_name": image.file or image.image_id,
        "width": image.width,
        "height": image.height,
        "image_id": image.image_id,
        "label": image.label,
        "class_name": image.class_name,
        "class_words": image.class_words,
        "valid": list(image.valid),
    }


def _finish(folder: Path, units: list[Unit], about: About) -> None:
    head = {
        "description": "Core and spurious masks of a Salient ImageNet store, in pixels of the original images",
        "version": about.data_version,
        "manifest_sha256": about.manifest,
        "threshold": about.threshold,
    }
    categories = [{"id": n, "name": kind, "supercategory": "salient"} for n, kind in enumerate(KINDS, start=1)]
    with whole_file(folder / FILE) as file:
        file.write(f'{{"info":{compact(head)},"licenses":[],"categories":{compact(categories)}'.encode())
        for name in (IMAGES, ANNOTATIONS):
            file.write(f',\n"{name}":['.encode())
            write_list(file, units, name)
            file.write(b"\n]")
        file.write(b"}\n")


COCO = Format("coco", _write, _finish, "named, if given", thresholded=True)
