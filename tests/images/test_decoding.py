from __future__ import annotations

import errno
import io
import itertools
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from salient_imagenet_data.errors import ImageError, SalientError
from salient_imagenet_data.images import trouble
from salient_imagenet_data.images.decoding import decode, extensions, formats
from tests.images.test_images import save


@pytest.mark.parametrize(
    ("mode", "name"),
    [("L", "a.jpg"), ("P", "a.png"), ("CMYK", "a.jpg"), ("RGBA", "a.png"), ("1", "a.png"), ("RGB", "a.webp")],
)
def test_every_mode_becomes_rgb_as_pillow_converts_it(tmp_path: Path, mode: str, name: str) -> None:
    path = save(tmp_path / name, mode)
    pixels = decode(path, str(path))
    assert pixels.shape == (10, 12, 3) and pixels.dtype == np.uint8
    with Image.open(path) as image:
        assert np.array_equal(pixels, np.asarray(image.convert("RGB")))


def test_exif_rotation_is_not_applied_and_a_png_may_be_named_jpeg(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(save(tmp_path / "turned.jpg", exif=exif), "turned").shape == (10, 12, 3)
    path = save(tmp_path / "really.png").rename(tmp_path / "really.JPEG")
    assert decode(path, "really").shape == (10, 12, 3)


def test_broken_files_raise_image_error_that_names_them(tmp_path: Path) -> None:
    whole = save(tmp_path / "x.jpg").read_bytes()
    for name, data in {"empty.jpg": b"", "text.jpg": b"hello", "cut.jpg": whole[: len(whole) // 2]}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ImageError, match=f"{name}: cannot decode"):
            decode(tmp_path / name, name)


RAMP = np.arange(1600, dtype=np.float64).reshape(40, 40) / 1599


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_divided_by_257(kind: str) -> None:
    deep = np.rint(RAMP * 65535).astype(np.uint16)
    pixels = decode(encoded(deep, kind), "ramp")
    assert np.array_equal(pixels, np.repeat(np.rint(deep / 257.0).astype(np.uint8)[..., None], 3, axis=2))
    assert pixels.min() == 0 and pixels.max() == 255


def test_floats_from_0_to_1_are_multiplied_by_255_and_others_refused() -> None:
    assert np.array_equal(decode(encoded(RAMP.astype(np.float32), "TIFF"), "f")[..., 0], np.rint(RAMP * 255))
    for values, said in ((RAMP * 2, "0 to 2"), (RAMP - 0.5, "-0.5 to 0.5"), (np.full_like(RAMP, np.nan), "nan")):
        with pytest.raises(ImageError, match=f"f: cannot decode; expected float values from 0 to 1; got {said}"):
            decode(encoded(values.astype(np.float32), "TIFF"), "f")
    with pytest.raises(ImageError, match="i: cannot decode; expected at most 16 bits without sign"):
        decode(encoded((RAMP * 9e6).astype(np.int32), "TIFF"), "i")


def test_formats_are_rasters_and_their_endings_pillows() -> None:
    assert {"JPEG", "PNG", "GIF", "PPM", "TIFF"} <= set(formats()) and not {"EPS", "WMF", "PDF"} & set(formats())
    assert {".jpg", ".jpeg", ".jfif", ".pgm", ".gif", ".png", ".webp", ".tif", ".tiff", ".bmp"} <= set(extensions())
    assert not {".eps", ".ps", ".pdf", ".wmf", ".txt"} & set(extensions())


def test_postscript_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "gs"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    data = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n%%EOF\n"
    with pytest.raises(ImageError, match="photo.jpg: cannot decode; got no JPEG, PNG"):
        decode(data, "photo.jpg")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("raised", [RuntimeError, NotImplementedError, IndexError, struct.error, zlib.error, TypeError])
def test_whatever_a_decoder_raises_is_the_pictures_fault(raised: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: Image.Image) -> None:
        raise raised("of the decoder")

    data = encoded(np.zeros((9, 9, 3), np.uint8), "PNG")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    with pytest.raises(ImageError, match=f"x.png: cannot decode; got {raised.__name__}|error: of the decoder"):
        decode(data, "x.png")


@pytest.mark.parametrize("kind", sorted({"AVIF", "QOI", "PNG", "WEBP", "GIF", "TIFF", "BMP"} & set(formats())))
@pytest.mark.filterwarnings("ignore")
def test_changed_bytes_are_pixels_or_an_image_error(kind: str) -> None:
    draw = np.random.default_rng(0)
    whole = encoded(draw.integers(0, 256, (20, 24, 3), dtype=np.uint8), kind)
    for _ in range(150):
        broken = bytearray(whole)
        for _ in range(int(draw.integers(1, 9))):
            broken[int(draw.integers(0, min(len(broken), 400)))] = int(draw.integers(0, 256))
        try:
            assert decode(bytes(broken), kind).dtype == np.uint8
        except ImageError as error:
            assert str(error).startswith(f"{kind}: cannot decode")


def test_a_reason_holds_no_path(tmp_path: Path) -> None:
    for name, data in {"x.jpg": b"x", "empty.png": b"", "cut.tif": b"II*\0\xff\xff\xff\x7f"}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ImageError) as caught:
            decode(tmp_path / name, f"a/{name}")
        assert str(tmp_path) not in str(caught.value) and str(caught.value).startswith(f"a/{name}: cannot decode")
    with pytest.raises(ImageError, match="a/gone.jpg: cannot decode; got ENOENT: No such file or directory$"):
        decode(tmp_path / "gone.jpg", "a/gone.jpg")


def failing(monkeypatch: pytest.MonkeyPatch, times: int, error: BaseException) -> None:
    monkeypatch.setattr(trouble, "WAITS", (0.0, 0.0, 0.0))
    real, calls = Image.open, itertools.count()

    def flaky(*args: Any, **options: Any) -> Image.Image:
        if next(calls) < times:
            raise error
        return real(*args, **options)

    monkeypatch.setattr(Image, "open", flaky)


TROUBLES = [OSError(number, os.strerror(number), "/secret/x.png") for number in (errno.EIO, errno.ESTALE, errno.EMFILE)]


@pytest.mark.parametrize("error", [*TROUBLES, MemoryError()], ids=["EIO", "ESTALE", "EMFILE", "memory"])
def test_trouble_of_the_system_is_waited_out_or_stops(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "x.png")
    expected = decode(path, "x.png")
    failing(monkeypatch, 3, error)
    assert np.array_equal(decode(path, "x.png"), expected)
    failing(monkeypatch, 4, error)
    with pytest.raises(SalientError, match="x.png: the system cannot read it.*4 times") as caught:
        decode(path, "x.png")
    assert not isinstance(caught.value, ImageError) and "/secret" not in str(caught.value)


def test_a_missing_file_is_its_own_fault_only_where_its_folder_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trouble, "WAITS", (0.0,))
    with pytest.raises(ImageError):
        decode(tmp_path / "gone.png", "gone.png")
    with pytest.raises(SalientError, match="a/gone.png: the system cannot read it.*ENOENT") as caught:
        decode(tmp_path / "unmounted" / "gone.png", "a/gone.png")
    assert not isinstance(caught.value, ImageError)
