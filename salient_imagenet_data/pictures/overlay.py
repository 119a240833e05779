"""Core and spurious masks laid over a photograph, and a strip of panels that says what is seen."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from salient_imagenet_data.names import CORE, KINDS, SPURIOUS, Kind
from salient_imagenet_data.pictures.tiles import GAP, LINE, nothing, write

COLOURS: dict[Kind, tuple[int, int, int]] = {CORE: (0, 114, 178), SPURIOUS: (230, 159, 0)}
"""Blue and orange, which colour-blind readers tell apart too [Okabe & Ito 2008]."""
NEUTRAL = (170, 51, 119)
"""Purple, for a map that nobody has called core or spurious yet [Tol 2021, bright scheme]."""
MEANING: dict[Kind, str] = {CORE: "core: the object itself", SPURIOUS: "spurious: what only comes with it"}
STRONGEST = 0.85
"""Share of the colour where a mask is 1."""
LEVEL = 0.5
"""Of the mask, where its outline is drawn."""
PANEL = 224
"""Pixels of a panel's side."""


def tint(image: NDArray[np.uint8], mask: NDArray[np.floating], colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The photograph in gray, in colour where the mask is: as strong as the mask, the object seen through it, and the
    outline where the mask reaches half. image: (H, W, 3) uint8. mask: (H, W) in [0, 1]."""
    gray = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    light = 90.0 + gray[..., None] * (165.0 / 255.0)
    base = np.repeat(light, 3, axis=2)
    full = np.array(colour, dtype=np.float32)
    # The colour takes the brightness of the photograph, so that the object stays visible where the mask is strongest.
    lit = np.minimum(full * (light / 170.0), 255.0)
    weight = np.clip(mask, 0.0, 1.0).astype(np.float32)[..., None] * STRONGEST
    mixed = base * (1.0 - weight) + lit * weight
    mixed[outline(mask)] = full
    result: NDArray[np.uint8] = np.rint(mixed).astype(np.uint8)
    return result


def wash(mask: NDArray[np.floating], colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A mask alone: white in the colour, as strong as the mask, with its outline. mask: (H, W) in [0, 1]."""
    weight = np.clip(mask, 0.0, 1.0).astype(np.float32)[..., None] * STRONGEST
    mixed = 255.0 * (1.0 - weight) + np.array(colour, dtype=np.float32) * weight
    mixed[outline(mask)] = colour
    result: NDArray[np.uint8] = np.rint(mixed).astype(np.uint8)
    return result


def outline(mask: NDArray[np.floating], level: float = LEVEL) -> NDArray[np.bool_]:
    """(H, W) bool: pixels at least `level` beside one that is below it. A mask that is so everywhere has none."""
    inside = np.asarray(mask) >= level
    padded = np.pad(inside, 1, mode="edge")
    around = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    edge: NDArray[np.bool_] = inside & ~around
    return edge


def strip(
    image: NDArray[np.uint8] | None,
    masks: Mapping[Kind, NDArray[np.floating] | None],
    title: str,
    *,
    panel: int = PANEL,
) -> Image.Image:
    """Photograph, core and spurious mask side by side under a title, each with what it is; a mask that is None is an
    empty panel that says so. image: (H, W, 3) uint8, or None: masks are drawn over gray, and the first panel says that
    there is no photograph. masks: (H, W) in [0, 1]. panel: pixels of a panel's longer side.
    """
    shapes = [image.shape[:2]] if image is not None else [mask.shape for mask in masks.values() if mask is not None]
    height, width = shapes[0] if shapes else (panel, panel)
    size = _fitted(width, height, panel)
    width = 3 * size[0] + 2 * GAP
    sheet = Image.new("RGB", (width, 2 * LINE + size[1]), "white")
    draw = ImageDraw.Draw(sheet)
    write(draw, (2, 2), title, width - 4, bold=True)
    for column, (words, colour, tile) in enumerate(_panels(image, masks, size)):
        left = column * (size[0] + GAP)
        write(draw, (left + 14, LINE + 2), words, size[0] - 14)
        draw.rectangle((left + 2, LINE + 5, left + 10, LINE + 13), fill=colour)
        sheet.paste(tile, (left, 2 * LINE))
    return sheet


def _panels(
    image: NDArray[np.uint8] | None, masks: Mapping[Kind, NDArray[np.floating] | None], size: tuple[int, int]
) -> list[tuple[str, tuple[int, int, int], Image.Image]]:
    # Masks are drawn at the panel's size, so that an outline is one pixel wide there.
    if image is None:
        photo, pixels = nothing(size, "no photograph"), np.full((size[1], size[0], 3), 128, dtype=np.uint8)
    else:
        photo = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
        pixels = np.asarray(photo)
    panels = [("the photograph", (120, 120, 120), photo)]
    for kind in KINDS:
        mask = masks.get(kind)
        if mask is None:
            panels.append((MEANING[kind], COLOURS[kind], nothing(size, f"no {kind} feature in this class")))
            continue
        soft = Image.fromarray(np.asarray(mask, dtype=np.float32)).resize(size, Image.Resampling.BILINEAR)
        panels.append((MEANING[kind], COLOURS[kind], Image.fromarray(tint(pixels, np.asarray(soft), COLOURS[kind]))))
    return panels


def _fitted(width: int, height: int, longest: int) -> tuple[int, int]:
    scale = longest / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))
