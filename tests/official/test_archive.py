from __future__ import annotations

import stat
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from salient_imagenet_data.errors import ImageError, SalientError
from salient_imagenet_data.official.archive import MASK_LIMIT, Archive, open_archive
from salient_imagenet_data.official.zip_index import members
from tests.release_files import release, write_folder, write_zip


def read(archive: Archive, path: str, limit: int = MASK_LIMIT) -> bytes:
    (place,) = archive.index.find([path])
    assert place >= 0, path
    return archive.reader.read(archive.index.members(np.array([place]), [path])[0], limit)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_every_file_as_zipfile_reads_it(tmp_path: Path, compression: int) -> None:
    files = {**release(), "empty": b"", "name with umlaut ä.txt": b"x" * 3000}
    path = write_zip(tmp_path / "r.zip", files, compression)
    archive = open_archive(path)
    assert len(archive.index) == len(files)
    with zipfile.ZipFile(path) as reference:
        for info in reference.infolist():
            assert read(archive, info.filename) == reference.read(info) == files[info.filename]
    assert archive.index.find(["salient_imagenet_dataset/none"]).tolist() == [-1]


def test_a_folder_reads_the_same(tmp_path: Path) -> None:
    files = release("")
    archive = open_archive(write_folder(tmp_path / "r", files))
    assert len(archive.index) == len(files) and sorted(archive.tables) == sorted(f for f in files if "JPEG" not in f)
    assert all(read(archive, name) == data for name, data in files.items())


def test_zip64_bytes_before_the_archive_and_a_comment(tmp_path: Path) -> None:
    path = tmp_path / "r.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = b"PK\x05\x06 in a comment"
        for name, data in release().items():
            with archive.open(name, "w", force_zip64=True) as file:
                file.write(data)
    path.write_bytes(b"#!/bin/sh\n" * 7 + path.read_bytes())
    assert all(read(open_archive(path), name) == data for name, data in release().items())


def test_zip64_end_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 5)
    path = write_zip(tmp_path / "r.zip", release())
    assert b"PK\x06\x06" in path.read_bytes()
    assert len(open_archive(path).index) == len(release())


def wrapped_zip(path: Path) -> dict[str, bytes]:
    """A zip beyond 4 GiB whose offsets are kept modulo 2**32, as tools without zip64 leave it; sparse on disk."""
    starts = {"a/1": 0, "a/2": 3 * 2**30, "a/3": 2**32 + 100, "a/4": 7 * 2**30, "a/5": 2**33 + 7}
    files = {name: f"text {name}".encode() for name in starts}
    directory = b""
    with path.open("wb") as file:
        for name, data in files.items():
            common = struct.pack("<5H3I2H", 20, 0, 0, 0, 0, zlib.crc32(data), len(data), len(data), len(name), 0)
            file.seek(starts[name])
            file.write(b"PK\x03\x04" + common + name.encode() + data)
            directory += (
                b"PK\x01\x02" + struct.pack("<H", 20) + common + struct.pack("<3H2I", 0, 0, 0, 0, starts[name] % 2**32)
            )
            directory += name.encode()
        start = file.tell()
        file.write(directory + b"PK\x05\x06" + struct.pack("<4H2IH", 0, 0, 5, 5, len(directory), start % 2**32, 0))
    return files


def test_trap_a_large_zip_without_zip64_reads_where_others_fail(tmp_path: Path) -> None:
    files = wrapped_zip(tmp_path / "r.zip")
    archive = open_archive(tmp_path / "r.zip")
    assert {name: read(archive, name) for name in files} == files
    with zipfile.ZipFile(tmp_path / "r.zip") as reference, pytest.raises(zipfile.BadZipFile):
        reference.read("a/1")


def test_index_memory_does_not_hold_an_object_a_file(tmp_path: Path) -> None:
    path = tmp_path / "r.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(5000):
            archive.writestr(f"n0/feature_1/n0_{i}.JPEG", b"")
    tracemalloc.start()
    index = open_archive(path).index
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(index) == 5000 and size < 5000 * 60


