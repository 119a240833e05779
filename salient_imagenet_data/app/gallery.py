"""The pictures of the pages: a photograph as the network saw it, alone or with a map or mask, drawn when asked for."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from starlette.requests import Request
from starlette.responses import Response

from salient_imagenet_data.annotation.sheets import seen
from salient_imagenet_data.errors import ImageError
from salient_imagenet_data.geometry import to_crop_frame
from salient_imagenet_data.joining import Joined
from salient_imagenet_data.masks import dequantise, union_in_crop
from salient_imagenet_data.names import CORE, SPURIOUS, Kind
from salient_imagenet_data.pictures.overlay import COLOURS, NEUTRAL, outline, tint, wash
from salient_imagenet_data.pictures.tiles import nothing

Drawing = Literal["photo", "heat", "contour", "feature", "outline", "core", "spurious"]
"""The photograph; a feature's map over it, or as a line, in purple; the same two in the colour of what people called
the feature; the core and the spurious mask."""
UNIONS: dict[Drawing, Kind] = {"core": CORE, "spurious": SPURIOUS}
LINES: tuple[Drawing, ...] = ("contour", "outline")
SIZES = (256, 512)
"""Pixels of a picture's side that may be asked for."""
STEPS = 20
"""A map is cut at a whole number of twentieths of its peak, so that a picture has few variants."""
MOST_BYTES = 64 * 2**20
"""Of drawn pictures that are kept."""
MOST_PHOTOS = 64
"""Photographs in pixels that are kept: 13 MB of the smaller size, 50 of the larger."""


class Gallery:
    """Draws pictures of a store's rows, and keeps the latest of them. Used by several threads at once.

    alone: where a photograph is missing, its maps are drawn on white; else there is a tile that says so.
    """

    def __init__(self, joined: Joined, *, alone: bool = False) -> None:
        self.joined, self.alone = joined, alone
        files = sorted(joined.store.manifest.files.items())
        self.stamp = hashlib.sha256(repr((files, len(joined) > 0)).encode()).hexdigest()[:12]
        """In every address of a picture: pictures of another store are not mistaken for this one's, nor those of other
        kinds, nor those with photographs for those without."""
        self._item_of = np.full(len(joined.store), -1, dtype=np.int64)
        self._item_of[joined.rows] = np.arange(len(joined))
        self._kept: OrderedDict[tuple[Any, ...], bytes] = OrderedDict()
        self._photos: OrderedDict[tuple[int, int], NDArray[np.uint8]] = OrderedDict()
        self._size = 0
        self._lock, self._reading = threading.Lock(), threading.Lock()

    @cached_property
    def kinds(self) -> dict[tuple[int, int], Kind]:
        """What people called the feature, by class and slot; those only that have answers."""
        return {(f.class_index, f.slot): f.kind for f in self.joined.store.features if f.kind is not None}

    def shows(self, row: int, slot: int, drawing: Drawing) -> bool:
        """Whether there can be such a picture."""
        store = self.joined.store
        there = 0 <= row < len(store) and 0 <= slot < store.manifest.features_per_class
        return there and (drawing not in UNIONS or store.manifest.annotations_sha256 is not None)

    def jpeg(self, row: int, slot: int, drawing: Drawing, step: int, pixels: int) -> bytes:
        """A picture. slot: the feature's among the row's maps. step: twentieths of the peak: a heat map or mask is
        nothing below it, a line is drawn at it."""
        if drawing == "photo" or drawing in UNIONS:
            slot = 0
        if drawing == "photo":
            step = 0
        key = (row, slot, drawing, step, pixels)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        data = _encoded(self._drawn(row, slot, drawing, step / STEPS, pixels))
        with self._lock:
            if key not in self._kept:
                self._kept[key] = data
                self._size += len(data)
            while self._size > MOST_BYTES:
                self._size -= len(self._kept.popitem(last=False)[1])
        return data

    def crop(self, row: int) -> NDArray[np.uint8] | None:
        """What the network saw of a row's photograph, (S, S, 3) uint8; None where there is no photograph, or it cannot
        be read."""
        item = int(self._item_of[row])
        try:
            with self._reading:
                return None if item < 0 else self.joined.crop(item)
        except ImageError:
            return None

    def _drawn(self, row: int, slot: int, drawing: Drawing, level: float, pixels: int) -> Image.Image:
        photo = self._photograph(row, pixels)
        if isinstance(photo, str) and (drawing == "photo" or not self.alone):
            return nothing((pixels, pixels), photo)
        ground = None if isinstance(photo, str) else photo
        if drawing == "photo" and ground is not None:
            return Image.fromarray(ground)
        found = self._soft(row, slot, drawing, pixels)
        if found is None:
            return nothing((pixels, pixels), f"no {UNIONS[drawing]} feature in this class")
        soft, colour = found
        if drawing in LINES:
            white = np.full((pixels, pixels, 3), 255, dtype=np.uint8)
            return Image.fromarray(contour(white if ground is None else ground, soft, level, colour))
        cut = np.where(soft >= level, soft, np.float32(0.0))
        return Image.fromarray(wash(cut, colour) if ground is None else tint(ground, cut, colour))

    def _soft(
        self, row: int, slot: int, drawing: Drawing, pixels: int
    ) -> tuple[NDArray[np.float32], tuple[int, int, int]] | None:
        """A map or mask and its colour; None for a mask that the class does not have."""
        store = self.joined.store
        with self._reading:
            if drawing in UNIONS:
                kind = UNIONS[drawing]
                chosen = store.chosen(row, kind)
                soft = union_in_crop(store.maps[row], chosen, pixels, pixels)
                return (soft, COLOURS[kind]) if chosen.any() else None
            soft = to_crop_frame(dequantise(store.maps[row, slot]), pixels, pixels)
            called = self.kinds.get((int(store.rows.labels[row]), slot))
        plain = called is None or drawing in ("heat", "contour")
        return soft, NEUTRAL if plain or called is None else COLOURS[called]

    def _photograph(self, row: int, pixels: int) -> NDArray[np.uint8] | str:
        """The photograph, or why there is none. The latest ones are kept: a page wants each of its photographs alone
        and with its map."""
        item = int(self._item_of[row])
        if item < 0:
            return "no photograph here"
        try:
            with self._reading:  # a source need not be made for several threads
                photo = self._photos.pop((row, pixels), None)
                if photo is None:
                    photo = seen(self.joined, item, pixels)
                self._photos[row, pixels] = photo
                if len(self._photos) > MOST_PHOTOS:
                    self._photos.popitem(last=False)
                return photo
        except ImageError:
            return "cannot be read"


