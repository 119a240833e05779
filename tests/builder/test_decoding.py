"""Every decoder against Pillow, on plain and odd files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from salient_imagenet_data.builder import decoding
from salient_imagenet_data.builder.build import build
from salient_imagenet_data.builder.config import BuildConfig
from salient_imagenet_data.builder.decoding import Crop, crops, crops_of_files, jpeg_of
from salient_imagenet_data.builder.model import load_model
from salient_imagenet_data.errors import ImageError, SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images import FolderSource, MemorySource
from salient_imagenet_data.store import Store
from tests.builder.test_stream import OPTIONS
from tests.conftest import Run

PREPROCESSING = Preprocessing(64, 56)


def encode(size: tuple[int, int] = (120, 90), mode: str = "RGB", kind: str = "JPEG", **options: Any) -> bytes:
    """A smooth picture with some grain, so that chroma subsampling does not drown what is compared."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    grainy = (np.asarray(coarse) + rng.normal(0, 6, (*coarse.size[::-1], 3))).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grainy).convert(mode).save(buffer, format=kind, **options)
    return buffer.getvalue()


def exif() -> Image.Exif:
    turned = Image.Exif()
    turned[0x0112] = 6
    return turned


FILES = {
    "plain.jpg": encode(),
    "444.jpg": encode(subsampling=0),
    "progressive.jpg": encode(progressive=True),
    "gray.jpg": encode(mode="L"),
    "portrait.jpg": encode((61, 203)),
    "small.jpg": encode((40, 30)),
    "fits.jpg": encode((64, 64)),
    "turned.jpg": encode(exif=exif()),
    "cmyk.JPEG": encode(mode="CMYK"),
    "png.JPEG": encode(kind="PNG"),
    "palette.png": encode(mode="P", kind="PNG"),
    "truncated.jpg": encode()[:1500],
    "headless.jpg": encode()[:30],
    "junk.jpg": b"\xff\xd8 and then something else",
    "empty.jpg": b"",
}
BROKEN = {"truncated", "headless", "junk", "empty", "gone"}
NO_PLAIN_JPEG = {"cmyk", "png", "palette", "headless", "junk", "empty", "gone"}


@pytest.fixture
def odd(tmp_path: Path) -> FolderSource:
    (tmp_path / "images" / "a").mkdir(parents=True)
    for name, data in {**FILES, "gone.jpg": b""}.items():
        (tmp_path / "images" / "a" / name).write_bytes(data)
    source = FolderSource(tmp_path / "images")
    (tmp_path / "images" / "a" / "gone.jpg").unlink()
    return source


def by_name(source: FolderSource, items: Any) -> dict[str, Any]:
    return {source.entry(index).image_id.partition("/")[2]: item for index, item in items}


def test_resizing_with_torch_is_off_by_a_level_at_most(odd: FolderSource) -> None:
    names = range(len(odd))
    exact = by_name(odd, crops(odd, names, PREPROCESSING))
    fast = by_name(odd, crops(odd, names, PREPROCESSING, "pillow+torch"))
    assert {name for name, item in exact.items() if isinstance(item, ImageError)} == BROKEN
    assert {name for name, item in fast.items() if isinstance(item, ImageError)} == BROKEN
    for name in exact.keys() - BROKEN:
        (size, a), (other_size, b) = exact[name], fast[name]
        assert size == other_size and a.shape == b.shape == (3, 56, 56) and a.dtype == b.dtype == torch.uint8
        difference = (a.int() - b.int()).abs()
        assert difference.max() <= 1 and difference.float().mean() < 0.02, name
        if name == "fits":
            assert torch.equal(a, b)


def on_the_cpu(source: FolderSource, batch_size: int) -> Iterator[tuple[int, Crop | ImageError]]:
    """The way of nvJPEG, with torchvision's decoder for CPUs, which is Pillow's library."""
    files = ((index, jpeg_of(source, index)) for index in range(len(source)))
    return decoding._ahead(crops_of_files(source, files, PREPROCESSING, "cpu", batch_size))


def test_only_plain_jpegs_leave_pillow(odd: FolderSource, monkeypatch: pytest.MonkeyPatch) -> None:
    by_pillow: set[str] = set()
    monkeypatch.setattr(decoding, "picture_of", lambda s, i: by_pillow.add(s.entry(i).image_id[2:]) or s.picture(i))
    list(on_the_cpu(odd, 4))
    assert by_pillow == NO_PLAIN_JPEG | {"truncated"}
    assert jpeg_of(MemorySource([np.zeros((4, 4, 3), np.uint8)], [0], ["a"]), 0) is None


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_many_files_a_call_give_what_one_gives(odd: FolderSource, batch_size: int) -> None:
    exact = by_name(odd, crops(odd, range(len(odd)), PREPROCESSING))
    resized = by_name(odd, crops(odd, range(len(odd)), PREPROCESSING, "pillow+torch"))
    together = by_name(odd, on_the_cpu(odd, batch_size))
    assert list(together) == list(exact)
    for name, item in together.items():
        if name in BROKEN:
            assert isinstance(item, ImageError) and str(item) == str(exact[name])
        else:
            size, crop = (exact if name in NO_PLAIN_JPEG else resized)[name]
            assert item[0] == size and torch.equal(item[1], crop)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="nvJPEG needs a CUDA device")
def test_nvjpeg_is_near_pillow(odd: FolderSource) -> None:
    exact = by_name(odd, crops(odd, range(len(odd)), PREPROCESSING))
    fast = by_name(odd, crops(odd, range(len(odd)), PREPROCESSING, "nvjpeg", device="cuda"))
    assert {name for name, item in fast.items() if isinstance(item, ImageError)} <= BROKEN
    for name in exact.keys() - BROKEN:
        assert (exact[name][1].int() - fast[name][1].cpu().int()).abs().float().mean() < 4, name


def test_a_store_says_how_its_images_were_decoded(
    bare_store: Store, images: Path, weights: Path, tmp_path: Path
) -> None:
    model, sha256 = load_model(weights)
    config = BuildConfig(decoder="pillow+torch", **OPTIONS)  # type: ignore[arg-type]
    store = build(FolderSource(images), model, tmp_path / "store", weights_sha256=sha256, config=config)
    assert store.manifest.decoder == "pillow+torch" and bare_store.manifest.decoder == "pillow"
    assert list(store.rows) == list(bare_store.rows)
    difference = np.abs(np.asarray(store.maps).astype(int) - np.asarray(bare_store.maps).astype(int))
    assert difference.max() <= 4 and difference.mean() < 0.1
    with pytest.raises(SalientError, match="decoder nvjpeg; expected a CUDA device; got cpu"):
        build(
            FolderSource(images), model, tmp_path / "other", weights_sha256=sha256, config=BuildConfig(decoder="nvjpeg")
        )


def test_nvjpeg_without_a_device_is_one_line(run: Run, images: Path, weights: Path, tmp_path: Path) -> None:
    code, _, err = run(
        "build", "--images", images, "--weights", weights, "--out", tmp_path / "s", "--decoder", "nvjpeg", "--device", "cpu"
    )  # fmt: skip
    assert code == 2 and err.splitlines()[-1].startswith("Error: decoder nvjpeg; expected a CUDA device; got cpu")
    assert not (tmp_path / "s").exists()
