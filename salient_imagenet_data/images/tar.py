"""WebDataset shards: tar files whose members `key.jpg`, `key.cls`, ... belong together by key."""

from __future__ import annotations

import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from salient_imagenet_data.errors import ImageError, SalientError
from salient_imagenet_data.imagenet import composed, id_of_path, wnids
from salient_imagenet_data.images.decoding import decode, extensions
from salient_imagenet_data.images.folder import in_class_order
from salient_imagenet_data.images.passed_over import IN_TAR, PassedOver, ending_reason, name_reason
from salient_imagenet_data.images.reference import reference, stamp
from salient_imagenet_data.images.source import ListedSource, check_unique
from salient_imagenet_data.images.trouble import is_trouble, patiently, said

CLASS_NAMES = "classnames.txt"
LARGEST_CLS = 32
"""Bytes of a `.cls` member, which holds one number."""
MOST_NUMBERED = 1_000_000
"""Classes without names that numbers may mean, and shards that a pattern may: what is made of them is bounded."""


class TarSource(ListedSource):
    """Images in tar shards, read in place at their offsets.

    The class of an image is the number in its own `.cls` member (`_number_of`), else the wnid in its name, else the
    folder in its name. Names of numbered classes: `classnames.txt` beside the shards, one a line; ImageNet's wnids
    where there are a thousand; else the numbers. Images are in the order of the shards.
    """

    def __init__(self, shards: Sequence[Path]) -> None:
        self.shards = [Path(shard) for shard in shards]
        self._stamps = [stamp(shard) for shard in self.shards]
        scans = [_scan(shard) for shard in self.shards]
        beside = self.shards[0].parent
        names = [name for scan in scans for name in scan.pictures]
        if not names:
            raise SalientError(
                f"{beside}: no images in the tar files",
                expected="members such as 0001.jpg",
                got="archives in archives: unpack the outer one first" if any(s.archives for s in scans) else "",
            )
        ids = pa.array([id_of_path(name) for name in names], type=pa.string())
        check_unique(ids, pa.array(names, type=pa.string()))
        numbers = [_number_of(name, scan.numbers) for scan in scans for name in scan.pictures]
        if any(number is not None for number in numbers):
            labels, classes = _numbered(names, numbers, beside)
        else:
            labels, classes = _worded(names, beside)
        super().__init__(ids, labels, classes)
        self.shards = [Path(os.path.abspath(shard)) for shard in self.shards]  # wherever this process goes
        self.passed_over = PassedOver(tuple(item for scan in scans for item in scan.passed()))
        self._places = np.array(
            [(i, *place) for i, scan in enumerate(scans) for place in scan.pictures.values()], dtype=np.int64
        )

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
        name = f"{self._ids[index].as_py()} in {self.shards[shard].name}"

        def read() -> bytes:
            with self.shards[shard].open("rb") as file:
                file.seek(offset)
                found: bytes = file.read(size)
                return found

        try:
            data = patiently(read, name, self.shards[shard])
        except OSError as error:
            raise SalientError(f"{self.shards[shard]}: cannot be read", got=said(error)) from error
        if len(data) != size:
            raise ImageError(f"{self._ids[index].as_py()}: cut short", expected=f"{size} bytes", got=str(len(data)))
        return data


def find_shards(path: Path) -> list[Path]:
    """The tar files that a path means: one file, a folder of them, or a pattern such as `train-{0000..0146}.tar`."""
    if path.is_dir():
        return sorted(p for p in path.glob("*.tar") if name_reason(p.name) is None and p.is_file())
    braces = re.search(r"\{(\d+)\.\.(\d+)\}", path.name)
    if braces:
        first, last = braces[1], braces[2]
        if int(last) - int(first) >= MOST_NUMBERED:
            raise SalientError(f"{path}: too many shards", expected=f"at most {MOST_NUMBERED}", got=braces[0])
        numbers = [str(n).zfill(len(first)) for n in range(int(first), int(last) + 1)]
        found = [path.with_name(path.name.replace(braces[0], number)) for number in numbers]
        missing = [p for p in found if not p.is_file()]
        if missing:
            raise SalientError(f"{missing[0]}: no such file", got=f"{len(missing)} of {len(found)} shards missing")
        return found
    return [path] if path.suffix == ".tar" and path.is_file() else []


@dataclass
class _Scan:
    """Members of a shard. pictures: {name: (offset, size)}. numbers: {name without .cls: what it holds}."""

    shard: str
    pictures: dict[str, tuple[int, int]] = field(default_factory=dict)
    numbers: dict[str, str] = field(default_factory=dict)
    others: list[tuple[str, str]] = field(default_factory=list)
    archives: bool = False

    def passed(self) -> list[tuple[str, str]]:
        """Members that are no picture and no other part of a picture's sample."""
        samples = {_key(name) for name in self.pictures} | {_stem(name) for name in self.pictures}
        parts = [(name, reason) for name, reason in self.others if reason.startswith("name ")]
        alone = {name for name, _ in parts if not samples & {_key(name), _stem(name)}}
        return [(f"{self.shard}/{n}", r) for n, r in self.others if not r.startswith("name ") or n in alone]


