"""A sheet that shows what masks are: for each class a photograph, its core mask and its spurious mask, and a legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from salient_imagenet_data.names import KINDS, Kind
from salient_imagenet_data.pictures.overlay import COLOURS, MEANING, tint, wash
from salient_imagenet_data.pictures.tiles import GAP, LINE, fitted, nothing, write

SIDE, ACROSS = 112, 2
"""Pixels of a tile, and classes beside each other: a class is no wider than a telephone's screen."""
BETWEEN = 3 * GAP
"""Pixels between two classes beside each other."""


@dataclass(frozen=True)
class Shown:
    """A class of the sheet. image: (H, W, 3) uint8, or None where images may not be shown. masks: (H, W) in [0, 1], or
    None where the class has no feature of the kind."""

    name: str
    image: NDArray[np.uint8] | None
    masks: Mapping[Kind, NDArray[np.floating] | None]


def sheet(shown: Sequence[Shown], side: int = SIDE) -> Image.Image:
    """The legend, then the classes two beside each other, each under its name. Masks are tints over the photograph in
    gray; over white where there is none."""
    tiles = _tiles(shown)
    width, height = cell_size(tiles, side)
    across, down = min(ACROSS, len(shown)), -(-len(shown) // ACROSS)
    whole = Image.new("RGB", (max(across * (width + BETWEEN) - BETWEEN, 420), LINE + GAP + down * height), "white")
    draw = ImageDraw.Draw(whole)
    left = 2
    for kind in KINDS:
        draw.rectangle((left, 5, left + 8, 13), fill=COLOURS[kind])
        write(draw, (left + 12, 2), MEANING[kind], 200)
        left += 210
    for number, one in enumerate(shown):
        x, y = corner(number, tiles, side)
        write(draw, (x, y - LINE), one.name, width, bold=True)
        for column, tile in enumerate(_drawn(one, side)):
            whole.paste(tile, (x + column * (side + GAP), y))
    return whole


def cell_size(tiles: int, side: int = SIDE) -> tuple[int, int]:
    """Pixels of a class with so many tiles: (width, height), its name and the gap below it with it."""
    return tiles * (side + GAP) - GAP, LINE + side + GAP


def corner(number: int, tiles: int, side: int = SIDE) -> tuple[int, int]:
    """Upper left corner of the first tile of a class: (left, top) in pixels of the sheet."""
    width, height = cell_size(tiles, side)
    return number % ACROSS * (width + BETWEEN), LINE + GAP + number // ACROSS * height + LINE


def _tiles(shown: Sequence[Shown]) -> int:
    return len(KINDS) + any(one.image is not None for one in shown)


def _drawn(one: Shown, side: int) -> list[Image.Image]:
    photo = None if one.image is None else fitted(one.image, side)
    tiles = [] if photo is None else [photo]
    for kind in KINDS:
        mask = one.masks[kind]
        if mask is None:
            tiles.append(nothing((side, side), f"no {kind}"))
            continue
        small = Image.fromarray(np.asarray(mask, dtype=np.float32)).resize((side, side), Image.Resampling.BILINEAR)
        soft, colour = np.asarray(small), COLOURS[kind]
        drawn = wash(soft, colour) if photo is None else tint(np.asarray(photo), soft, colour)
        tiles.append(Image.fromarray(drawn))
    return tiles
