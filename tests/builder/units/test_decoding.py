"""Every decoder against Pillow, on plain and odd files."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from salient_imagenet_data.builder.build import build
from salient_imagenet_data.builder.choices import Decoder
from salient_imagenet_data.builder.config import BuildConfig
from salient_imagenet_data.builder.units import decoding, nvjpeg
from salient_imagenet_data.builder.units.batching import batches, grouped, readable, split
from salient_imagenet_data.builder.units.decoding import Batch, check_decoder
from salient_imagenet_data.builder.units.jpeg import jpeg_of
from salient_imagenet_data.errors import ImageError, SalientError, not_installed
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.images.memory import MemorySource
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.store.reading import Store
from tests.builder.units.test_forward import OPTIONS
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


def deep() -> bytes:
    """A PNG of 16 bits, which is no JPEG whatever it is called."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 2**16, (70, 90), dtype=np.uint16)).save(buffer, format="PNG")
    return buffer.getvalue()


FILES = {
    "plain.jpg": encode(),
    "444.jpg": encode(subsampling=0),
    "progressive.jpg": encode(progressive=True),
    "gray.jpg": encode(mode="L"),
    "portrait.jpg": encode((61, 203)),
    "small.jpg": encode((40, 30)),
    "fits.jpg": encode((64, 64)),
    "turned.jpg": encode(exif=exif()),
    "rgb.jpg": encode(keep_rgb=True),
    "deep.jpg": deep(),
    "cmyk.JPEG": encode(mode="CMYK"),
    "png.JPEG": encode(kind="PNG"),
    "palette.png": encode(mode="P", kind="PNG"),
    "truncated.jpg": encode()[:1500],
    "headless.jpg": encode()[:30],
    "junk.jpg": b"\xff\xd8 and then something else",
    "empty.jpg": b"",
}
BROKEN = {"truncated", "headless", "junk", "empty", "gone"}
NO_PLAIN_JPEG = {"cmyk", "png", "deep", "palette", "headless", "junk", "empty", "gone"}


@pytest.fixture
def odd(tmp_path: Path) -> FolderSource:
    (tmp_path / "images" / "a").mkdir(parents=True)
    for name, data in {**FILES, "gone.jpg": b""}.items():
        (tmp_path / "images" / "a" / name).write_bytes(data)
    source = FolderSource(tmp_path / "images")
    (tmp_path / "images" / "a" / "gone.jpg").unlink()
    return source


Read = dict[str, tuple[tuple[int, int], torch.Tensor] | ImageError]


def by_name(source: FolderSource, found: Iterable[Batch], failed: list[tuple[int, ImageError]]) -> Read:
    result: Read = {}
    for batch in found:
        for index, (width, height), image in zip(batch.indices, batch.sizes.tolist(), batch.images, strict=True):
            result[source.entry(int(index)).image_id[2:]] = (width, height), image.cpu()
    return result | {source.entry(index).image_id[2:]: error for index, error in failed}


def read(source: FolderSource, decoder: Decoder = "pillow", device: str = "cpu") -> Read:
    failed: list[tuple[int, ImageError]] = []
    found = batches(source, range(len(source)), PREPROCESSING, 4, failed, decoder, device=device)
    return by_name(source, found, failed)


def test_resizing_with_torch_is_off_by_a_level_at_most(odd: FolderSource) -> None:
    exact, fast = read(odd), read(odd, "pillow+torch")
    assert exact.keys() == fast.keys() and len(exact) == len(FILES) + 1
    for name, item in exact.items():
        other = fast[name]
        assert isinstance(item, ImageError) == isinstance(other, ImageError) == (name in BROKEN)
        if isinstance(item, ImageError) or isinstance(other, ImageError):
            assert str(item) == str(other)
            continue
        assert item[0] == other[0] and item[1].shape == other[1].shape == (3, 56, 56)
        difference = (item[1].int() - other[1].int()).abs()
        # Older torch rounds a fifth of the pixels the other way; 2.15 hardly any.
        assert difference.max() <= 1 and difference.float().mean() < 0.25, name
        if name == "fits":
            assert torch.equal(item[1], other[1])


def test_torch_resizes_with_the_same_filter_to_the_same_shape(odd: FolderSource) -> None:
    for interpolation, squash in (("bicubic", True), ("nearest", False)):
        wanted = Preprocessing(60, 56, interpolation, squash)
        failed: list[tuple[int, ImageError]] = []
        exact, fast = (next(batches(odd, [0], wanted, 1, failed, d)).images.int() for d in ("pillow", "pillow+torch"))
        assert (exact - fast).abs().max() <= 2 and exact.float().std() > 1
    with pytest.raises(SalientError, match="torch does not resize with lanczos; expected bilinear, bicubic, nearest"):
        check_decoder("pillow+torch", "cpu", Preprocessing(60, 56, "lanczos"))
    check_decoder("pillow", "cpu", Preprocessing(60, 56, "lanczos"))