def _scan(shard: Path) -> _Scan:
    """Names and places of a shard's members. Names of other bytes than UTF-8's hold them as \\xNN."""
    scan = _Scan(shard.name)
    try:
        with tarfile.open(shard, "r:", encoding="utf-8", errors="surrogateescape") as archive:
            for member in archive:
                name = member.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
                name = str(PurePosixPath(name))
                if not member.isdir():
                    _note(scan, archive, member, name)
            _check_end(archive)
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        if is_trouble(error, shard):
            raise SalientError(f"{shard}: the system cannot read it", got=said(error), then="run it again") from error
        raise SalientError(
            f"{shard}: not an uncompressed tar file", got=said(error), then="download it again"
        ) from error
    return scan


def _check_end(archive: tarfile.TarFile) -> None:
    """Raise ReadError unless the members are followed by the end of an archive: tarfile takes a header that is damaged
    or cut short for the end, and so would leave out all that comes after it."""
    stream = archive.fileobj
    assert stream is not None
    stream.seek(archive.offset)
    block = stream.read(tarfile.BLOCKSIZE)
    if block != tarfile.NUL * tarfile.BLOCKSIZE:
        raise tarfile.ReadError(f"no member and no end of the archive at byte {archive.offset}")


def _note(scan: _Scan, archive: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> None:
    path = PurePosixPath(name)
    hidden = next((reason for part in path.parts if (reason := name_reason(part))), None)
    if hidden or not member.isreg() or member.issparse():
        scan.others.append((name, hidden or IN_TAR))
    elif path.suffix.lower() in extensions():
        if name in scan.pictures:
            raise SalientError(f"{scan.shard}: two members are called {name!r}", then="rename or remove one")
        scan.pictures[name] = (member.offset_data, member.size)
    elif path.suffix.lower() == ".cls" and member.size < LARGEST_CLS:
        data = archive.extractfile(member)
        scan.numbers[_stem(name)] = data.read().decode("ascii", "replace").strip() if data else ""
    else:
        scan.archives |= path.suffix.lower() == ".tar"
        scan.others.append((name, ending_reason(path.name)))


def _stem(name: str) -> str:
    """A member's name without its last ending: `clip.000` of `clip.000.png`."""
    return str(PurePosixPath(name).with_suffix(""))


def _key(name: str) -> str:
    """A member's key as WebDataset's writers make it: all before the first dot of the base name."""
    path = PurePosixPath(name)
    return str(path.with_name(path.name.split(".")[0] or path.name))


def _number_of(name: str, numbers: dict[str, str]) -> str | None:
    """What an image's own `.cls` member holds, in its shard: of the image's whole name, `clip.000.cls` for
    `clip.000.png`, else of its key, `0001.cls` for `0001.left.png`. Never that of a neighbour."""
    return numbers.get(_stem(name), numbers.get(_key(name)))


def _numbered(names: list[str], numbers: list[str | None], beside: Path) -> tuple[list[int], tuple[str, ...]]:
    for name, number in zip(names, numbers, strict=True):
        if number is None or not (number.isascii() and number.isdigit()):
            raise SalientError(
                f"{beside}: classes of some images only",
                expected="a .cls member with a number beside every image",
                got=f"{'none' if number is None else repr(number)} for {name}",
            )
    labels = [int(number) for number in numbers if number is not None]
    listed, most = beside / CLASS_NAMES, max(labels)
    if listed.is_file():
        classes = _listed(listed)
    elif most >= MOST_NUMBERED:
        raise SalientError(
            f"{beside}: a class number that cannot be", expected=f"below {MOST_NUMBERED}", got=f"{most:.4g}"
        )
    else:
        classes = wnids() if most == len(wnids()) - 1 else tuple(str(i) for i in range(most + 1))
    if most >= len(classes):
        raise SalientError(
            f"{beside}: a class number without a name", expected=f"0 to {len(classes) - 1}", got=str(most)
        )
    return labels, classes


def _listed(path: Path) -> tuple[str, ...]:
    """Class names, one a line, each once."""
    try:
        names = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise SalientError(f"{path}: not text in UTF-8", got=str(error), then="save it as UTF-8") from error
    names = names[:-1] if names[-1] == "" else names
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise SalientError(f"{path}: a class name twice", expected="a name a line, each once", got=repr(twice))
    return tuple(names)


def _worded(names: list[str], beside: Path) -> tuple[list[int], tuple[str, ...]]:
    words = [_word(PurePosixPath(_key(name))) for name in names]
    if "" in words:
        raise SalientError(
            f"{beside}: images without a class",
            expected="a .cls member beside each, or a folder in its name",
            got=names[words.index("")],
        )
    found = set(words)
    classes = tuple(in_class_order(found))
    index = {name: label for label, name in enumerate(classes)}
    return [index[word] for word in words], classes


def _word(key: PurePosixPath) -> str:
    wnid = re.match(r"n\d{8}(?=_)|.*_(n\d{8})$", key.name)
    if wnid:
        return wnid[1] or wnid[0]
    return composed(key.parent.name)
