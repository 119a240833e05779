"""Image sources: where images come from, under which id, and how their bytes become RGB pixels.

A source is anything that satisfies `ImageSource`. Decoding follows torchvision's reference loader:
`PIL.Image.convert("RGB")` for gray, palette and CMYK files alike, and no EXIF rotation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.imagenet import composed
from salient_imagenet_data.images.passed_over import PassedOver


@dataclass(frozen=True)
class Entry:
    """What is known of an image before it is decoded: its id (unique in the source) and class index."""

    image_id: str
    label: int


@runtime_checkable
class ImageSource(Protocol):
    """Random access to labelled images. Indices run from 0 to len - 1 in a fixed order."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names by class index, unique."""
        ...

    def __len__(self) -> int: ...

    def entry(self, index: int) -> Entry:
        """Id and label, without touching the image."""
        ...

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """Decoded image, (height, width, 3) uint8 RGB. Raises ImageError if it cannot be decoded."""
        ...

    def encoded(self, index: int) -> dict[str, str | bytes | None]:
        """`{"path": ..., "bytes": ...}` as `datasets.Image` stores it; bytes are None where a path will do."""
        ...


@runtime_checkable
class PictureSource(Protocol):
    """A source that can also give an image as an RGB picture of Pillow's: the same pixels with fewer copies."""

    def picture(self, index: int) -> Image.Image:
        """Decoded image. Raises ImageError if it cannot be decoded."""
        ...


def picture_of(source: ImageSource, index: int) -> Image.Image:
    """An image as an RGB picture. Raises ImageError if it cannot be decoded."""
    return source.picture(index) if isinstance(source, PictureSource) else Image.fromarray(source.pixels(index))


def encoded_bytes(source: ImageSource, index: int) -> bytes:
    """What the file of an image holds, wherever it lies."""
    value = source.encoded(index)
    data = value["bytes"]
    return data if isinstance(data, bytes) else Path(str(value["path"])).read_bytes()


class ListedSource:
    """What every source with a list of its images shares. ids: (N,) Arrow strings. labels: indices into class_names.

    Kept as columns, since a million Python strings are large. passed_over: what lies among the images and is not read.
    taken_for: what a folder was taken for, in one line, where that may be doubted.
    """

    passed_over = PassedOver()
    taken_for = ""

    def __init__(self, ids: Any, labels: Sequence[int] | NDArray[np.integer], class_names: tuple[str, ...]) -> None:
        self._ids, self._labels = ids, np.array(labels, dtype=np.int32)
        self._names = tuple(map(composed, class_names))

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._names

    def __len__(self) -> int:
        return len(self._ids)

    def entry(self, index: int) -> Entry:
        return Entry(self._ids[index].as_py(), int(self._labels[index]))

    def image_ids(self) -> Any:
        return self._ids

    def labels(self) -> NDArray[np.int32]:
        return self._labels


@runtime_checkable
class ColumnSource(Protocol):
    """A source that also gives its ids and labels as columns, which is much faster for a million images."""

    def image_ids(self) -> Any:
        """(N,) Arrow strings."""
        ...

    def labels(self) -> NDArray[np.int32]:
        """(N,) class indices."""
        ...


def ids_of(source: ImageSource) -> Any:
    """Ids of all images, an Arrow array of strings."""
    if isinstance(source, ColumnSource):
        return source.image_ids()
    return pa.array([source.entry(i).image_id for i in range(len(source))], type=pa.string())


def id_chunks(source: ImageSource) -> Iterator[list[str]]:
    """Ids of all images, some at a time, since a million Python strings are large."""
    for chunk in np.array_split(np.arange(len(source)), max(1, len(source) // 65536)):
        yield ids_of(source).take(chunk).to_pylist()


def index_by_id(source: ImageSource) -> dict[str, int]:
    """Index of every image by its id."""
    ids: list[str] = ids_of(source).to_pylist()
    return {image_id: index for index, image_id in enumerate(ids)}


def labels_of(source: ImageSource) -> NDArray[np.int32]:
    """Class indices of all images, (N,)."""
    if isinstance(source, ColumnSource):
        return source.labels()
    return np.array([source.entry(i).label for i in range(len(source))], dtype=np.int32)


def check_unique(ids: Any, places: Any) -> None:
    """Raise SalientError if two images have one id. ids, places: Arrow strings; places say where each image is."""
    counts = pc.value_counts(ids)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if not len(repeated):
        return
    image_id = repeated.field("values")[0]
    first, second = (place.as_py() for place in places.filter(pc.equal(ids, image_id))[:2])
    raise SalientError(
        f"two images have the id {image_id.as_py()!r}",
        got=f"{first} and {second}",
        then="rename one: ids are paths without the extension, or bare names of ImageNet files",
    )
