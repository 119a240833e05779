"""Tar shards as they come: cut short, damaged in a header, numbered beyond sense, named in other encodings."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.imagenet import wnids
from salient_imagenet_data.images.decoding import encode_png
from salient_imagenet_data.images.layout.finding import local_source

PICTURE = encode_png(np.full((4, 4, 3), 90, np.uint8))


def _tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def _numbered(folder: Path, *numbers: str) -> Path:
    members = {f"{i}.png": PICTURE for i in range(len(numbers))}
    return _tar(folder / "a.tar", members | {f"{i}.cls": n.encode() for i, n in enumerate(numbers)})


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[:1024], id="ends after a member"),
        pytest.param(lambda data: data[:1200], id="ends within a header"),
        pytest.param(lambda data: data[:1030] + b"?" + data[1031:], id="a byte of a header is another"),
    ],
)
def test_a_shard_that_stops_before_its_end_is_refused_by_name(tmp_path: Path, damage) -> None:
    shard = _tar(tmp_path / "a.tar", {"cat/0.png": PICTURE, "dog/1.png": PICTURE})
    whole = shard.read_bytes()
    assert len(local_source(shard)) == 2
    shard.write_bytes(damage(whole))
    with pytest.raises(SalientError, match=r"a\.tar: not an uncompressed tar file; .*at byte 1024"):
        local_source(shard)


@pytest.mark.parametrize("number", ["1000000", "999999999", "9" * 31])
def test_a_class_number_reserves_no_memory_by_its_size(tmp_path: Path, number: str) -> None:
    with pytest.raises(SalientError, match="a class number that cannot be; expected below 1000000"):
        local_source(_numbered(tmp_path, "0", number))


def test_a_pattern_of_shards_reserves_no_memory_by_its_numbers(tmp_path: Path) -> None:
    with pytest.raises(SalientError, match="too many shards"):
        local_source(tmp_path / "train-{0..99999999999}.tar")


@pytest.mark.parametrize("text", [b"\xef\xbb\xbfcat\r\ndog\r\n", b"cat\ndog"])
def test_class_names_of_windows_are_the_names(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "classnames.txt").write_bytes(text)
    assert local_source(_numbered(tmp_path, "0", "1")).class_names == ("cat", "dog")


def test_a_class_name_with_a_line_separator_of_unicode_is_one_name(tmp_path: Path) -> None:
    (tmp_path / "classnames.txt").write_text("ca\u2028t\ndog\n", encoding="utf-8")
    assert local_source(_numbered(tmp_path, "0", "1")).class_names == ("ca\u2028t", "dog")


@pytest.mark.parametrize(("text", "said"), [(b"caf\xe9\ndog\n", "not text in UTF-8"), (b"cat\ncat\n", "twice.*'cat'")])
def test_class_names_that_cannot_be_used_are_refused_by_file(tmp_path: Path, text: bytes, said: str) -> None:
    (tmp_path / "classnames.txt").write_bytes(text)
    with pytest.raises(SalientError, match=rf"classnames\.txt: .*{said}"):
        local_source(_numbered(tmp_path, "0", "1"))


def test_a_shard_of_some_of_imagenets_classes_has_these_and_no_others(tmp_path: Path) -> None:
    """As of ImageNet-R and -A, of 200 classes: the others would have no image."""
    some = wnids()[::5][:101]
    shard = _tar(tmp_path / "a.tar", {f"{wnid}_{i}.png": PICTURE for wnid in reversed(some) for i in range(2)})
    source = local_source(shard)
    assert source.class_names == some and np.bincount(source.labels()).tolist() == [2] * 101
