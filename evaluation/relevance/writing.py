"""What was found, in a folder: a page with its pictures, a JSON, a table of agreement, and the maps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.relevance.picture import sheet
from salient_imagenet_data.evaluation.relevance.records import OfClass, Relevance
from salient_imagenet_data.evaluation.relevance.table import JSON, TABLE, table_of
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.joining import Images
from salient_imagenet_data.pictures.page import check_page, render
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.whole_file import whole_file, write_text

ROOM = "salient_imagenet_data.evaluation.relevance"
PAGE, PICTURES, MAPS = "index.html", "pictures", "maps"


def check_folder(folder: Path) -> None:
    """Before the work is done: raises SalientError where a file that we did not make would be replaced."""
    check_page(folder / PAGE)
    strange = [folder / name for name in (JSON, TABLE, PICTURES, MAPS) if (folder / name).exists()]
    if strange and not (folder / PAGE).exists():
        raise SalientError(f"{strange[0]}: exists, and no page of this command beside it", then="give another --out")


def write(found: Relevance, folder: Path, store: Store, images: Images, preprocessing: Preprocessing) -> Path:
    """Write index.html with pictures/NNNN.png, relevance.json, agreement.csv, and maps/NNNN.npz for each class by its
    number; returns the page's path. Each file is there whole or not at all. Maps and pictures that an earlier run wrote
    there and this one does not are removed. Raises as `check_folder` does."""
    check_folder(folder)
    before = _written_in(folder)
    for name in (PICTURES, MAPS):
        (folder / name).mkdir(parents=True, exist_ok=True)
    pictures = {}
    for one in found.classes:
        with whole_file(folder / MAPS / f"{one.label:04d}.npz") as file:
            np.savez_compressed(file, allow_pickle=False, **_arrays(one))
        picture = sheet(one, store, images, preprocessing)
        if picture is not None:
            pictures[one.label] = f"{PICTURES}/{one.label:04d}.png"
            with whole_file(folder / pictures[one.label]) as file:
                picture.save(file, format="PNG", optimize=True)
    write_text(folder / JSON, json.dumps(found.to_json(), indent=1, allow_nan=False) + "\n")
    write_text(folder / TABLE, table_of((f, one.agreements[f.slot]) for one in found.classes for f in one.ranked))
    write_text(folder / PAGE, render(ROOM, "relevance.html", found=found, pictures=pictures))
    for name in before - {f"{MAPS}/{one.label:04d}.npz" for one in found.classes} - set(pictures.values()):
        (folder / name).unlink(missing_ok=True)
    return folder / PAGE


def _written_in(folder: Path) -> set[str]:
    """Maps and pictures of an earlier run, by its relevance.json and the pictures that its page shows."""
    if not (folder / JSON).exists():
        return set()
    page = (folder / PAGE).read_text(encoding="utf-8")
    labels = [one["class_index"] for one in json.loads((folder / JSON).read_text(encoding="utf-8"))["classes"]]
    shown = {name for label in labels if (name := f"{PICTURES}/{label:04d}.png") in page}
    return {f"{MAPS}/{label:04d}.npz" for label in labels} | shown


def _arrays(one: OfClass) -> dict[str, Any]:
    """By name, N images long: as in `Measured`, and which cluster each image is in, -1 where none were looked for."""
    labels = np.full(len(one.rows), -1) if one.clustering is None else one.clustering.labels
    return {
        "image_ids": np.array(one.image_ids),
        "maps": one.measured.maps,
        "units": one.measured.units,
        "own": one.measured.own,
        "features": np.array([f.feature_index for f in one.ranked], dtype=np.int64),
        "clusters": labels.astype(np.int64),
    }