def test_simplejpeg_gives_the_crops_of_pillow_and_torch(odd: FolderSource, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("simplejpeg", reason="pip install 'salient-imagenet-data[jpeg]'")
    exact, by_pillow = read(odd, "pillow+torch"), set()
    monkeypatch.setattr(decoding, "picture_of", lambda s, i: by_pillow.add(s.entry(i).image_id[2:]) or s.picture(i))
    fast = read(odd, "simplejpeg")
    assert fast.keys() == exact.keys()
    for name, item in exact.items():
        other = fast[name]
        if isinstance(item, ImageError) or isinstance(other, ImageError):
            assert name in BROKEN and str(item) == str(other)
        else:
            assert item[0] == other[0] and torch.equal(item[1], other[1]), name
    assert by_pillow == NO_PLAIN_JPEG | {"truncated"}


@pytest.fixture(params=["torchcodec", "torchvision"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whose nvJPEG it is; on a CPU that library's decoder, which is Pillow's."""
    if request.param == "torchvision":
        monkeypatch.setattr(nvjpeg, "_torchcodec", lambda: None)
    elif nvjpeg._torchcodec() is None:
        pytest.skip("pip install 'salient-imagenet-data[nvjpeg]'")
    return str(request.param)


def on_the_cpu(source: FolderSource, batch_size: int, workers: int = 2) -> Read:
    """The way of nvJPEG, on the processor."""
    failed: list[tuple[int, ImageError]] = []
    groups = list(split(range(len(source)), batch_size))
    found = grouped(source, groups, PREPROCESSING, "nvjpeg", device="cpu", workers=workers)
    return by_name(source, readable(found, failed), failed)


def test_only_plain_jpegs_leave_pillow(odd: FolderSource, monkeypatch: pytest.MonkeyPatch) -> None:
    by_pillow: set[str] = set()
    monkeypatch.setattr(decoding, "picture_of", lambda s, i: by_pillow.add(s.entry(i).image_id[2:]) or s.picture(i))
    on_the_cpu(odd, 4, workers=0)  # what another process does is not seen here
    assert by_pillow == NO_PLAIN_JPEG | {"truncated", "rgb"}
    assert jpeg_of(MemorySource([np.zeros((4, 4, 3), np.uint8)], [0], ["a"]), 0) is None


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_many_files_a_call_give_what_one_gives(odd: FolderSource, batch_size: int, library: str) -> None:
    exact, resized, together = read(odd), read(odd, "pillow+torch"), on_the_cpu(odd, batch_size)
    assert together.keys() == exact.keys()
    for name, item in together.items():
        expected = (exact if name in NO_PLAIN_JPEG | BROKEN | {"rgb"} else resized)[name]
        if isinstance(item, ImageError) or isinstance(expected, ImageError):
            assert name in BROKEN and str(item) == str(expected)
        else:
            assert item[0] == expected[0] and torch.equal(item[1], expected[1]), name


def test_no_picture_is_turned(library: str, tmp_path: Path) -> None:
    """Pillow's own pixels lie as they are stored, whatever Exif says; torchcodec alone would turn them."""
    (tmp_path / "a").mkdir()
    for turn in range(1, 9):
        said = Image.Exif()
        said[0x0112] = turn
        (tmp_path / "a" / f"{turn}.jpg").write_bytes(encode((80, 80), exif=said))
    source = FolderSource(tmp_path)
    exact, fast = read(source, "pillow+torch"), on_the_cpu(source, 8)
    for name, item in exact.items():
        other = fast[name]
        assert not isinstance(item, ImageError) and not isinstance(other, ImageError)
        assert torch.equal(item[1], other[1]), name


def test_one_refused_file_does_not_cost_the_others(library: str) -> None:
    good, bad = (torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in (encode(), b"\xff\xd8 junk"))
    found = nvjpeg.decoded([good, good, bad, good, good], "cpu")
    assert [picture is None for picture in found] == [False, False, True, False, False]
    assert all(picture is None or torch.equal(picture, found[0]) for picture in found if found[0] is not None)
    assert nvjpeg.decoded([], "cpu") == []


def test_a_device_that_fails_is_not_taken_for_a_broken_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(nvjpeg, "_torchcodec", lambda: fail)
    with pytest.raises(RuntimeError, match="CUDA error"):
        nvjpeg.decoded([torch.zeros(3, dtype=torch.uint8)], "cpu")
    with pytest.raises(SalientError, match=r"decoder nvjpeg: neither torchcodec .* decodes on the device"):
        nvjpeg.check("cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="nvJPEG needs a CUDA device")
def test_nvjpeg_is_near_pillow(odd: FolderSource, library: str) -> None:
    exact, fast = read(odd), read(odd, "nvjpeg", "cuda")
    assert {name for name, item in fast.items() if isinstance(item, ImageError)} == BROKEN
    for name in exact.keys() - BROKEN:
        a, b = exact[name], fast[name]
        assert not isinstance(a, ImageError) and not isinstance(b, ImageError)
        # nvJPEG repeats chroma where libjpeg interpolates, which shows most where nothing is reduced.
        assert (a[1].int() - b[1].int()).abs().float().mean() < (8 if name in ("small", "fits") else 4), name
        if name in NO_PLAIN_JPEG | {"rgb"}:
            assert torch.equal(a[1], b[1])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="nvJPEG needs a CUDA device")
def test_nvjpeg_beside_a_busy_device(odd: FolderSource, library: str) -> None:
    """Decoding while another stream computes and frees memory gives the same pixels again and again."""
    first, weight = read(odd, "nvjpeg", "cuda"), torch.randn(4096, 4096, device="cuda")
    for _ in range(20):
        for _ in range(50):
            weight = (weight @ weight).div_(64.0)
        again = read(odd, "nvjpeg", "cuda")
        for name, item in first.items():
            other = again[name]
            if not isinstance(item, ImageError) and not isinstance(other, ImageError):
                assert torch.equal(item[1], other[1]), name


@pytest.mark.parametrize("decoder", ["pillow+torch", "simplejpeg"])
def test_a_store_says_how_its_images_were_decoded(
    decoder: Decoder, bare_store: Store, images: Path, weights: Path, tmp_path: Path
) -> None:
    if decoder == "simplejpeg":
        pytest.importorskip("simplejpeg", reason="pip install 'salient-imagenet-data[jpeg]'")
    model, sha256 = load_model(weights)
    config = BuildConfig(decoder=decoder, **OPTIONS)  # type: ignore[arg-type]
    store = build(FolderSource(images), model, tmp_path / "store", weights_sha256=sha256, config=config)
    assert store.manifest.decoder == decoder and bare_store.manifest.decoder == "pillow"
    assert ("simplejpeg" in store.manifest.versions) == (decoder == "simplejpeg")
    assert [row.image_id for row in store.rows] == [row.image_id for row in bare_store.rows]
    difference = np.abs(np.asarray(store.maps).astype(int) - np.asarray(bare_store.maps).astype(int))
    assert 0 < np.percentile(difference, 99) <= 12 and difference.mean() < 1
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


def test_simplejpeg_that_is_not_installed_is_one_line(
    run: Run, images: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    code, _, err = run(
        "build", "--images", images, "--weights", weights, "--out", tmp_path / "s", "--decoder", "simplejpeg"
    )
    said = f"Error: {not_installed('simplejpeg', 'decoder simplejpeg')}"
    assert (code, err.splitlines()[-1]) == (2, said) and said.endswith("[jpeg]'")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("decoder", ["pillow", "pillow+torch"])
def test_an_image_whose_pixels_cannot_be_cropped_is_quarantined(
    images: Path, decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is raised between the decoder and the batch is that image's; want of memory is not."""
    from salient_imagenet_data.builder.units import decoding

    source, calls, raised = FolderSource(images), iter(range(99)), [ValueError("no such size")]

    def broken(plain: Any) -> Any:
        def crop(*arguments: Any) -> Any:
            if next(calls) == 2:
                raise raised[0]
            return plain(*arguments)

        return crop

    monkeypatch.setattr(Preprocessing, "apply_to_picture", broken(Preprocessing.apply_to_picture))
    monkeypatch.setattr(decoding, "cropped", broken(decoding.cropped))
    failed: list[tuple[int, ImageError]] = []
    found = list(batches(source, range(6), Preprocessing(60, 56), 4, failed, decoder, threads=1))  # type: ignore[arg-type]
    assert [i for batch in found for i in batch.indices.tolist()] == [0, 1, 3, 4, 5]
    ((index, error),) = failed
    assert index == 2 and str(error).endswith("cannot crop; got ValueError: no such size")
    calls, raised[0] = iter(range(99)), MemoryError()
    with pytest.raises(MemoryError):
        list(batches(source, range(6), Preprocessing(60, 56), 4, failed, decoder, threads=1))  # type: ignore[arg-type]
