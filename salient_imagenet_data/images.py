"""Image sources: where images come from, under which id, and how their bytes become RGB pixels.

A source is anything that satisfies `ImageSource`. Decoding follows torchvision's reference loader:
`PIL.Image.convert("RGB")` for gray, palette and CMYK files alike, and no EXIF rotation.
"""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from salient_imagenet_data.errors import ImageError, SalientError
from salient_imagenet_data.imagenet import id_of_path

T = TypeVar("T")

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff")
"""File name endings (lower case) that a folder tree takes for images."""


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


def decode(data: bytes | str | os.PathLike[str], name: str) -> NDArray[np.uint8]:
    """Decode an image file (bytes or path) to (height, width, 3) uint8 RGB.

    Raises ImageError, naming `name`, for anything that Pillow cannot decode completely.
    """
    return np.asarray(decode_picture(data, name))


def decode_picture(data: bytes | str | os.PathLike[str], name: str) -> Image.Image:
    """The same as an RGB picture of Pillow's, which spares two copies where it is resized next."""
    try:
        with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, EOFError) as error:
        # Pillow reports broken files by all of these, depending on the format's plugin.
        raise ImageError(f"{name}: cannot decode", got=f"{type(error).__name__}: {error}") from error


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Lossless PNG bytes of a (height, width) gray or (height, width, 3) RGB uint8 array."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


class ListedSource:
    """What every source with a list of its images shares. ids: (N,) Arrow strings. labels: indices into class_names.

    Kept as columns, since a million Python strings are large.
    """

    def __init__(self, ids: Any, labels: Sequence[int] | NDArray[np.integer], class_names: tuple[str, ...]) -> None:
        self._ids, self._labels, self._names = ids, np.array(labels, dtype=np.int32), class_names

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


class FileSource(ListedSource):
    """Image files below a root, with a label each.

    paths: below the root, with forward slashes. labels: indices into class_names. The image id is the path without its
    extension, `deer/0012`, or the bare name of an ImageNet file (`imagenet.id_of_path`).
    """

    def __init__(
        self, root: str | os.PathLike[str], paths: Sequence[str], labels: Sequence[int], class_names: tuple[str, ...]
    ) -> None:
        super().__init__(pa.array([id_of_path(path) for path in paths], type=pa.string()), labels, class_names)
        self.root = Path(root)
        self._paths: Any = pa.array(paths, type=pa.string())
        check_unique(self._ids, self._paths)

    def pixels(self, index: int) -> NDArray[np.uint8]:
        return np.asarray(self.picture(index))

    def picture(self, index: int) -> Image.Image:
        path = self.path(index)
        return decode_picture(path, path)

    def encoded(self, index: int) -> dict[str, str | bytes | None]:
        return {"path": os.path.abspath(self.path(index)), "bytes": None}

    def path(self, index: int) -> str:
        """Where the file is."""
        return os.path.join(self.root, self._paths[index].as_py())


class FolderSource(FileSource):
    """A class-per-folder tree: `root/<class name>/**/<image file>`.

    Classes are the folders in sorted order, which for ImageNet is the order of its class indices; images are sorted
    by path.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        folder = Path(root)
        if not folder.is_dir():
            raise SalientError(
                f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}",
                expected="a folder with one sub-folder a class, tar shards, or org/name of a data set on the Hub",
                then="check the path given as images",
            )
        names = tuple(sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")))
        if not names:
            raise SalientError(
                f"{folder}: no class folders",
                expected="one sub-folder a class with image files in it",
                got="an empty folder" if not any(folder.iterdir()) else "files only",
                then="give the folder that holds the class folders",
            )
        paths: list[str] = []
        labels: list[int] = []
        for label, name in enumerate(names):
            found = sorted(_image_files(folder / name))
            if not found:
                raise SalientError(
                    f"{folder / name}: class folder without an image",
                    expected=f"files ending in {', '.join(EXTENSIONS)}",
                    then="add images or remove the folder",
                )
            paths += (os.path.relpath(path, folder).replace(os.sep, "/") for path in found)
            labels += [label] * len(found)
        super().__init__(folder, paths, labels, names)


class MemorySource(ListedSource):
    """Images that are already arrays: a list of (height, width, 3) uint8, with labels and ids."""

    def __init__(
        self,
        images: Sequence[NDArray[np.uint8]],
        labels: Sequence[int],
        class_names: Sequence[str],
        image_ids: Sequence[str] | None = None,
    ) -> None:
        self._images = list(images)
        ids = list(image_ids) if image_ids is not None else [f"{i:08d}" for i in range(len(self._images))]
        if not len(self._images) == len(labels) == len(ids):
            raise SalientError(
                "images, labels and ids differ in number",
                got=f"{len(self._images)}, {len(labels)} and {len(ids)}",
            )
        outside = [int(v) for v in labels if not 0 <= v < len(class_names)]
        if outside:
            raise SalientError(
                "label outside the classes", expected=f"0 to {len(class_names) - 1}", got=str(outside[0])
            )
        super().__init__(pa.array(ids, type=pa.string()), labels, tuple(class_names))
        check_unique(self._ids, self._ids)

    def pixels(self, index: int) -> NDArray[np.uint8]:
        image = self._images[index]
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ImageError(
                f"{self._ids[index].as_py()}: not an RGB image",
                expected="(height, width, 3) uint8",
                got=f"{image.shape} {image.dtype}",
            )
        return image

    def encoded(self, index: int) -> dict[str, str | bytes | None]:
        return {"path": None, "bytes": encode_png(self.pixels(index))}


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


def index_by_id(source: ImageSource) -> dict[str, int]:
    """Index of every image by its id."""
    ids: list[str] = ids_of(source).to_pylist()
    return {image_id: index for index, image_id in enumerate(ids)}


def labels_of(source: ImageSource) -> NDArray[np.int32]:
    """Class indices of all images, (N,)."""
    if isinstance(source, ColumnSource):
        return source.labels()
    return np.array([source.entry(i).label for i in range(len(source))], dtype=np.int32)


def read_ahead(
    indices: Sequence[int], read: Callable[[int], T], *, threads: int = 2, window: int = 64
) -> Iterator[tuple[int, T | ImageError]]:
    """`read` every index in order, always up to `window` ahead, on threads (decoders free the interpreter lock).

    Yields (index, what `read` gave), or (index, the ImageError that it raised).
    """

    def attempt(index: int) -> T | ImageError:
        try:
            return read(index)
        except ImageError as error:
            return error

    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[int, Future[T | ImageError]]] = deque()
        try:
            for index in indices:
                waiting.append((index, pool.submit(attempt, index)))
                if len(waiting) >= window:
                    first, result = waiting.popleft()
                    yield first, result.result()
            while waiting:
                first, result = waiting.popleft()
                yield first, result.result()
        finally:
            for _, result in waiting:
                result.cancel()


def _image_files(folder: Path) -> Iterator[str]:
    for parent, _, names in os.walk(folder):
        yield from (os.path.join(parent, n) for n in names if n.lower().endswith(EXTENSIONS) and not n.startswith("."))


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
