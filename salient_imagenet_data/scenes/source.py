"""Scenes as an image source, with their truth beside them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.images.decoding import encode_png
from salient_imagenet_data.images.source import Entry
from salient_imagenet_data.scenes.render import CLASSES, Scene, render


class SceneSource:
    """`count` scenes, class after class in turn. The same arguments give the same bytes.

    correlation: how often a class's cue goes with it, in [0, 1]; 0.9 is the demo's, 0 is decorrelated.
    """

    def __init__(self, count: int, *, seed: int = 0, correlation: float = 0.9) -> None:
        if count < 1 or not 0.0 <= correlation <= 1.0:
            raise SalientError(
                "scenes cannot be made", expected="count >= 1 and correlation in [0, 1]", got=f"{count}, {correlation}"
            )
        self._count, self.seed, self.correlation = count, seed, correlation

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(c.name for c in CLASSES)

    def __len__(self) -> int:
        return self._count

    def entry(self, index: int) -> Entry:
        label = index % len(CLASSES)
        return Entry(f"scene-{self.seed}-{round(100 * self.correlation):03d}-{index:06d}", label)

    def pixels(self, index: int) -> NDArray[np.uint8]:
        return self.scene(index).pixels

    def encoded(self, index: int) -> dict[str, str | bytes | None]:
        return {"path": None, "bytes": encode_png(self.pixels(index))}

    def scene(self, index: int) -> Scene:
        """The scene with its truth. Drawn from a stream of its own: (seed, index)."""
        stream = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, index])))
        return render(index % len(CLASSES), self.correlation, stream)