def patched(
    path: Path, name: str, *, directory: dict[int, bytes] | None = None, local: dict[int, bytes] | None = None
) -> Path:
    """Overwrite bytes of an entry's records, counted from their start."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo(name).header_offset
    central = data.index(b"PK\x01\x02")
    while data[central + 46 : central + 46 + len(name)] != name.encode():
        central = data.index(b"PK\x01\x02", central + 4)
    for start, changes in ((central, directory), (at, local)):
        for offset, value in (changes or {}).items():
            data[start + offset : start + offset + len(value)] = value
    path.write_bytes(data)
    return path


def test_hostile_more_than_declared(tmp_path: Path) -> None:
    bomb = {"a/bomb.JPEG": bytes(900_000)}
    for compression in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        path = patched(
            write_zip(tmp_path / "r.zip", bomb, compression), "a/bomb.JPEG", directory={24: struct.pack("<I", 5000)}
        )
        with pytest.raises(ImageError, match="'a/bomb.JPEG' is damaged; got more bytes where the directory says 5000"):
            read(open_archive(path), "a/bomb.JPEG")


def test_hostile_declared_too_large_or_too_dense(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "r.zip", {"big": np.random.default_rng(0).bytes(3000), "dense": bytes(500_000)})
    archive = open_archive(path)
    with pytest.raises(SalientError, match="'big' is too large; expected at most 2000 bytes.*got 3000 bytes"):
        read(archive, "big", 2000)
    with pytest.raises(
        SalientError, match="'dense' is too large.*200 times what it takes in the zip; got 500000 bytes"
    ):
        read(archive, "dense")


def test_hostile_small_bzip2_of_a_huge_file_never_unpacks(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "r.zip", {"b": bytes(50_000_000)}, zipfile.ZIP_BZIP2)
    patched(path, "b", directory={24: struct.pack("<I", 100)})
    archive = open_archive(path)
    tracemalloc.start()
    with pytest.raises(ImageError, match="more bytes where the directory says 100"):
        read(archive, "b")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("name", ["../up", "a/../../up", "/etc/x", "C:/x", "a\\b", "a/b/.."])
def test_hostile_names(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / "r.zip", {"x" * len(name): b"1"})
    path.write_bytes(path.read_bytes().replace(b"x" * len(name), name.encode()))
    with pytest.raises(SalientError, match="leads out of the archive"):
        open_archive(path)


def test_hostile_links(tmp_path: Path) -> None:
    path = tmp_path / "r.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("a/link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(SalientError, match="'a/link' is a link"):
        open_archive(path)
    folder = write_folder(tmp_path / "r", release(""))
    (folder / "n01440764" / "feature_3" / "more.JPEG").symlink_to("/etc/passwd")
    with pytest.raises(SalientError, match="more.JPEG: is a link"):
        open_archive(folder)


def test_hostile_a_link_put_there_after_the_index(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "r", release(""))
    archive = open_archive(folder)
    target = folder / "n01443537" / "feature_5" / "n01443537_0.JPEG"
    other = folder / "n01443537" / "feature_5" / "n01443537_1.JPEG"
    target.unlink()
    target.symlink_to(other)
    with pytest.raises(OSError, match="symbolic link"):
        read(archive, "n01443537/feature_5/n01443537_0.JPEG")


def test_hostile_encrypted(tmp_path: Path) -> None:
    path = patched(write_zip(tmp_path / "r.zip", {"a/b": b"1"}), "a/b", directory={8: b"\x01"}, local={6: b"\x01"})
    with pytest.raises(SalientError, match="'a/b' is encrypted"):
        open_archive(path)


def test_hostile_duplicate_names(tmp_path: Path) -> None:
    path = tmp_path / "r.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/b", "1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a/b", "2")
    with pytest.raises(SalientError, match="holds 'a/b' twice"):
        open_archive(path)


def test_hostile_overlapping_files(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "r.zip", {"a1": bytes(100), "a2": bytes(100)}, zipfile.ZIP_STORED)
    patched(path, "a2", directory={42: struct.pack("<I", 0)})
    with pytest.raises(SalientError, match="files in it overlap"):
        open_archive(path)


def test_hostile_directory_that_points_elsewhere(tmp_path: Path) -> None:
    names = {"a1": b"first", "b2": b"second"}
    path = patched(write_zip(tmp_path / "r.zip", names), "a1", local={30: b"zz"})
    with pytest.raises(ImageError, match="'a1' is damaged; got 'zz' at byte 0"):
        read(open_archive(path), "a1")
    path = patched(write_zip(tmp_path / "r.zip", names), "a1", local={0: b"XX"})
    with pytest.raises(ImageError, match="no file at byte 0"):
        read(open_archive(path), "a1")
    path = patched(write_zip(tmp_path / "r.zip", names), "b2", directory={42: struct.pack("<I", 2**31)})
    with pytest.raises(SalientError, match="'b2' at bytes .* in or behind the directory"):
        open_archive(path)


def test_damaged_bytes_and_unknown_methods(tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(500)
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        path = patched(write_zip(tmp_path / "r.zip", {"a": data}, compression), "a", local={60: b"\x00\xff\x00\xff"})
        with pytest.raises(ImageError, match="'a' is damaged"):
            read(open_archive(path), "a")
    path = patched(write_zip(tmp_path / "r.zip", {"a": data}), "a", directory={10: b"\x09\x00"})
    with pytest.raises(SalientError, match="packed by method 9; expected stored, deflate, bzip2 or LZMA; repack it"):
        read(open_archive(path), "a")


def test_not_a_zip_cut_short_or_nothing(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "r.zip", release())
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:size])
        with pytest.raises(SalientError, match="not a whole zip file"):
            open_archive(path)
    with pytest.raises(SalientError, match="no such file or folder"):
        open_archive(tmp_path / "none.zip")


@pytest.mark.parametrize("seed", range(40))
def test_random_damage_ends_in_one_clear_line(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    path = write_zip(tmp_path / "r.zip", {f"a/{i}": rng.bytes(40) for i in range(5)})
    data = bytearray(path.read_bytes())
    for _ in range(4):
        data[int(rng.integers(len(data) // 2, len(data)))] = int(rng.integers(256))
    path.write_bytes(data)
    try:
        archive = open_archive(path)
        for member in members(path):
            archive.reader.read(member, MASK_LIMIT)
    except SalientError as error:
        assert "\n" not in str(error)


def test_zip_reader_can_be_pickled_after_use(tmp_path: Path) -> None:
    import pickle

    archive = open_archive(write_zip(tmp_path / "r.zip", {"a": b"1"}))
    assert read(archive, "a") == b"1"
    copy = pickle.loads(pickle.dumps(archive.reader))
    assert copy.read(next(members(tmp_path / "r.zip")), 10) == b"1"
