"""Files by name, from a zip that stays packed or from a folder: found through one compact index, read within limits."""

from __future__ import annotations

import bz2
import hashlib
import lzma
import os
import struct
import zipfile
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import deflate
import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.errors import ImageError, SalientError
from salient_imagenet_data.official.zip_index import Member, decode_name, members
from salient_imagenet_data.store.manifest import file_sha256

TABLES = ("wordnet_dict.py", "image_names_map.csv")
"""Names of the release's files that are not masks."""
MASK_LIMIT = 2**20
"""Bytes of one mask at most; a 224 x 224 gray JPEG has about 5,000."""
TABLE_LIMIT = 2**22
"""Bytes of one table at most; the release's have below 100,000."""
RATIO_LIMIT = 200
"""Bytes out of one byte in at most, for files above RATIO_FROM bytes."""
RATIO_FROM = 2**16
ENTRIES_LIMIT = 20_000_000
FOLDERS_LIMIT = 1_000_000

_LOCAL = struct.Struct("<IHHHHHIIIHH")
_LOCAL_MARK = 0x04034B50
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}


@dataclass(frozen=True)
class Index:
    """Every file of an archive, by the hash of its name: hashes is sorted, the others (E,) lie beside it."""

    hashes: NDArray[np.uint64]
    offset: NDArray[np.uint64]
    packed: NDArray[np.uint64]
    size: NDArray[np.uint64]
    crc: NDArray[np.uint32]
    method: NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.hashes)

    def find(self, paths: Sequence[str]) -> NDArray[np.int64]:
        """(len(paths),) int64 places in this index, -1 where there is no such file."""
        wanted = np.array([name_hash(p) for p in paths], dtype=np.uint64)
        if not len(self):
            return np.full(len(wanted), -1, dtype=np.int64)
        place = np.minimum(np.searchsorted(self.hashes, wanted), len(self) - 1)
        return np.where(self.hashes[place] == wanted, place, -1).astype(np.int64)

    def members(self, places: NDArray[np.int64], paths: Iterable[str]) -> list[Member]:
        """The files at some places, whose names are known to be `paths`."""
        columns = (self.offset, self.packed, self.size, self.crc, self.method)
        return [Member(*fields) for fields in zip(paths, *(column[places].tolist() for column in columns), strict=True)]


class Reader(Protocol):
    """Reads single files. Can be pickled: workers open the archive for themselves."""

    def read(self, member: Member, limit: int) -> bytes:
        """A file's bytes. Raises ImageError where it is damaged, SalientError where it is larger than limit."""
        ...


@dataclass(frozen=True)
class Archive:
    """path: of the zip or folder. tables: the files named as in TABLES. folders: every folder that holds a file."""

    path: Path
    reader: Reader
    index: Index
    tables: dict[str, Member]
    folders: frozenset[str]
    is_zip: bool

    def fingerprint(self) -> str:
        """sha256 of a zip; of a folder, of the hashes of the names and of the sizes."""
        if self.is_zip:
            return file_sha256(self.path)
        return hashlib.sha256(self.index.hashes.tobytes() + self.index.size.tobytes()).hexdigest()


def open_archive(path: str | os.PathLike[str]) -> Archive:
    """A zip file or a folder, indexed. Raises SalientError for anything that no honest release holds."""
    place = Path(path)
    if place.is_dir():
        return _collect(place, FolderReader(place), _walk(place), is_zip=False)
    if not place.is_file():
        raise SalientError(f"{place}: no such file or folder", expected="the release's zip, or the folder unpacked")
    archive = _collect(place, ZipReader(place), members(place), is_zip=True)
    _check_apart(archive.index, place)
    return archive


def name_hash(path: str) -> int:
    """64 bits of a name's BLAKE2b. A reader compares the whole name again."""
    return int.from_bytes(hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "little")


class ZipReader:
    """Reads files of a zip, each by its own local header, within limits on what comes out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_file": None}

    def read(self, member: Member, limit: int) -> bytes:
        self._check_size(member, limit)
        data = self._packed(member)
        try:
            data = _unpack(member, data)
        except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, struct.error) as error:
            raise self._damaged(member, f"{type(error).__name__}: {error}") from error
        if len(data) != member.size:
            more = "more" if len(data) > member.size else str(len(data))
            raise self._damaged(member, f"{more} bytes where the directory says {member.size}")
        if zlib.crc32(data) != member.crc:
            raise self._damaged(member, "another CRC-32 than the directory says")
        return data

    def _check_size(self, member: Member, limit: int) -> None:
        if member.method not in _METHODS:
            raise SalientError(
                f"{self.path}: {member.path!r} is packed by method {member.method}",
                expected="stored, deflate, bzip2 or LZMA",
                then="repack it, or unpack it and give the folder",
            )
        bomb = member.size > RATIO_FROM and member.size > RATIO_LIMIT * member.packed
        if member.size > limit or member.packed > 2 * limit or bomb:
            raise SalientError(
                f"{self.path}: {member.path!r} is too large",
                expected=f"at most {limit} bytes, and {RATIO_LIMIT} times what it takes in the zip",
                got=f"{member.size} bytes out of {member.packed}",
            )

    def _packed(self, member: Member) -> bytes:
        if self._file is None:
            self._file = self.path.open("rb")
        self._file.seek(member.offset)
        # Header and data in one read; the header's extra field is seldom longer than guessed.
        block = self._file.read(_LOCAL.size + 2 * len(member.path) + 64 + member.packed)
        fields = _LOCAL.unpack_from(block) if len(block) >= _LOCAL.size else (0,) * 11
        if fields[0] != _LOCAL_MARK:
            raise self._damaged(member, f"no file at byte {member.offset}")
        name, flags = block[_LOCAL.size : _LOCAL.size + fields[9]], fields[2]
        if decode_name(name, flags) != member.path or flags & 0x1:
            raise self._damaged(member, f"{decode_name(name, flags)!r:.200} at byte {member.offset}")
        start = _LOCAL.size + fields[9] + fields[10]
        if start + member.packed > len(block):
            block += self._file.read(start + member.packed - len(block))
        data = block[start : start + member.packed]
        if len(data) < member.packed:
            raise self._damaged(member, "the end of the zip in the middle of it")
        return data

    def _damaged(self, member: Member, got: str) -> ImageError:
        return ImageError(f"{self.path}: {member.path!r} is damaged", got=got, then="download the zip again")


class FolderReader:
    """Reads files below a folder; links are not followed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, member: Member, limit: int) -> bytes:
        path = self.root / member.path
        if member.size > limit:
            raise SalientError(f"{path}: too large", expected=f"at most {limit} bytes", got=f"{member.size} bytes")
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(limit + 1)
        if len(data) != member.size:
            raise SalientError(f"{path}: changed while it was read", expected=f"{member.size} bytes")
        return data


