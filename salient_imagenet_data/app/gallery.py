"""The pictures of the pages: a photograph as the network saw it, alone or with a feature's map, drawn on request."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Callable
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
from salient_imagenet_data.masks import dequantise
from salient_imagenet_data.names import FEATURES_TABLE
from salient_imagenet_data.pictures.overlay import NEUTRAL, outline, tint
from salient_imagenet_data.pictures.tiles import nothing

Drawing = Literal["photo", "heat", "contour"]
SIZES = (256, 512)
"""Pixels of a picture's side that may be asked for."""
STEPS = 20
"""A map is cut at a whole number of twentieths of its peak, so that a picture has few variants."""
MOST_BYTES = 64 * 2**20
"""Of drawn pictures that are kept."""


class Gallery:
    """Draws pictures of a store's rows, and keeps the latest of them. Used by several threads at once."""

    def __init__(self, joined: Joined) -> None:
        self.joined = joined
        files = {k: v for k, v in joined.store.manifest.files.items() if k != FEATURES_TABLE}
        self.stamp = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:12]
        """In every address of a picture: pictures of another store are not mistaken for this one's."""
        self._item_of = {int(row): item for item, row in enumerate(joined.rows)}
        self._kept: OrderedDict[tuple[Any, ...], bytes] = OrderedDict()
        self._size = 0
        self._lock, self._reading = threading.Lock(), threading.Lock()

    def jpeg(self, row: int, slot: int, drawing: Drawing, step: int, pixels: int) -> bytes:
        """A picture. slot: the feature's among the row's maps. step: twentieths of the peak: a heat map is nothing
        below it, a contour is drawn at it."""
        if drawing == "photo":
            slot = step = 0
        key = (row, slot, drawing, step, pixels)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        data = self._drawn(row, slot, drawing, step / STEPS, pixels)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = data
                self._size += len(data)
            while self._size > MOST_BYTES:
                self._size -= len(self._kept.popitem(last=False)[1])
        return data

    def _drawn(self, row: int, slot: int, drawing: Drawing, level: float, pixels: int) -> bytes:
        photo = self._photograph(row, pixels)
        if isinstance(photo, Image.Image):
            return _encoded(photo)
        if drawing != "photo":
            with self._reading:
                grid = dequantise(self.joined.store.maps[row, slot])
            soft = to_crop_frame(grid, pixels, pixels)
            if drawing == "heat":
                photo = tint(photo, np.where(soft >= level, soft, np.float32(0.0)), NEUTRAL)
            else:
                photo = contour(photo, soft, level)
        return _encoded(Image.fromarray(photo))

    def _photograph(self, row: int, pixels: int) -> NDArray[np.uint8] | Image.Image:
        """The photograph, or a tile that says why there is none."""
        item = self._item_of.get(row)
        if item is None:
            return nothing((pixels, pixels), "no photograph here")
        try:
            with self._reading:  # a source need not be made for several threads
                return seen(self.joined, item, pixels)
        except ImageError:
            return nothing((pixels, pixels), "cannot be read")


def contour(photo: NDArray[np.uint8], soft: NDArray[np.floating], level: float) -> NDArray[np.uint8]:
    """The photograph in its colours with a line where the map reaches a level: purple, white on both sides of it, so
    that it is seen on any ground. photo: (H, W, 3) uint8. soft: (H, W) in [0, 1]."""
    line = outline(soft, level)
    thick, around = _grown(line, max(1, len(photo) // 256)), _grown(line, max(2, len(photo) // 128))
    result = photo.copy()
    result[around] = 255
    result[thick] = NEUTRAL
    return result


def _grown(places: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """Pixels at most so many steps up, down, left or right of one of the places."""
    grown = places.copy()
    for _ in range(by):
        padded = np.pad(grown, 1)
        grown = grown | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return grown


def _encoded(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, format="JPEG", quality=88)
    return buffer.getvalue()


def picture_address(gallery: Gallery, row: int, slot: int, drawing: Drawing, step: int, pixels: int) -> str:
    """Where a page finds a picture."""
    return f"/pictures/{gallery.stamp}/{row}/{slot}/{drawing}-{step}-{pixels}.jpg"


def picture_route(gallery: Gallery) -> Callable[[Request], Response]:
    """Gives a picture. Every part of its address is a number or one of a few words, so none of it is a path."""

    def give(request: Request) -> Response:
        path = request.path_params
        store = gallery.joined.store
        row, slot = path["row"], path["slot"]
        step, pixels, drawing = path["step"], path["pixels"], path["drawing"]
        known = path["stamp"] == gallery.stamp and row < len(store) and slot < store.manifest.features_per_class
        if not (known and drawing in get_args(Drawing) and step <= STEPS and pixels in SIZES):
            return Response("There is no such picture.", 404, media_type="text/plain")
        data = gallery.jpeg(row, slot, drawing, step, pixels)
        return Response(data, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400"})

    return give
