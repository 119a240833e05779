"""The central directory of a zip file, entry by entry, in memory that does not grow with it.

`zipfile` makes an object of every entry, about a kilobyte each for a million masks, in every process. This reads the
same records [PKWARE APPNOTE 6.3.10, sections 4.3.12 to 4.3.16] one after the other, and refuses what no honest
release holds: encrypted entries, links, and names that lead out of the folder.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from salient_imagenet_data.errors import SalientError

_ENTRY = struct.Struct("<I6H3I5H2I")
_END = struct.Struct("<I4H2IH")
_LOCATOR = struct.Struct("<IIQI")
_END64 = struct.Struct("<IQHHIIQQQQ")
_ENTRY_MARK, _END_MARK, _LOCATOR_MARK, _END64_MARK = 0x02014B50, 0x06054B50, 0x07064B50, 0x06064B50
_WRAP = 2**32
_UTF8_NAME, _ENCRYPTED = 0x800, 0x1


class Member(NamedTuple):
    """One file of an archive. offset: of its local header (0 in a folder). packed, size: bytes as stored and as read.

    crc and method are the zip's CRC-32 and compression method; 0 in a folder.
    """

    path: str
    offset: int
    packed: int
    size: int
    crc: int
    method: int


@dataclass(frozen=True)
class _Directory:
    """Where the central directory lies. shift: bytes before the archive. wrapped: offsets are kept modulo 2**32."""

    start: int
    size: int
    entries: int
    shift: int
    wrapped: bool


def members(path: Path) -> Iterator[Member]:
    """The files of a zip in the order of its directory; folders are left out. Raises SalientError for a bad one."""
    with path.open("rb") as file:
        directory = _find(file, path)
        file.seek(directory.start)
        left, count, base, last = directory.size, 0, 0, 0
        while left > 0:
            head = file.read(_ENTRY.size)
            if len(head) < _ENTRY.size:
                raise _damaged(path, "a directory that is cut short")
            fields = _ENTRY.unpack(head)
            mark, _, _, flags, method, _, _, crc, packed, size, name_size, extra_size, note_size, _, _, mode, at = (
                fields
            )
            if mark != _ENTRY_MARK:
                raise _damaged(path, f"no entry at byte {directory.start + directory.size - left}")
            rest = file.read(name_size + extra_size + note_size)
            if len(rest) < name_size + extra_size + note_size:
                raise _damaged(path, "a directory that is cut short")
            left -= _ENTRY.size + len(rest)
            count += 1
            name = decode_name(rest[:name_size], flags)
            size, packed, at = _long(rest[name_size : name_size + extra_size], size, packed, at)
            if directory.wrapped:
                base += _WRAP if at < last else 0
                last = at
            _check(path, name, flags, mode)
            at += base + directory.shift
            if at + packed > directory.start:
                raise _damaged(path, f"{name!r} at bytes {at} to {at + packed}, in or behind the directory")
            if not name.endswith("/"):
                yield Member(name, at, packed, size, crc, method)
        if left < 0 or count % 2**16 != directory.entries % 2**16:
            raise _damaged(path, f"{count} entries where its end says {directory.entries}")


def decode_name(raw: bytes, flags: int) -> str:
    """An entry's name: UTF-8 where its flag says so, else code page 437."""
    return raw.decode("utf-8" if flags & _UTF8_NAME else "cp437", errors="replace")


def _find(file: BinaryIO, path: Path) -> _Directory:
    end = file.seek(0, 2)
    file.seek(max(0, end - _END.size - 2**16))
    tail = file.read()
    position = tail.rfind(struct.pack("<I", _END_MARK))
    while position >= 0:
        if position + _END.size <= len(tail):
            fields = _END.unpack_from(tail, position)
            if position + _END.size + fields[-1] == len(tail):
                break
        position = tail.rfind(struct.pack("<I", _END_MARK), 0, position)
    if position < 0:
        raise SalientError(
            f"{path}: not a whole zip file",
            expected="an end-of-directory record",
            got=f"{end} bytes without one",
            then="download it again",
        )
    at = end - len(tail) + position
    _, _, _, _, entries, size, start, _ = fields
    long_end = _find_long(file, at)
    if long_end is not None:
        at, entries, size, start = long_end
    shift = at - size - start
    if shift < 0:
        raise _damaged(path, f"a directory of {size} bytes at byte {start}, before an end at byte {at}")
    # Archive tools without zip64 write every number modulo 2**32, and so what looks like bytes before the
    # archive is a multiple of 2**32: the cause why other tools do not unpack such files.
    wrapped = long_end is None and shift > 0 and shift % _WRAP == 0
    return _Directory(at - size, size, entries, 0 if wrapped else shift, wrapped)


def _find_long(file: BinaryIO, end: int) -> tuple[int, int, int, int] | None:
    """Position, entries, size and start of the zip64 end record, if there is one."""
    if end < _LOCATOR.size + _END64.size:
        return None
    file.seek(end - _LOCATOR.size)
    mark, _, _, _ = _LOCATOR.unpack(file.read(_LOCATOR.size))
    if mark != _LOCATOR_MARK:
        return None
    # As zipfile does: the record lies right before its locator, so bytes before the archive do no harm.
    at = end - _LOCATOR.size - _END64.size
    file.seek(at)
    mark, _, _, _, _, _, _, entries, size, start = _END64.unpack(file.read(_END64.size))
    return (at, entries, size, start) if mark == _END64_MARK else None


def _long(extra: bytes, *values: int) -> tuple[int, ...]:
    """size, packed and offset, with those that do not fit 32 bits taken from the zip64 field."""
    if _WRAP - 1 not in values:
        return values
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        if kind == 1:
            numbers = min(length, len(extra) - position - 4) // 8
            found = iter(struct.unpack_from(f"<{numbers}Q", extra, position + 4))
            return tuple(next(found, v) if v == _WRAP - 1 else v for v in values)
        position += 4 + length
    return values


def _check(path: Path, name: str, flags: int, mode: int) -> None:
    if flags & _ENCRYPTED:
        raise SalientError(
            f"{path}: {name!r} is encrypted", expected="plain files", then="repack it without a password"
        )
    if stat.S_ISLNK(mode >> 16):
        raise SalientError(f"{path}: {name!r} is a link", expected="plain files and folders")
    parts = name.split("/")
    if ".." in parts or parts[0] == "" or "\\" in name or "\0" in name or parts[0].endswith(":"):
        raise SalientError(f"{path}: {name!r} leads out of the archive", expected="names below one folder")


def _damaged(path: Path, got: str) -> SalientError:
    return SalientError(f"{path}: damaged zip file", got=got, then="download it again")
