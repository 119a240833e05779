"""Image files in folders, one folder a class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.imagenet import composed, id_of_path
from salient_imagenet_data.images.decoding import decode_picture, extensions
from salient_imagenet_data.images.layout.walking import contents, pictures_below
from salient_imagenet_data.images.passed_over import OUTSIDE, PassedOver, text_of
from salient_imagenet_data.images.source import ListedSource, check_unique
from salient_imagenet_data.images.trouble import patiently
from salient_imagenet_data.places import or_on_the_hub


class FileSource(ListedSource):
    """Image files below a root, with a label each.

    paths: below the root, with forward slashes. labels: indices into class_names. The image id is the path without its
    extension, `deer/0012`, or the bare name of an ImageNet file (`imagenet.id_of_path`); in it, bytes of a name that
    are no UTF-8 are written \\xNN.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        paths: Sequence[str],
        labels: Sequence[int],
        class_names: tuple[str, ...],
        passed_over: Iterable[tuple[str, str]] = (),
    ) -> None:
        texts = [text_of(path) for path in paths]
        super().__init__(pa.array([id_of_path(path) for path in texts], type=pa.string()), labels, class_names)
        self.root = Path(os.path.abspath(root))
        self.passed_over = PassedOver(tuple(passed_over))
        self._paths: Any = pa.array(texts, type=pa.string())
        # Arrow holds text as UTF-8 only, so names of other bytes are kept as bytes.
        self._bytes: Any = pa.array([os.fsencode(p) for p in paths], pa.binary()) if texts != list(paths) else None
        check_unique(self._ids, self._paths)

    def pixels(self, index: int) -> NDArray[np.uint8]:
        return np.asarray(self.picture(index))

    def picture(self, index: int) -> Image.Image:
        return decode_picture(self.path(index), self._paths[index].as_py())

    def encoded(self, index: int) -> dict[str, str | bytes | None]:
        path = os.path.abspath(self.path(index))
        if self._bytes is None:
            return {"path": path, "bytes": None}
        return {"path": None, "bytes": patiently(Path(path).read_bytes, self._paths[index].as_py(), path)}

    def files(self) -> Iterator[str]:
        yield from (os.path.abspath(self.path(index)) for index in range(len(self)))

    def referred(self, index: int) -> dict[str, str | bytes | None]:
        return self.encoded(index)

    def below_root(self, index: int) -> str:
        """Path of a file below the root, with forward slashes; bytes that are no UTF-8 are written \\xNN."""
        return str(self._paths[index].as_py())

    def path(self, index: int) -> str:
        """Where the file is."""
        below = self._paths[index].as_py() if self._bytes is None else os.fsdecode(self._bytes[index].as_py())
        return os.path.join(self.root, below)


class FolderSource(FileSource):
    """A class-per-folder tree: `root/<class name>/**/<image file>`.

    Classes are the folders in sorted order, which for ImageNet is the order of its class indices; folders `0` ... `11`,
    all of digits, are in the order of their numbers. Images are sorted by path. What is not read is in `passed_over`.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        folder = Path(root)
        if not folder.is_dir():
            raise SalientError(
                f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}",
                expected="a folder with one sub-folder a class, tar shards, or org/name of a data set on the Hub",
                then=f"check the path given as images{or_on_the_hub(folder)}",
            )
        inside = contents(str(folder))
        if not inside.folders:
            raise SalientError(
                f"{folder}: no class folders",
                expected="one sub-folder a class with image files in it",
                got="an empty folder" if not any(folder.iterdir()) else "files only",
                then="give the folder that holds the class folders",
            )
        passed = [(text_of(name), reason) for name, reason in inside.passed]
        passed += ((text_of(name), OUTSIDE) for name in inside.pictures)
        paths: list[str] = []
        labels: list[int] = []
        names = in_class_order(inside.folders)
        twice = [name for name, count in Counter(composed(text_of(name)) for name in names).items() if count > 1]
        if twice:
            raise SalientError(
                f"{folder}: two class folders are called {twice[0]!r}",
                got="one with accents in characters of their own",
                then="put their images into one",
            )
        for label, name in enumerate(names):
            found = pictures_below(str(folder), name, passed)
            if not found:
                raise SalientError(
                    f"{text_of(str(folder / name))}: class folder without an image",
                    expected=f"files ending in {', '.join(extensions())}",
                    then="add images or remove the folder",
                )
            paths += found
            labels += [label] * len(found)
        super().__init__(folder, paths, labels, tuple(map(text_of, names)), sorted(passed))


def in_class_order(names: Iterable[str]) -> list[str]:
    """Names of classes sorted: as text, or by number where all are digits, as a plain checkpoint counts them."""
    some = list(names)
    if all(name.isascii() and name.isdigit() for name in some):
        return sorted(some, key=lambda name: (int(name), name))
    return sorted(some, key=lambda name: composed(text_of(name)))
