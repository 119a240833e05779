"""Contact sheets of (class, feature) pairs: what a person looks at to call a feature core or spurious."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from salient_imagenet_data.annotation.answers import COLUMNS
from salient_imagenet_data.geometry import to_crop_frame
from salient_imagenet_data.imagenet import display_names
from salient_imagenet_data.images.source import ImageSource
from salient_imagenet_data.joining import Joined, join
from salient_imagenet_data.masks import dequantise
from salient_imagenet_data.names import BACKGROUND, MAIN_OBJECT, SEPARATE_OBJECT
from salient_imagenet_data.pictures.heat import heatmap
from salient_imagenet_data.progress import progress
from salient_imagenet_data.store.reading import Store

Attack = Callable[[list[NDArray[np.uint8]], list[int]], list[NDArray[np.uint8]]]
"""Crops (S, S, 3) uint8 and a feature index for each -> crops that show these features more."""
QUESTION = f"Red: where the feature is seen. Is that the {MAIN_OBJECT}, a {SEPARATE_OBJECT} or the {BACKGROUND}?"
"""What the person who fills in `answers.csv` is asked, on every sheet."""


def top_rows(store: Store, class_index: int, slot: int, count: int = 5) -> NDArray[np.int64]:
    """Store rows of a class with the highest activation of its feature of rank slot + 1; ties go by row."""
    rows = np.flatnonzero(store.rows.labels == class_index)
    order = np.argsort(-store.activations[rows, slot], kind="stable")[:count]
    return rows[order]


def write_sheets(
    store: Store,
    source: ImageSource,
    out: Path,
    *,
    images: int = 5,
    pixels: int = 128,
    attack: Attack | None = None,
) -> list[Path]:
    """One PNG a class: a row of images and a row of their heatmaps for each feature, most important first.

    attack: draws a third row, such as the feature attacks of the store's network (`builder.feature_attack.attacker`).
    Writes `answers.csv` too, with one empty answer a pair, to fill in. Returns the PNG paths.
    """
    out.mkdir(parents=True, exist_ok=True)
    joined = join(store, source)
    by_class: dict[int, list[dict[str, Any]]] = {}
    for row in store.features:
        by_class.setdefault(row["class_index"], []).append(row)
    paths = []
    for class_index, rows in progress(by_class.items(), total=len(by_class), what="sheets", unit="class"):
        path = out / f"{class_index:04d}-{_plain(store.class_names[class_index])}.png"
        _class_sheet(joined, class_index, rows, images, pixels, attack).save(path)
        paths.append(path)
    with (out / "answers.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in store.features:
            writer.writerow(["", row["class_name"], row["class_index"], row["feature_index"], row["rank"], "", "", ""])
    return paths


def _class_sheet(
    joined: Joined,
    class_index: int,
    rows: list[dict[str, Any]],
    images: int,
    pixels: int,
    attack: Attack | None,
) -> Image.Image:
    store, header = joined.store, 16
    height = (2 if attack is None else 3) * pixels + header
    sheet = Image.new("RGB", (images * pixels, header + len(rows) * height), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((4, 2), QUESTION, fill="black")
    chosen = [top_rows(store, class_index, row["rank"] - 1, images).tolist() for row in rows]
    crops = [[joined.crop(item) for item in items] for items in chosen]
    changed: Iterator[NDArray[np.uint8]] = iter(())
    if attack is not None:  # of all features of the class at once, which a device does faster
        features = [row["feature_index"] for row, items in zip(rows, chosen, strict=True) for _ in items]
        changed = iter(attack([crop for some in crops for crop in some], features))
    for line, row in enumerate(rows):
        name = display_names(store.class_names)[class_index]
        text = f"{name}  rank {row['rank']}  feature {row['feature_index']}"
        top = header + line * height
        draw.text((4, top + 2), text + (f"  {row['kind']}" if row["kind"] else ""), fill="black")
        maps = [dequantise(store.maps[item, row["rank"] - 1]) for item in chosen[line]]
        tops = crops[line]
        tiles = [tops, [heatmap(c, to_crop_frame(m, *c.shape[:2])) for c, m in zip(tops, maps, strict=True)]]
        if attack is not None:
            tiles.append(list(itertools.islice(changed, len(tops))))
        for band, band_tiles in enumerate(tiles):
            for column, tile in enumerate(band_tiles):
                big = Image.fromarray(tile).resize((pixels, pixels), Image.Resampling.BICUBIC)
                sheet.paste(big, (column * pixels, top + header + band * pixels))
    return sheet


def _plain(name: str) -> str:
    """A class name that is safe in a file name."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)[:60]
