"""Tiles side by side and below each other, with words: what every sheet of pictures is made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

GAP, LINE = 8, 20
"""Pixels: between tiles, and of a line of text."""
Tile = NDArray[np.uint8]
"""(H, W, 3) uint8 colours, or (H, W) uint8 gray."""


def fitted(tile: Tile, side: int) -> Image.Image:
    """A tile as a square picture of `side` pixels, in colour. One that has fewer keeps its pixels sharp where `side` is
    a multiple of them; else it is interpolated."""
    picture = Image.fromarray(tile).convert("RGB")
    sharp = side % picture.width == 0 and side % picture.height == 0
    return picture.resize((side, side), Image.Resampling.NEAREST if sharp else Image.Resampling.BICUBIC)


def row(tiles: Sequence[Tile], side: int) -> Image.Image:
    """Tiles side by side from left to right, each `side` pixels, GAP between them, on white."""
    sheet = Image.new("RGB", (max(1, len(tiles) * (side + GAP) - GAP), side), "white")
    for column, tile in enumerate(tiles):
        sheet.paste(fitted(tile, side), (column * (side + GAP), 0))
    return sheet


def captioned(tiles: Sequence[Tile], words: Sequence[str], title: str, side: int) -> Image.Image:
    """A `row` of tiles under a title, each with its words above it."""
    picture = row(tiles, side)
    sheet = Image.new("RGB", (picture.width, 2 * LINE + picture.height), "white")
    draw = ImageDraw.Draw(sheet)
    write(draw, (2, 2), title, picture.width - 4, bold=True)
    for column, each in enumerate(words):
        write(draw, (column * (side + GAP) + 2, LINE + 2), each, side - 4)
    sheet.paste(picture, (0, 2 * LINE))
    return sheet


def nothing(size: tuple[int, int], words: str) -> Image.Image:
    """A hatched tile that says why there is nothing to see. size: (width, height)."""
    tile = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(tile)
    for offset in range(-size[1], size[0], 12):
        draw.line([(offset, size[1]), (offset + size[1], 0)], fill="#e4e4e4")
    box = draw.textbbox((0, 0), words, font=_font(12))
    left, top = (size[0] - (box[2] - box[0])) / 2, (size[1] - (box[3] - box[1])) / 2
    draw.rectangle((left - 4, top - 4, left + box[2] - box[0] + 4, top + box[3] - box[1] + 6), fill="white")
    draw.text((left, top), words, fill="#555555", font=_font(12))
    return tile


def stack(strips: Sequence[Image.Image]) -> Image.Image:
    """Pictures below each other, on white."""
    width = max(s.width for s in strips)
    sheet = Image.new("RGB", (width, sum(s.height + GAP for s in strips) - GAP), "white")
    top = 0
    for one in strips:
        sheet.paste(one, (0, top))
        top += one.height + GAP
    return sheet


def write(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], words: str, width: float, *, bold: bool = False
) -> None:
    """A line of text that ends in "..." where it is too long for so many pixels; where not even that fits, it is all
    there is. Line breaks, which a folder's name may hold, are spaces."""
    font = _font(14 if bold else 12)
    shown = words = " ".join(words.split())
    while words and draw.textlength(shown, font=font) > width:
        words = words[:-1]
        shown = words.rstrip() + "..."
    draw.text(place, shown, fill="black", font=font)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