def _unpack(member: Member, data: bytes) -> bytes:
    """The file's bytes, at most one more than the directory says: what unpacks to more is never made."""
    limit = member.size + 1
    if member.method == zipfile.ZIP_DEFLATED:
        with suppress(deflate.DeflateError):  # half the time, but no word of what is wrong, which zlib then has
            return bytes(deflate.deflate_decompress(data, member.size))
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, limit)
    if member.method == zipfile.ZIP_BZIP2:
        return bz2.BZ2Decompressor().decompress(data, limit)
    if member.method == zipfile.ZIP_LZMA:
        # Version, length of the properties, then lc, lp and pb in one byte and the size of the dictionary
        # [APPNOTE 5.8.8]. A dictionary larger than the file is no use but to take memory.
        _, _, properties, dictionary = struct.unpack_from("<HHBI", data)
        lzma1 = {
            "id": lzma.FILTER_LZMA1,
            "lc": properties % 9,
            "lp": properties // 9 % 5,
            "pb": properties // 45,
            "dict_size": max(4096, min(dictionary, member.size)),
        }
        return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[lzma1]).decompress(data[9:], limit)
    return data


def _walk(root: Path) -> Iterator[Member]:
    """Files of a folder, two levels down: the layout has none below. Raises SalientError for a link."""
    stack = [("", 0)]
    while stack:
        prefix, depth = stack.pop()
        with os.scandir(root / prefix) as entries:
            for entry in entries:
                name = f"{prefix}/{entry.name}" if prefix else entry.name
                if entry.is_symlink():
                    raise SalientError(f"{root / name}: is a link", expected="plain files and folders")
                if entry.is_dir(follow_symlinks=False):
                    if depth < 3:
                        stack.append((name, depth + 1))
                elif entry.is_file(follow_symlinks=False):
                    size = entry.stat(follow_symlinks=False).st_size
                    yield Member(name, 0, size, size, 0, 0)


def _collect(path: Path, reader: Reader, files: Iterable[Member], *, is_zip: bool) -> Archive:
    hashes, offset, packed, size = array("Q"), array("Q"), array("Q"), array("Q")
    crc, method = array("I"), array("H")
    tables: dict[str, Member] = {}
    folders: set[str] = set()
    for member in files:
        folder, _, name = member.path.rpartition("/")
        folders.add(folder)
        if name in TABLES and not folder.startswith("__MACOSX"):
            tables[member.path] = member
        hashes.append(name_hash(member.path))
        offset.append(member.offset)
        packed.append(member.packed)
        size.append(member.size)
        crc.append(member.crc)
        method.append(member.method)
        if len(hashes) > ENTRIES_LIMIT or len(folders) > FOLDERS_LIMIT:
            raise SalientError(f"{path}: too many files", expected=f"{ENTRIES_LIMIT} at most", got="more")
    order = np.argsort(np.asarray(hashes), kind="stable")
    index = Index(*(np.asarray(column)[order] for column in (hashes, offset, packed, size, crc, method)))
    twice = np.flatnonzero(index.hashes[1:] == index.hashes[:-1])
    if is_zip and len(twice):
        wanted = int(index.hashes[twice[0]])
        name = next(m.path for m in members(path) if name_hash(m.path) == wanted)
        raise SalientError(f"{path}: holds {name!r} twice", expected="every name once", then="repack it")
    return Archive(path, reader, index, tables, frozenset(folders), is_zip)


def _check_apart(index: Index, path: Path) -> None:
    """No two files share bytes: overlapping ones are how a small zip unpacks to petabytes."""
    order = np.argsort(index.offset)
    start = index.offset[order]
    end = start + index.packed[order] + np.uint64(_LOCAL.size)
    if (end[:-1] > start[1:]).any():
        raise SalientError(
            f"{path}: files in it overlap", expected="each file with bytes of its own", then="not opened"
        )
