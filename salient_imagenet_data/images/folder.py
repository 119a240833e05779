"""Image files in folders, one folder a class."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.imagenet import id_of_path
from salient_imagenet_data.images.decoding import decode_picture, extensions
from salient_imagenet_data.images.source import ListedSource, check_unique


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
        return decode_picture(self.path(index), self._paths[index].as_py())

    def encoded(self, index: int) -> dict[str, str | bytes | None]:
        return {"path": os.path.abspath(self.path(index)), "bytes": None}

    def files(self) -> Iterator[str]:
        yield from (os.path.abspath(self.path(index)) for index in range(len(self)))

    def referred(self, index: int) -> dict[str, str | bytes | None]:
        return self.encoded(index)

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
                    expected=f"files ending in {', '.join(extensions())}",
                    then="add images or remove the folder",
                )
            paths += (os.path.relpath(path, folder).replace(os.sep, "/") for path in found)
            labels += [label] * len(found)
        super().__init__(folder, paths, labels, names)


def _image_files(folder: Path) -> Iterator[str]:
    for parent, _, names in os.walk(folder):
        yield from (
            os.path.join(parent, n) for n in names if n.lower().endswith(extensions()) and not n.startswith(".")
        )
