"""Every format of boxes, read to the same region, and what cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.localisation.truth import read_truth
from salient_imagenet_data.geometry import Preprocessing
from tests.spreadsheets.saved import saved

ID, SIZE = "ILSVRC2012_val_00000001", (100, 80)
EVERYTHING = Preprocessing(80, 80)  # no resize: the crop is columns 10 to 90 of the image


def expected() -> np.ndarray:
    region = np.zeros((80, 80), dtype=bool)
    region[20:40, 10:40] = True  # the box from x 20 to 50 and y 20 to 40 of the image
    return region


def csv_file(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def xml(path: Path, size: tuple[int, int] = SIZE) -> Path:
    path.mkdir()
    w, h = size[0] // SIZE[0], size[1] // SIZE[1]
    box = f"<xmin>{20 * w}</xmin><ymin>{20 * h}</ymin><xmax>{50 * w}</xmax><ymax>{40 * h}</ymax>"
    sizes = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    found = f"<object><name>n01440764</name><bndbox>{box}</bndbox></object>"
    (path / f"{ID}.xml").write_text(f"<annotation>{sizes}{found}</annotation>")
    return path


def coco(path: Path) -> Path:
    data = {
        "images": [{"id": 7, "file_name": f"val/{ID}.JPEG", "width": 200, "height": 160}],
        "annotations": [{"image_id": 7, "bbox": [40, 40, 60, 40], "category_id": 3}],
        "categories": [{"id": 3, "name": "n01440764"}],
    }
    path.write_text(json.dumps(data))
    return path


def masks(path: Path) -> Path:
    path.mkdir()
    pixels = np.zeros((80, 100), dtype=np.uint8)
    pixels[20:40, 20:50] = 1
    Image.fromarray(pixels).save(path / f"{ID}.png")
    return path


BOXES = f"image,left,top,right,bottom,class\n{ID},20,20,50,40,n01440764\n"


def bytes_file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


FORMATS = {
    "pixels with semicolons": lambda p: bytes_file(p / "b.csv", saved(BOXES, ";", "utf-8-sig")),
    "pixels with tabs": lambda p: bytes_file(p / "b.csv", saved(BOXES, "\t", "utf-16")),
    "pixels": lambda p: csv_file(p / "b.csv", f"image,left,top,right,bottom\nn01440764/{ID},20,20,50,40\n"),
    "fractions": lambda p: csv_file(p / "b.csv", f"image,left,top,right,bottom\n{ID}.JPEG,0.2,0.25,0.5,0.5\n"),
    "kaggle": lambda p: csv_file(p / "b.csv", f"ImageId,PredictionString\n{ID},n01440764 20 20 50 40 \n"),
    "xml": lambda p: xml(p / "boxes"),
    "xml of a larger copy": lambda p: xml(p / "boxes", (200, 160)),
    "coco of a larger copy": lambda p: coco(p / "b.json"),
    "masks": lambda p: masks(p / "masks"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_region(name: str, tmp_path: Path) -> None:
    truth = read_truth(FORMATS[name](tmp_path))
    assert ID in truth and len(truth) == 1 and "other" not in truth
    assert np.array_equal(truth.region(ID, "n01440764", SIZE, EVERYTHING), expected())


def test_a_smaller_crop_moves_and_scales_the_region(tmp_path: Path) -> None:
    truth = read_truth(FORMATS["pixels"](tmp_path))
    region = truth.region(ID, "", SIZE, Preprocessing(40, 40))  # half the size: box x 5 to 20, y 10 to 20 of the crop
    wanted = np.zeros((40, 40), dtype=bool)
    wanted[10:20, 5:20] = True
    assert np.array_equal(region, wanted)


def test_boxes_of_other_classes_are_not_the_objects(tmp_path: Path) -> None:
    text = f"ImageId,PredictionString\n{ID},n01440764 20 20 50 40 n09999999 0 0 100 80\n"
    truth = read_truth(csv_file(tmp_path / "b.csv", text))
    assert np.array_equal(truth.region(ID, "n01440764", SIZE, EVERYTHING), expected())
    assert truth.region(ID, "n09999999", SIZE, EVERYTHING).all() and not truth.region(ID, "x", SIZE, EVERYTHING).any()


def test_several_boxes_are_united(tmp_path: Path) -> None:
    text = f"image,left,top,right,bottom\n{ID},20,20,35,40\n{ID},30,20,50,40\n"
    truth = read_truth(csv_file(tmp_path / "b.csv", text))
    assert np.array_equal(truth.region(ID, "", SIZE, EVERYTHING), expected())


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("b.csv", "a,b\n1,2\n", "columns of no known layout; expected image, left, top"),
        ("b.csv", "", "columns of no known layout.*got no rows"),
        ("b.csv", "image,left,top,right,bottom\nx,1,2,three,4\n", "row 1: not a box; expected four numbers"),
        ("b.csv", "image,left,top,right,bottom\nx,9,2,3,4\n", "a box of x cannot be; expected left <= right"),
        ("b.csv", "image,left,top,right,bottom\nx,nan,2,3,4\n", "a box of x cannot be"),
        (
            "b.csv",
            "ImageId,PredictionString\nx,n01440764 1 2 3\n",
            "row 1: not Kaggle's boxes; expected groups of a wnid",
        ),
        ("b.json", "[1, 2]", "not COCO's boxes; expected images, annotations with bbox"),
        ("b.json", "{", "not COCO's boxes"),
        ("b.json", "[" * 100_000, "not COCO's boxes"),
    ],
)
def test_what_cannot_be_read_is_one_line(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SalientError, match=message):
        read_truth(tmp_path / name)


def test_folders_and_files_that_hold_no_boxes(tmp_path: Path) -> None:
    with pytest.raises(SalientError, match="no such file"):
        read_truth(tmp_path / "absent")
    with pytest.raises(SalientError, match="no boxes; expected XML files of ImageNet, or mask PNGs"):
        read_truth(tmp_path)
    (tmp_path / "x.xml").write_text("<annotation><object/></annotation>")
    with pytest.raises(SalientError, match="x.xml: not ImageNet's boxes"):
        read_truth(tmp_path)


def test_pixels_of_a_larger_copy_are_refused_and_masks_of_another_size_too(tmp_path: Path) -> None:
    truth = read_truth(FORMATS["pixels"](tmp_path))
    with pytest.raises(SalientError, match="a box lies outside the image; expected at most 40 x 30 pixels; got 50, 40"):
        truth.region(ID, "", (40, 30), Preprocessing(30, 30))
    with pytest.raises(SalientError, match="mask of another size; expected 50 x 40"):
        read_truth(masks(tmp_path / "m")).region(ID, "", (50, 40), Preprocessing(40, 40))
