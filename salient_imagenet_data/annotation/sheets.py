"""Contact sheets of (class, feature) pairs: what a person looks at to call a feature core or spurious."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from salient_imagenet_data.annotation.answers import COLUMNS
from salient_imagenet_data.errors import SalientError, some
from salient_imagenet_data.geometry import to_crop_frame
from salient_imagenet_data.imagenet import display_name, display_names
from salient_imagenet_data.images.source import ImageSource
from salient_imagenet_data.joining import Joined, join
from salient_imagenet_data.masks import dequantise
from salient_imagenet_data.names import BACKGROUND, MAIN_OBJECT, SEPARATE_OBJECT
from salient_imagenet_data.pictures.overlay import NEUTRAL, tint
from salient_imagenet_data.pictures.tiles import GAP, LINE, row, write
from salient_imagenet_data.progress import progress
from salient_imagenet_data.store.features import Feature
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.whole_file import UNFINISHED, whole_file, write_text

Attack = Callable[[list[NDArray[np.uint8]], list[int]], list[NDArray[np.uint8]]]
"""Crops (S, S, 3) uint8 and a feature index for each -> crops that show these features more."""
QUESTION = f"Purple: where the feature is seen. Is that the {MAIN_OBJECT}, a {SEPARATE_OBJECT} or the {BACKGROUND}?"
"""What the person who fills in `answers.csv` is asked, on every sheet."""
HEAD = 2 * LINE + 8
"""Pixels above the first feature."""


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
    pixels: int = 224,
    attack: Attack | None = None,
    order: dict[tuple[int, int], str] | None = None,
) -> list[Path]:
    """One PNG a class: for each feature, most important first, the photographs of the class that show it most, and
    below each the same with the feature's map laid over it.

    attack: draws a third row, such as the feature attacks of the store's network (`builder.feature_attack.attacker`).
    order: (class index, feature index) of every feature in the order in which they shall be looked at, with words to
    stand beside each: sheets are numbered by their first feature, and answers.csv has that order.
    Writes `answers.csv` last, with one empty answer a pair, to fill in. Returns the PNG paths. Raises SalientError
    where `out` holds anything but sheets of these names without it, as a run that was stopped leaves them: answers that
    somebody filled in are never overwritten.
    """
    listed, words = list(store.features), order or {}
    if order is not None:
        place = {pair: number for number, pair in enumerate(order)}
        listed.sort(key=lambda f: place[f.class_index, f.feature_index])
    by_class: dict[int, list[Feature]] = {}
    for feature in listed:
        by_class.setdefault(feature.class_index, []).append(feature)
    paths = {}
    for number, class_index in enumerate(by_class):
        first = "" if order is None else f"{number:04d}-"
        paths[class_index] = (
            out / f"{first}{class_index:04d}-{_plain(display_name(store.class_names[class_index]))}.png"
        )
    _check_place(out, {path.name for path in paths.values()})
    out.mkdir(parents=True, exist_ok=True)
    joined = join(store, source)
    for class_index, features in progress(by_class.items(), total=len(by_class), what="sheets", unit="class"):
        with whole_file(paths[class_index]) as file:
            sheet = _class_sheet(joined, class_index, features, images, pixels, attack, words)
            sheet.save(file, format="PNG", compress_level=4)  # 3 % larger than with the usual 6, in 2/5 of the time
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    for f in listed:
        writer.writerow(["", f.class_name, f.class_index, f.feature_index, f.rank, "", "", ""])
    write_text(out / "answers.csv", table.getvalue())
    return list(paths.values())


def _check_place(out: Path, sheets: set[str]) -> None:
    there = {path.name.removesuffix(UNFINISHED) for path in out.iterdir()} if out.is_dir() else set()
    if there - sheets:
        raise SalientError(
            f"{out}: exists",
            expected="a new folder, or one with nothing but sheets of a stopped run",
            got=some(sorted(there - sheets)),
            then="filled-in answers are never overwritten",
        )


def _class_sheet(
    joined: Joined,
    class_index: int,
    features: list[Feature],
    images: int,
    pixels: int,
    attack: Attack | None,
    said: dict[tuple[int, int], str],
) -> Image.Image:
    store, bands = joined.store, 2 if attack is None else 3
    height, across = LINE + bands * (pixels + GAP), images * (pixels + GAP) - GAP
    sheet = Image.new("RGB", (across, HEAD + len(features) * height), "white")
    draw = ImageDraw.Draw(sheet)
    name = display_names(store.class_names)[class_index]
    write(draw, (4, 4), name, across, bold=True)
    write(draw, (4, 4 + LINE), QUESTION, across)
    chosen = [top_rows(store, class_index, feature.slot, images).tolist() for feature in features]
    changed: Iterator[NDArray[np.uint8]] = iter(())
    if attack is not None:  # of all features of the class at once, which a device does faster
        crops = [joined.crop(item) for items in chosen for item in items]
        shown = [feature.feature_index for feature, items in zip(features, chosen, strict=True) for _ in items]
        changed = iter(attack(crops, shown))
    for line, feature in enumerate(features):
        top = HEAD + line * height
        words = f"rank {feature.rank}, feature {feature.feature_index}"
        words += f", {store.basis.words(feature.feature_index)}" if store.basis else ""
        words += f": {feature.kind}" if feature.kind else ""
        words += f" ({feature.name})" if feature.name is not None else ""
        if more := said.get((class_index, feature.feature_index)):
            words += f"; {more}"
        write(draw, (4, top + 2), words, across, bold=True)
        photographs = [seen(joined, item, pixels) for item in chosen[line]]
        maps = [dequantise(store.maps[item, feature.slot]) for item in chosen[line]]
        tiles = [photographs, [_over(*pair) for pair in zip(photographs, maps, strict=True)]]
        if attack is not None:
            tiles.append(list(itertools.islice(changed, len(photographs))))
        for band, band_tiles in enumerate(tiles):
            sheet.paste(row(band_tiles, pixels), (0, top + LINE + band * (pixels + GAP)))
    return sheet


def seen(joined: Joined, item: int, pixels: int) -> NDArray[np.uint8]:
    """What the network saw of an image, (pixels, pixels, 3) uint8, cut from the photograph itself: a network's crop may
    be too small for a person to judge."""
    picture = Image.fromarray(joined.image(item))
    box = joined.store.manifest.preprocessing.crop_box(*picture.size)
    corners = (box.left, box.top, box.left + box.width, box.top + box.height)
    return np.asarray(picture.resize((pixels, pixels), Image.Resampling.LANCZOS, box=corners))


def _over(photograph: NDArray[np.uint8], soft: NDArray[np.float32]) -> NDArray[np.uint8]:
    return tint(photograph, to_crop_frame(soft, *photograph.shape[:2]), NEUTRAL)


def _plain(name: str) -> str:
    """A class name that is safe in a file name."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)[:60]