def contour(
    photo: NDArray[np.uint8], soft: NDArray[np.floating], level: float, colour: tuple[int, int, int] = NEUTRAL
) -> NDArray[np.uint8]:
    """The photograph in its colours with a line where the map reaches a level, white on both sides of it, so that it is
    seen on any ground. photo: (H, W, 3) uint8. soft: (H, W) in [0, 1]."""
    line = outline(soft, level)
    thick, around = _grown(line, max(1, len(photo) // 256)), _grown(line, max(2, len(photo) // 128))
    result = photo.copy()
    result[around] = 255
    result[thick] = colour
    return result


def _grown(places: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """Pixels at most so many steps up, down, left or right of one of the places."""
    grown = places.copy()
    for _ in range(by):
        padded = np.pad(grown, 1)
        grown = grown | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return grown


def encoded_jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """(H, W, 3) uint8 as a JPEG."""
    return _encoded(Image.fromarray(pixels))


def _encoded(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, format="JPEG", quality=88)
    return buffer.getvalue()


def picture_address(gallery: Gallery, row: int, slot: int, drawing: Drawing, step: int, pixels: int) -> str:
    """Where a page finds a picture."""
    return f"/pictures/{gallery.stamp}/{row}/{slot}/{drawing}-{step}-{pixels}.jpg"


def picture_route(galleries: Sequence[Gallery]) -> Callable[[Request], Response]:
    """Gives a picture of one of the galleries, to which more may be added. Every part of its address is a number or one
    of a few words, so none of it is a path."""

    def give(request: Request) -> Response:
        path = request.path_params
        gallery = next((one for one in galleries if one.stamp == path["stamp"]), None)
        row, slot = path["row"], path["slot"]
        step, pixels, drawing = path["step"], path["pixels"], path["drawing"]
        possible = drawing in get_args(Drawing) and step <= STEPS and pixels in SIZES
        if gallery is None or not possible or not gallery.shows(row, slot, drawing):
            return Response("There is no such picture.", 404, media_type="text/plain")
        data = gallery.jpeg(row, slot, drawing, step, pixels)
        return Response(data, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400"})

    return give
