"""Which images a file names, which of them are there, and what is said of the others."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.ranking.left_out import NOTHING, LeftOut
from tests.spreadsheets.saved import FORMS, saved


def test_ids_are_read_of_a_column_or_of_lines(tmp_path: Path) -> None:
    table, lines = tmp_path / "a.csv", tmp_path / "a.txt"
    table.write_text('rank,image_id,label\n1,"a, b.png",cat\n\n2,c.png,dog\n2,c.png,dog\n')
    lines.write_text("a.png\n c/d.png \n\n")
    assert LeftOut.read(table).ids == {"a, b.png", "c.png"}
    assert LeftOut.read(lines).ids == {"a.png", "c/d.png"}


@pytest.mark.parametrize(("_", "between", "encoding"), FORMS)
def test_a_list_that_a_spreadsheet_saved_says_the_same(tmp_path: Path, _: str, between: str, encoding: str) -> None:
    """A person strikes candidates from it."""
    (tmp_path / "a.csv").write_bytes(saved('rank,image_id,p\n1,"a, b","0;1"\n2,c;d,0\n', between, encoding))
    assert LeftOut.read(tmp_path / "a.csv").ids == {"a, b", "c;d"}
    (tmp_path / "a.txt").write_bytes("a;b\r\nc\td\r\n".encode(encoding))
    assert LeftOut.read(tmp_path / "a.txt").ids == {"a;b", "c\td"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "x.csv: names no image; expected a column image_id, or one id a line"),
        (b"image_id,label\n", "x.csv: names no image; expected a column image_id, or one id a line"),
        (b"name,label\na,b\n", "x.csv: columns without image_id; expected a column image_id, or one id a line"),
        (b"rank,image_id\n\n1,a\n2\n", "x.csv: line 4 is cut off; expected 2 columns; got 1"),
        (b"\xff\x00", "x.csv: not a list of images; got 'utf-8' codec"),
    ],
)
def test_what_names_no_images_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(SalientError, match=re.escape(message)):
        LeftOut.read(tmp_path / "x.csv")


def test_images_that_are_not_there_are_told_and_nothing_or_everything_is_refused() -> None:
    told: list[str] = []
    assert LeftOut(frozenset("abyz")).among("abc", "the store", told.append).ids == {"a", "b"}
    assert LeftOut(frozenset("a")).among("abc", "the store", told.append).ids == {"a"}
    assert told == ["2 images to leave out are not in the store: y, z"]
    with pytest.raises(
        SalientError, match="none of the 1 images to leave out is in the store; expected ids such as a; "
    ):
        LeftOut(frozenset("z")).among("abc", "the store", told.append)
    with pytest.raises(SalientError, match="all 3 images of the store are to be left out; expected fewer"):
        LeftOut(frozenset("abcd")).among("abc", "the store", told.append)


def test_the_facts_are_of_the_images_that_are_there_in_any_order() -> None:
    facts = LeftOut(frozenset("bax")).facts("cba")
    assert facts is not None and (facts.images, facts.sha256) == (2, hashlib.sha256(b"a\nb").hexdigest())
    assert facts.words == f"2 images left out on request (ids {facts.sha256[:12]})"
    assert NOTHING.facts("abc") is None and not NOTHING
    assert LeftOut(frozenset("bx")).holds("abc").tolist() == [False, True, False]
