"""A sheet of a class's clusters: where each has its relevance on average, and images of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from salient_imagenet_data.evaluation.relevance.records import OfClass
from salient_imagenet_data.geometry import Preprocessing, to_crop_frame
from salient_imagenet_data.joining import Images, join
from salient_imagenet_data.pictures.overlay import NEUTRAL, tint, wash
from salient_imagenet_data.pictures.tiles import Tile, captioned, stack
from salient_imagenet_data.store.reading import Store

IMAGES, PANEL = 6, 128
STRONG = 0.98
"""Quantile of a map's cells that is drawn as strongest, so that one cell does not hide the others."""


def sheet(found: OfClass, store: Store, images: Images, preprocessing: Preprocessing) -> Image.Image | None:
    """A row for each cluster: its mean map, and at most six images, the most central first, in colour where the class
    has its relevance. None without clusters. preprocessing: the network's."""
    strips = []
    for number, cluster in enumerate(found.clusters, start=1):
        items = cluster.items[:IMAGES]
        joined = join(store, images, rows=[found.rows[item] for item in items])
        tiles: list[Tile] = [wash(_shown(cluster.mean_map, PANEL), NEUTRAL)]
        for place, item in enumerate(items):
            crop = preprocessing.apply(joined.image(place))
            tiles.append(tint(crop, _shown(found.measured.maps[item], len(crop)), NEUTRAL))
        more, less = (", ".join(found.called(n.unit) for n in units) for units in (cluster.nominated, cluster.lacking))
        title = f"cluster {number}: {len(cluster.items)} of {len(found.rows)} images"
        title += (f"; more of {more}" if more else "") + (f"; less of {less}" if less else "")
        strips.append(captioned(tiles, ["on average", *[""] * len(items)], title, PANEL))
    return stack(strips) if strips else None


def _shown(cells: NDArray[np.floating], pixels: int) -> NDArray[np.float32]:
    """Cells (s, s), signed -> (pixels, pixels) in [0, 1]: what speaks for the class."""
    values = np.maximum(cells, 0.0).astype(np.float32)
    strong = float(np.quantile(values, STRONG)) or float(values.max())
    scaled = np.minimum(values / strong, np.float32(1.0)) if strong > 0 else values
    return np.clip(to_crop_frame(scaled, pixels, pixels), 0.0, 1.0)
