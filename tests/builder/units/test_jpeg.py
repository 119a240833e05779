"""Which files are plain JPEGs, and that damage is Pillow's to judge."""

from __future__ import annotations

import io
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from salient_imagenet_data.builder.units.jpeg import Frame, by_simplejpeg, frame_of, is_usual, jpeg_of
from salient_imagenet_data.images.decoding import decode
from tests.builder.units.test_decoding import encode


class OneFile:
    """A source of one file's bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def encoded(self, index: int) -> dict[str, str | bytes | None]:
        return {"path": None, "bytes": self.data}


def plain(data: bytes) -> bool:
    return jpeg_of(OneFile(data), 0) is not None  # type: ignore[arg-type]


def test_the_frame_header_says_what_a_jpeg_is() -> None:
    assert frame_of(np.frombuffer(encode((120, 90)), np.uint8)) == Frame(0xC0, 8, 90, 120, 3)
    assert frame_of(np.frombuffer(encode((3, 700), "L", progressive=True), np.uint8)) == Frame(0xC2, 8, 700, 3, 1)
    assert frame_of(np.frombuffer(encode(mode="CMYK"), np.uint8)) == Frame(0xC0, 8, 90, 120, 4)
    assert frame_of(np.frombuffer(encode(kind="PNG"), np.uint8)) is None


def test_what_not_every_libjpeg_decodes_alike_is_left_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode()
    place = data.index(b"\xff\xc0")
    assert plain(data)
    for marker in (0xC3, 0xC9):  # lossless; arithmetic coding
        assert not plain(data[: place + 1] + bytes([marker]) + data[place + 2 :])
    assert not plain(data[: place + 4] + b"\x0c" + data[place + 5 :])  # 12 bits
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 120 * 90)
    assert plain(data)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 120 * 90 - 1)
    assert not plain(data)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert plain(data)


def test_damaged_files_are_read_as_pillow_reads_them_or_left_to_it() -> None:
    """Bytes changed, put in, or cut off: what simplejpeg decodes are Pillow's pixels, never what Pillow refuses."""
    pytest.importorskip("simplejpeg", reason="pip install 'salient-imagenet-data[jpeg]'")
    rng, seen = random.Random(0), Counter[str]()
    whole = [encode(), encode(subsampling=0), encode(progressive=True), encode(mode="L"), encode(keep_rgb=True)]
    for number in range(400):
        data = bytearray(rng.choice(whole))
        for _ in range(rng.choice((1, 3))):
            place = rng.randrange(2, len(data))
            data[place : place + rng.choice((0, 1, 5))] = rng.randbytes(rng.choice((1, 1, 5)))
        if number % 4 == 0:
            del data[rng.randrange(2, len(data)) :]
        file = jpeg_of(OneFile(bytes(data)), 0)  # type: ignore[arg-type]
        pixels = None if file is None else by_simplejpeg(file)
        if pixels is None:
            seen["left"] += 1
            continue
        seen["decoded"] += 1
        assert np.array_equal(pixels, decode(bytes(data), "x"))
    assert seen["decoded"] > 50 and seen["left"] > 50


def test_want_of_memory_is_not_taken_for_a_damaged_file(monkeypatch: pytest.MonkeyPatch) -> None:
    simplejpeg = pytest.importorskip("simplejpeg", reason="pip install 'salient-imagenet-data[jpeg]'")

    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(simplejpeg, "decode_jpeg", full)
    with pytest.raises(MemoryError):
        by_simplejpeg(np.frombuffer(encode(), np.uint8))


def test_a_file_that_is_gone_is_pillows_to_tell(tmp_path: object) -> None:
    class Gone:
        def encoded(self, index: int) -> dict[str, str | bytes | None]:
            return {"path": f"{tmp_path}/gone.jpg", "bytes": None}

    assert jpeg_of(Gone(), 0) is None  # type: ignore[arg-type]


def test_what_nvjpeg_decodes_as_libjpeg_does() -> None:
    """Not what is stored as RGB, by Adobe's marker or by the names of its components, and not what is cut off."""
    usual, stored = encoded(), encoded(keep_rgb=True)
    assert is_usual(usual) and is_usual(np.append(usual, np.zeros(30, np.uint8))) and is_usual(encoded(mode="L"))
    assert not is_usual(stored) and not is_usual(usual[:-1]) and not is_usual(usual[: len(usual) // 2])
    adobe = bytes(stored).index(b"Adobe")
    named = stored.copy()
    named[adobe : adobe + 5] = ord("x")  # then the names say it
    assert not is_usual(named)
    said = stored.copy()
    said[adobe + 11] = 1  # YCbCr
    assert is_usual(said)
    seen = [np.asarray(Image.open(io.BytesIO(bytes(data)))).astype(int) for data in (stored, named, said)]
    assert np.array_equal(seen[0], seen[1]) and np.abs(seen[0] - seen[2]).mean() > 20  # libjpeg reads them so too


def encoded(**options: Any) -> NDArray[np.uint8]:
    return np.frombuffer(encode(**options), dtype=np.uint8)
