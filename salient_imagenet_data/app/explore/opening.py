"""From what a person gives to a library: the store with its images, and what is held beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from salient_imagenet_data.app.explore.beside import Beside
from salient_imagenet_data.app.explore.boxes import Boxes
from salient_imagenet_data.app.explore.library import Library
from salient_imagenet_data.app.explore.predicted import read_model
from salient_imagenet_data.app.gallery import Gallery
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.localisation.truth import read_truth
from salient_imagenet_data.evaluation.relevance.table import Flags
from salient_imagenet_data.evaluation.report.answer import short_names
from salient_imagenet_data.images.source import ImageSource, ListedSource
from salient_imagenet_data.joining import Joined, join
from salient_imagenet_data.store.reading import Store


def open_library(
    store: Store,
    source: ImageSource | Callable[[], ImageSource] | None = None,
    *,
    other: Store | None = None,
    boxes: Path | None = None,
    flags: Flags | None = None,
    predictions: Sequence[Path] = (),
    name: str = "",
) -> Library:
    """All that the pages stand on.

    source: the images; a function that opens them, where that takes long: they are found once the first page is shown;
    None: maps are shown without them. other: a store to show beside this one, of the same images.
    boxes: people's, as of `localise`. flags: of `read_flags`. predictions: files of `evaluate`. name: of the store, as
    pages call it. Raises SalientError where any of it does not fit.
    """
    if not len(store):
        raise SalientError(f"{store.path}: no images", expected="a store with rows to look at")
    at_once = None if callable(source) else source
    beside = None if other is None else Beside(store, _gallery(other, at_once), str(other.path))

    def look() -> tuple[Gallery, Gallery | None]:
        found = source() if callable(source) else None
        return _gallery(store, found), None if other is None else _gallery(other, found)

    models = [read_model(path, store) for path in predictions]
    shown = short_names([model.name for model in models])
    return Library(
        _gallery(store, at_once),
        name or str(store.path),
        beside,
        None if boxes is None else Boxes(store, read_truth(boxes)),
        {} if flags is None else flags.of,
        [replace(model, name=short) for model, short in zip(models, shown, strict=True)],
        look if callable(source) else None,
    )


class NoImages(ListedSource):
    """A source without an image. Not `MemorySource`: its list of ids would load pandas, a third of the time until the
    first page."""

    def __init__(self, class_names: tuple[str, ...]) -> None:
        super().__init__(pa.nulls(0, pa.string()), [], class_names)

    def pixels(self, index: int) -> NDArray[np.uint8]:
        raise IndexError(index)

    def encoded(self, index: int) -> dict[str, str | bytes | None]:
        raise IndexError(index)


def _gallery(store: Store, source: ImageSource | None) -> Gallery:
    none = np.zeros(0, dtype=np.int64)
    alone = Joined(store, NoImages(store.class_names), none, none, ())
    return Gallery(alone if source is None else join(store, source, missing="skip"), alone=True)
