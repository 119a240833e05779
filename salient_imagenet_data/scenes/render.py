"""Draw one scene: a core object of the class, and a cue that goes with the class most of the time.

Everything random comes from `numpy.random.Generator.random` on a seeded PCG64 stream, one stream a
scene, so that scene i of a seed is the same whatever else was drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

SIZE = 64
"""Height and width of a scene, in pixels."""

Plane = NDArray[np.float64]
Mask = NDArray[np.bool_]
Shape = Callable[[Plane, Plane], Mask]
CueKind = Literal["background", "separate_object"]


@dataclass(frozen=True)
class SceneClass:
    """A class: its name, the shape that defines it, and the cue planted with it (None: no cue)."""

    name: str
    shape: Shape
    cue: str | None


@dataclass(frozen=True)
class Scene:
    """One drawn scene and its truth.

    pixels: (SIZE, SIZE, 3) uint8 RGB. core, spurious: (SIZE, SIZE) bool, the pixels of the object and of
    the cue; `spurious` is empty where the scene shows no cue. cue: the cue that is shown, or None.
    """

    pixels: NDArray[np.uint8]
    core: Mask
    spurious: Mask
    label: int
    cue: str | None


# Shapes on rotated coordinates (u right, v down), in units of the object's radius.
def _disk(u: Plane, v: Plane) -> Mask:
    return u**2 + v**2 <= 0.9**2


def _square(u: Plane, v: Plane) -> Mask:
    return np.maximum(abs(u), abs(v)) <= 0.8


def _triangle(u: Plane, v: Plane) -> Mask:
    return (v <= 0.6) & (v >= -1.1 + 1.7 * abs(u))


def _star(u: Plane, v: Plane) -> Mask:
    half_sector = math.pi / 5
    off_spoke = abs(np.mod(np.arctan2(v, u), 2 * half_sector) - half_sector) / half_sector
    result: Mask = np.hypot(u, v) <= 0.4 + 0.8 * off_spoke**2
    return result


def _cross(u: Plane, v: Plane) -> Mask:
    return (np.minimum(abs(u), abs(v)) <= 0.3) & (np.maximum(abs(u), abs(v)) <= 1.0)


def _ring(u: Plane, v: Plane) -> Mask:
    radius = np.hypot(u, v)
    return (radius <= 1.0) & (radius >= 0.5)


def _crescent(u: Plane, v: Plane) -> Mask:
    return (np.hypot(u, v) <= 1.0) & (np.hypot(u - 0.65, v) >= 0.7)


def _bar(u: Plane, v: Plane) -> Mask:
    return (abs(u) <= 1.15) & (abs(v) <= 0.45)


def _bowtie(u: Plane, v: Plane) -> Mask:
    return (abs(u) <= 1.0) & (abs(v) <= 0.3 + 0.5 * abs(u))


def _gate(u: Plane, v: Plane) -> Mask:
    outer = np.maximum(abs(u), abs(v)) <= 0.8
    return outer & ~((abs(u) <= 0.3) & (v >= -0.3))


# Backgrounds: weight of the second colour at each pixel, in [0, 1]. t is a random phase in pixels.
def _stripes(x: Plane, y: Plane, t: float) -> Plane:
    return (np.mod(x + t, 8.0) < 4.0).astype(np.float64)


def _waves(x: Plane, y: Plane, t: float) -> Plane:
    return 0.5 + 0.5 * np.sign(np.sin((y + t + 3.0 * np.sin(x / 5.0)) * (2 * math.pi / 8.0)))


def _checks(x: Plane, y: Plane, t: float) -> Plane:
    result: Plane = np.mod(np.floor((x + t) / 8.0) + np.floor((y + t) / 8.0), 2.0)
    return result


def _dots(x: Plane, y: Plane, t: float) -> Plane:
    return (np.hypot(np.mod(x + t, 9.0) - 4.5, np.mod(y + t, 9.0) - 4.5) <= 2.6).astype(np.float64)


BACKGROUNDS: dict[str, Callable[[Plane, Plane, float], Plane]] = {
    "stripes": _stripes,
    "waves": _waves,
    "checks": _checks,
    "dots": _dots,
}

COMPANION_RADIUS = 9.0
"""Radius of a companion object, in pixels."""

# A companion is a disk split into an inner part and a rim, in two fixed colours (RGB in [0, 1]).
COMPANIONS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "berry": ((0.95, 0.05, 0.10), (0.60, 0.00, 0.70)),
    "leaf": ((0.10, 0.85, 0.20), (0.00, 0.35, 0.10)),
    "pool": ((0.10, 0.35, 0.95), (0.75, 0.90, 1.00)),
    "sun": ((1.00, 0.85, 0.10), (1.00, 0.45, 0.00)),
}

CUES: tuple[str, ...] = (*BACKGROUNDS, *COMPANIONS)

CLASSES: tuple[SceneClass, ...] = (
    SceneClass("bar", _bar, "stripes"),
    SceneClass("bowtie", _bowtie, "sun"),
    SceneClass("crescent", _crescent, "waves"),
    SceneClass("cross", _cross, "leaf"),
    SceneClass("disk", _disk, None),
    SceneClass("gate", _gate, "checks"),
    SceneClass("ring", _ring, None),
    SceneClass("square", _square, "dots"),
    SceneClass("star", _star, "berry"),
    SceneClass("triangle", _triangle, "pool"),
)


def cue_kind(cue: str) -> CueKind:
    """Whether a cue is a background texture or a separate object, in the words of the annotations."""
    return "background" if cue in BACKGROUNDS else "separate_object"


def render(label: int, correlation: float, stream: np.random.Generator) -> Scene:
    """Draw a scene of class `label`.

    With probability `correlation` the class's own cue is shown (nothing, in a class without one); otherwise
    nothing half of the time and else one of all cues, evenly. So with correlation 0 the cue says nothing
    about the class.
    """
    scene_class = CLASSES[label]
    if stream.random() < correlation:
        cue = scene_class.cue
    elif stream.random() < 0.5:
        cue = None
    else:
        cue = CUES[int(stream.random() * len(CUES))]

    y, x = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    canvas = _plain_background(x, y, stream)
    if cue in BACKGROUNDS:
        canvas = _textured(canvas, BACKGROUNDS[cue](x, y, 8.0 * stream.random()), stream)

    radius = 9.0 + 4.0 * stream.random()
    centre_x, centre_y = (radius + (SIZE - 2 * radius) * stream.random() for _ in range(2))
    core = _rotated(scene_class.shape, x - centre_x, y - centre_y, radius, 2 * math.pi * stream.random())
    canvas = np.where(core[..., None], _object_colour(stream), canvas)

    spurious = np.zeros((SIZE, SIZE), dtype=np.bool_)
    if cue in BACKGROUNDS:
        spurious = ~core
    elif cue is not None:
        spurious, canvas = _companion(canvas, core, COMPANIONS[cue], x, y, stream)

    canvas = canvas + 0.04 * (stream.random((SIZE, SIZE, 3)) - 0.5)
    pixels = np.floor(np.clip(canvas, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return Scene(pixels, core, spurious, label, cue)


def _plain_background(x: Plane, y: Plane, stream: np.random.Generator) -> Plane:
    """A dark colour with a gentle linear gradient, (SIZE, SIZE, 3)."""
    base = 0.15 + 0.3 * stream.random(3)
    slope = 0.2 * (stream.random((2, 3)) - 0.5)
    result: Plane = base + slope[0] * (x[..., None] / SIZE) + slope[1] * (y[..., None] / SIZE)
    return result


def _textured(canvas: Plane, weight: Plane, stream: np.random.Generator) -> Plane:
    """Mix a lighter colour into the canvas by the pattern's weight."""
    gain = 0.25 + 0.15 * stream.random(3)
    return canvas + weight[..., None] * gain - 0.1


