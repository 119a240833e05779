from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from salient_imagenet_data.errors import ImageError, SalientError
from salient_imagenet_data.images.decoding import decode
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.images.memory import MemorySource
from salient_imagenet_data.images.reading import read_ahead
from salient_imagenet_data.images.source import ImageSource
from salient_imagenet_data.scenes import SceneSource


def save(path: Path, mode: str = "RGB", **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, **options)
    return path


def test_folder_order_ids_and_errors(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    for name in ("b/2.png", "b/sub/1.JPG", "a/10.png", "a/.hidden.png"):
        save(root / name)
    source = FolderSource(root)
    assert isinstance(source, ImageSource)
    assert source.class_names == ("a", "b") and len(source) == 3
    assert [source.entry(i).image_id for i in range(3)] == ["a/10", "b/2", "b/sub/1"]
    assert [source.entry(i).label for i in range(3)] == [0, 1, 1]
    save(root / "a" / "10.jpg")
    with pytest.raises(SalientError, match="two images have the id 'a/10'"):
        FolderSource(root)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SalientError, match="no class folders; .*got an empty folder"):
        FolderSource(tmp_path / "empty")
    (tmp_path / "half" / "c").mkdir(parents=True)
    with pytest.raises(SalientError, match="half/c: class folder without an image"):
        FolderSource(tmp_path / "half")
    with pytest.raises(SalientError, match="no such folder"):
        FolderSource(tmp_path / "nowhere")


def test_memory_source_checks_its_input() -> None:
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    source = MemorySource([image, image], [0, 1], ["x", "y"])
    assert isinstance(source, ImageSource) and source.entry(1).label == 1
    encoded = source.encoded(0)["bytes"]
    assert isinstance(encoded, bytes) and np.array_equal(decode(encoded, "png"), image)
    with pytest.raises(SalientError, match="label outside the classes; expected 0 to 1; got 2"):
        MemorySource([image], [2], ["x", "y"])
    with pytest.raises(ImageError, match=r"expected \(height, width, 3\) uint8; got \(4, 4\) float64"):
        MemorySource([np.zeros((4, 4))], [0], ["x"]).pixels(0)


def test_read_ahead_keeps_order_and_reports_failures() -> None:
    source = MemorySource([np.full((2, 2, 3), i, dtype=np.uint8) for i in range(5)], [0] * 5, ["x"])
    source._images[3] = np.zeros((1,), dtype=np.uint8)
    got = list(read_ahead([4, 3, 0], source.pixels, threads=2, window=2))
    assert [index for index, _ in got] == [4, 3, 0]
    assert isinstance(got[1][1], ImageError) and got[0][1].max() == 4


def test_scenes_are_a_source() -> None:
    assert isinstance(SceneSource(3), ImageSource)
