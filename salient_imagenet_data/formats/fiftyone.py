"""FiftyOne: a folder that `fiftyone.Dataset.from_dir` reads as `fiftyone.types.FiftyOneDataset`.

metadata.json            what fields there are, and what the export was made of
samples.json             one sample an image: the user's file where it lies, its class, heat maps, valid part
fields/KIND/NNNNNN/      8-bit gray PNG files, 255 = 1, in pixels of the original image, some thousand a folder

Soft masks are heat maps (`fiftyone.Heatmap`). No image is copied: samples refer to the files where they lie.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from salient_imagenet_data.formats.about import PNG_LEVEL, About, Format, Pictures, compact, write_list
from salient_imagenet_data.formats.masked import Masked
from salient_imagenet_data.formats.unit import Unit, Written
from salient_imagenet_data.hub.png import encode_mask
from salient_imagenet_data.names import KINDS
from salient_imagenet_data.whole_file import whole_file, write_text

METADATA, SAMPLES = "metadata.json", "samples"


def _write(written: Written, images: Iterator[Masked], about: About, pictures: Pictures | None) -> None:
    unit, lines = written.unit, []
    for image in images:
        sample = _sample(image)
        for kind, mask in image.masks.items():
            path = f"fields/{kind}/{unit.index:06d}/{image.row:08d}.png"
            written.put(unit.folder / path, encode_mask(mask, PNG_LEVEL))
            sample[kind] = {"_cls": "Heatmap", "map_path": path, "range": [0, 255]}
            written.counts[f"{kind} masks"] += 1
        lines.append(compact(sample))
        written.counts["images"] += 1
    written.lines(SAMPLES, lines)


def _sample(image: Masked) -> dict[str, Any]:
    left, top, width, height = image.valid
    box = [left / image.width, top / image.height, width / image.width, height / image.height]
    return {
        "filepath": image.file,
        "tags": [],
        "metadata": {"_cls": "ImageMetadata", "width": image.width, "height": image.height},
        "image_id": image.image_id,
        "class_name": image.class_name,
        "label": {"_cls": "Classification", "label": image.class_words},
        "valid": {"_cls": "Detection", "label": "valid", "bounding_box": box},
    }


def _finish(folder: Path, units: list[Unit], about: About) -> None:
    info = {
        "data_version": about.data_version,
        "manifest_sha256": about.manifest,
        "masks": f"soft, 0 to 255, in pixels of the original image: {', '.join(KINDS)}",
        "classes": list(about.classes),
    }
    write_text(folder / METADATA, json.dumps({"info": info}, indent=2) + "\n")
    with whole_file(folder / f"{SAMPLES}.json") as file:
        file.write(b'{"samples":[')
        write_list(file, units, SAMPLES)
        file.write(b"\n]}\n")


FIFTYONE = Format("fiftyone", _write, _finish, "located")