def _object_colour(stream: np.random.Generator) -> NDArray[np.float64]:
    """A bright colour of random hue: one channel full, one free, one free."""
    colour = 0.5 + 0.3 * stream.random(3)
    colour[int(stream.random() * 3)] = 0.9
    return colour


def _rotated(shape: Shape, dx: Plane, dy: Plane, radius: float, angle: float) -> Mask:
    cos, sin = math.cos(angle) / radius, math.sin(angle) / radius
    return shape(cos * dx + sin * dy, cos * dy - sin * dx)


def _companion(
    canvas: Plane,
    core: Mask,
    colours: tuple[tuple[float, float, float], tuple[float, float, float]],
    x: Plane,
    y: Plane,
    stream: np.random.Generator,
) -> tuple[Mask, Plane]:
    """Draw a companion where it covers the least of the object, out of 24 random places."""
    best: tuple[int, Mask, Plane] | None = None
    for _ in range(24):
        centre_x, centre_y = (COMPANION_RADIUS + (SIZE - 2 * COMPANION_RADIUS) * stream.random() for _ in range(2))
        distance = np.hypot(x - centre_x, y - centre_y)
        place = distance <= COMPANION_RADIUS
        covered = int((place & core).sum())
        if best is None or covered < best[0]:
            best = (covered, place & ~core, distance)
    assert best is not None
    _, visible, distance = best
    inner, rim = (np.asarray(colour) for colour in colours)
    paint = np.where((distance <= 0.6 * COMPANION_RADIUS)[..., None], inner, rim)
    return visible, np.where(visible[..., None], paint, canvas)
