"""Answers of ImageNet's validation pictures as they come: from Windows, in other encodings, damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.imagenet import wnids
from salient_imagenet_data.images.decoding import encode_png
from salient_imagenet_data.images.layout.finding import local_source

PICTURE = "ILSVRC2012_val_00000001"
ANSWERS, TRUTH, META = "LOC_val_solution.csv", "ILSVRC2012_validation_ground_truth.txt", "meta.mat"
HEADER = b"ImageId,PredictionString\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / f"{PICTURE}.JPEG").write_bytes(encode_png(np.full((4, 4, 3), 90, np.uint8)))
    return tmp_path


def test_answers_saved_on_windows_are_read(folder: Path) -> None:
    rows = f"{PICTURE},{wnids()[7]} 1 2 3 4\n"
    (folder / ANSWERS).write_bytes(b"\xef\xbb\xbf" + (HEADER.decode() + rows).replace("\n", "\r\n").encode())
    assert local_source(folder).labels().tolist() == [7]


@pytest.mark.parametrize("rows", [PICTURE.encode() + b",caf\xe9\n", b'"' + b"x" * 200_000])
def test_answers_that_are_no_table_are_refused_by_file(folder: Path, rows: bytes) -> None:
    (folder / ANSWERS).write_bytes(HEADER + rows)
    with pytest.raises(SalientError, match=rf"{ANSWERS}: not Kaggle's answers"):
        local_source(folder)


@pytest.mark.parametrize("data", [b"", b"junk" * 100])
def test_a_damaged_list_of_synsets_is_refused_by_file(folder: Path, data: bytes) -> None:
    pytest.importorskip("scipy")
    (folder / TRUTH).write_text("1\n")
    (folder / META).write_bytes(data)
    with pytest.raises(SalientError, match=rf"{META}: damaged, or not the devkit's"):
        local_source(folder)


def test_another_devkit_beside_the_pictures_is_not_theirs(folder: Path) -> None:
    for name, line in (("xdevkit", "validation images without their classes"), ("ILSVRC2012_devkit_t12", "numbers ")):
        (folder / name / "data").mkdir(parents=True)
        (folder / name / "data" / TRUTH).write_text("1\n")
        with pytest.raises(SalientError, match=line):
            local_source(folder)
