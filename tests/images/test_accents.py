"""A name with accents is one name, whether they are characters of their own (as macOS stores it) or not."""

from __future__ import annotations

import io
import tarfile
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.images.memory import MemorySource
from salient_imagenet_data.images.source import ListedSource
from salient_imagenet_data.images.tar import TarSource
from salient_imagenet_data.looking import label_of
from salient_imagenet_data.networks.classes import match_classes

NAMES = ("Bz", "B\u00e4r", "Gr\u00f6\u00dfe")
"""In the order of their characters; apart, the second comes first."""


def apart(name: str) -> str:
    return unicodedata.normalize("NFD", name)


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def in_a_folder(place: Path, form: Callable[[str], str]) -> ListedSource:
    for value, name in enumerate(NAMES):
        (place / form(name)).mkdir(parents=True)
        (place / form(name) / form("\u00e9.png")).write_bytes(png(value))
    return FolderSource(place)


def in_a_tar(place: Path, form: Callable[[str], str]) -> ListedSource:
    place.mkdir()
    with tarfile.open(place / "a.tar", "w") as tar:
        for value, name in enumerate(NAMES):
            member = tarfile.TarInfo(form(f"{name}/\u00e9.png"))
            member.size = len(png(value))
            tar.addfile(member, io.BytesIO(png(value)))
    return TarSource([place / "a.tar"])


@pytest.mark.parametrize("form", [str, apart])
@pytest.mark.parametrize("made", [in_a_folder, in_a_tar])
def test_ids_classes_and_their_order_are_the_same(
    made: Callable[[Path, Callable[[str], str]], ListedSource], form: Callable[[str], str], tmp_path: Path
) -> None:
    source = made(tmp_path / "images", form)
    assert source.class_names == NAMES
    assert source.image_ids().to_pylist() == [f"{name}/\u00e9" for name in NAMES]
    pixels = [int(source.pixels(index)[0, 0, 0]) for index in range(3)]  # type: ignore[attr-defined]
    assert pixels == [0, 1, 2] == source.labels().tolist()


def test_two_folders_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("B\u00e4r", apart("B\u00e4r")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{len(name)}.png").write_bytes(png(0))
    with pytest.raises(SalientError, match="two class folders are called 'B\u00e4r'; .* into one"):
        FolderSource(tmp_path)


def test_classes_are_found_by_either_form() -> None:
    names = MemorySource([np.zeros((2, 2, 3), np.uint8)], [0], [apart(name) for name in NAMES]).class_names
    assert [label_of(names, form(name)) for name in NAMES for form in (str, apart)] == [0, 0, 1, 1, 2, 2]
    matched = match_classes([apart(name) for name in reversed(NAMES)], 3, names, "a", "b")
    assert (matched.by, list(matched.outputs or ())) == ("name", [2, 1, 0])
