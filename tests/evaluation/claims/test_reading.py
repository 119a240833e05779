"""Files of claims: both forms say the same, and what cannot be a claim is named with its row."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.claims.reading import read_claims
from salient_imagenet_data.evaluation.localisation.truth import Box
from tests.spreadsheets.saved import FORMS, saved

HEAD = "class,claim,words,image,left,top,right,bottom,mask\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "m.png")
    return tmp_path


def test_csv_and_json_say_the_same(folder: Path) -> None:
    rows = "tench,,reeds,n01440764_18.JPEG,1,2,30,40,\ntench,,reeds,n01440764_18,5,5,9,9,\ntench,,reeds,b/x.png,,,,,m.png\n"
    (folder / "c.csv").write_text(HEAD + rows + "tench,,hands,,,,,,\ncat,1,,a/y,0,0,1,1,\ncat,1,a rug,,,,,,\n")
    claims = [
        {
            "class": "tench",
            "words": "reeds",
            "regions": [
                {"image": "n01440764_18", "box": [1, 2, 30, 40]},
                {"image": "n01440764_18", "box": [5, 5, 9, 9]},
                {"image": "b/x.png", "mask": "m.png"},
            ],
        },
        {"class": "tench", "words": "hands"},
        {"class": "cat", "words": "a rug", "regions": [{"image": "a/y", "box": [0, 0, 1, 1]}]},
    ]
    (folder / "c.json").write_text(json.dumps(claims))
    found = read_claims(folder / "c.csv")
    assert found == read_claims(folder / "c.json")
    first, hands, rug = found
    assert first.regions.boxes == {"n01440764_18": (Box(1, 2, 30, 40), Box(5, 5, 9, 9))}
    assert first.regions.masks == {"b/x": folder / "m.png"} and not first.regions.fractions
    assert (hands.class_name, hands.words, len(hands.regions)) == ("tench", "hands", 0)
    assert (rug.words, rug.regions.boxes) == ("a rug", {"a/y": (Box(0, 0, 1, 1),)})


@pytest.mark.parametrize(("_", "between", "encoding"), FORMS)
def test_claims_that_a_spreadsheet_saved_say_the_same(folder: Path, _: str, between: str, encoding: str) -> None:
    text = HEAD + 'tench,,"reeds, wet; dark",b/x.png,,,,,m.png\ncat,1,,a/y,0,0,1,1,\n'
    (folder / "plain.csv").write_text(text)
    (folder / "saved.csv").write_bytes(saved(text, between, encoding))
    found = read_claims(folder / "saved.csv")
    assert found == read_claims(folder / "plain.csv") and found[0].words == "reeds, wet; dark" and len(found) == 2


def test_numbers_none_of_which_is_above_1_are_fractions(folder: Path) -> None:
    (folder / "c.csv").write_text("class,image,left,top,right,bottom\ntench,a,0,0,0.5,1\n")
    (one,) = read_claims(folder / "c.csv")
    assert one.regions.fractions and one.words == ""


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (",,sky,,,,,,", "row 1: a claim about no class"),
        ("cat,,,,,,,,", "row 1: a claim of nothing"),
        ("cat,,sky,a,,,,,", "row 1: a region of a; expected a box or a mask; got neither"),
        ("cat,,sky,a,1,1,2,2,m.png", "row 1: a region of a; expected a box or a mask; got both"),
        ("cat,,sky,,1,1,2,2,", "row 1: a region of no image"),
        ("cat,,sky,a,1,1,2,,", "row 1: not a box"),
        ("cat,,sky,a,3,1,2,2,", "row 1: not a box; .*got 3, 1, 2, 2"),
        ("cat,,sky,a,nan,1,2,2,", "row 1: not a box"),
        ("cat,,sky,a,,,,,no.png", "row 1: no such mask; got .*no.png"),
        ("cat,,sky,a,,,,,m.png\ncat,,sky,a,1,1,2,2,", "row 1: a mask and boxes of a in one claim"),
        ("cat,,sky,a,,,,,m.png\ncat,,sky,a,,,,,c.csv", "row 2: two masks of a in one claim"),
    ],
)
def test_rows_that_are_no_claim(row: str, said: str, folder: Path) -> None:
    (folder / "c.csv").write_text(HEAD + row + "\n")
    with pytest.raises(SalientError, match=said):
        read_claims(folder / "c.csv")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("{}", "not a list of claims; got dict"),
        ("[]", "no claims"),
        ("[3]", "claim 1: not a claim"),
        ('[{"class": "a", "words": "x"}, {"class": 3}]', "claim 2: class; expected text; got 3"),
        ('[{"class": "a", "regions": [3]}]', "claim 1: not a region"),
        ('[{"class": "a", "regions": [{"image": "b", "box": [1, 2]}]}]', "claim 1: not a box"),
        ('[{"class": "a", "regions": [{"image": "b", "box": [1, 2, "x", 4]}]}]', "claim 1: not a box"),
        ('[{"class": "a", "regions": {}}]', "claim 1: not a claim"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_json_that_is_no_claims(text: str, said: str, folder: Path) -> None:
    (folder / "c.json").write_text(text)
    with pytest.raises(SalientError, match=said):
        read_claims(folder / "c.json")


def test_files_that_are_none(folder: Path) -> None:
    with pytest.raises(SalientError, match="no such file; expected a CSV or JSON file of claims"):
        read_claims(folder / "nowhere.csv")
    (folder / "c.csv").write_text("name,words\ncat,sky\n")
    with pytest.raises(SalientError, match="no column class; .*got name, words"):
        read_claims(folder / "c.csv")
    (folder / "c.csv").write_text("")
    with pytest.raises(SalientError, match="no column class; .*got no header"):
        read_claims(folder / "c.csv")
