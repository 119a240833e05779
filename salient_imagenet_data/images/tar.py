"""WebDataset shards: tar files whose members `key.jpg`, `key.cls`, ... belong together by key."""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from salient_imagenet_data.errors import ImageError, SalientError
from salient_imagenet_data.imagenet import id_of_path, wnids
from salient_imagenet_data.images.decoding import decode, extensions
from salient_imagenet_data.images.reference import reference, stamp
from salient_imagenet_data.images.source import ListedSource, check_unique

CLASS_NAMES = "classnames.txt"


class TarSource(ListedSource):
    """Images in tar shards, read in place at their offsets.

    The class of an image is the number in its `.cls` member, else the wnid in its name, else the folder in its key.
    Names of numbered classes: `classnames.txt` beside the shards, one a line; ImageNet's wnids where the ids are
    ImageNet's; else the numbers. Images are in the order of the shards.
    """

    def __init__(self, shards: Sequence[Path]) -> None:
        self.shards = [Path(shard) for shard in shards]
        self._stamps = [stamp(shard) for shard in self.shards]
        samples: list[tuple[int, int, int, str]] = []
        classes: dict[str, str] = {}
        for number, shard in enumerate(self.shards):
            _scan(number, shard, samples, classes)
        if not samples:
            raise SalientError(
                f"{self.shards[0].parent}: no images in the tar files", expected="members such as 0001.jpg"
            )
        keys = [PurePosixPath(name).with_name(PurePosixPath(name).name.split(".")[0]) for *_, name in samples]
        ids = pa.array([id_of_path(name) for *_, name in samples], type=pa.string())
        check_unique(ids, pa.array([name for *_, name in samples], type=pa.string()))
        words = [classes.get(str(key)) or _word(key) for key in keys]
        names = _class_names(words, self.shards[0].parent / CLASS_NAMES, bool(classes))
        index = {name: label for label, name in enumerate(names)}
        numbered = bool(classes)
        super().__init__(ids, [int(w) if numbered else index[w] for w in words], names)
        if self._labels.max() >= len(names):
            raise SalientError(
                f"{self.shards[0].parent}: a class number without a name",
                expected=f"0 to {len(names) - 1}",
                got=str(self._labels.max()),
            )
        self._places = np.array([s[:3] for s in samples], dtype=np.int64)

    def pixels(self, index: int) -> NDArray[np.uint8]:
        return decode(self._bytes(index), self._ids[index].as_py())

    def encoded(self, index: int) -> dict[str, str | bytes | None]:
        return {"path": None, "bytes": self._bytes(index)}

    def files(self) -> Iterator[str]:
        yield from (os.path.abspath(shard) for shard in self.shards)

    def referred(self, index: int) -> dict[str, str | bytes | None]:
        shard, offset, size = self._places[index].tolist()
        return {"path": reference(self.shards[shard], offset, size, self._stamps[shard]), "bytes": None}

    def _bytes(self, index: int) -> bytes:
        shard, offset, size = self._places[index].tolist()
        with self.shards[shard].open("rb") as file:
            file.seek(offset)
            data: bytes = file.read(size)
        if len(data) != size:
            raise ImageError(f"{self._ids[index].as_py()}: cut short", expected=f"{size} bytes", got=str(len(data)))
        return data


def find_shards(path: Path) -> list[Path]:
    """The tar files that a path means: one file, a folder of them, or a pattern such as `train-{0000..0146}.tar`."""
    if path.is_dir():
        return sorted(path.glob("*.tar"))
    braces = re.search(r"\{(\d+)\.\.(\d+)\}", path.name)
    if braces:
        first, last = braces[1], braces[2]
        numbers = [str(n).zfill(len(first)) for n in range(int(first), int(last) + 1)]
        found = [path.with_name(path.name.replace(braces[0], number)) for number in numbers]
        missing = [p for p in found if not p.is_file()]
        if missing:
            raise SalientError(f"{missing[0]}: no such file", got=f"{len(missing)} of {len(found)} shards missing")
        return found
    return [path] if path.suffix == ".tar" and path.is_file() else []


def _scan(number: int, shard: Path, samples: list[tuple[int, int, int, str]], classes: dict[str, str]) -> None:
    """Add a shard's images (shard, offset, size, name), and its `.cls` members by key."""
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                if not member.isfile():
                    continue
                name = PurePosixPath(member.name)
                key = str(name.with_name(name.name.split(".")[0]))
                if name.suffix.lower() in extensions():
                    samples.append((number, member.offset_data, member.size, str(name)))
                elif name.suffix == ".cls" and member.size < 32:
                    data = archive.extractfile(member)
                    classes[key] = data.read().decode("ascii", "replace").strip() if data else ""
    except (tarfile.TarError, OSError) as error:
        raise SalientError(
            f"{shard}: not an uncompressed tar file", got=str(error), then="download it again"
        ) from error


def _word(key: PurePosixPath) -> str:
    wnid = re.match(r"n\d{8}(?=_)|.*_(n\d{8})$", key.name)
    if wnid:
        return wnid[1] or wnid[0]
    return key.parent.name


def _class_names(words: list[str], listed: Path, numbered: bool) -> tuple[str, ...]:
    if numbered:
        if not all(word.isdecimal() for word in words):
            raise SalientError(
                f"{listed.parent}: classes of some images only",
                expected="a .cls member with a number beside every image",
                got=repr(next(word for word in words if not word.isdecimal())),
            )
        if listed.is_file():
            return tuple(listed.read_text(encoding="utf-8").splitlines())
        most = max(int(word) for word in words)
        return wnids() if most == len(wnids()) - 1 else tuple(str(i) for i in range(most + 1))
    if "" in words:
        raise SalientError(
            f"{listed.parent}: images without a class", expected="a .cls member beside each, or a folder in its name"
        )
    found = set(words)
    return wnids() if found <= set(wnids()) and len(found) > 100 else tuple(sorted(found))
