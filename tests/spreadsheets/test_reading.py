"""The text of a file that a person typed or a spreadsheet saved."""

from __future__ import annotations

import pytest

from salient_imagenet_data.spreadsheets.reading import decoded, delimiter_of


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_marks_of_an_encoding_are_no_text(encoding: str) -> None:
    assert decoded("Öl, ein\n".encode(encoding)) == "Öl, ein\n"
    assert decoded("a\n".encode("utf-16-be").join((b"\xfe\xff", b""))) == "a\n"


def test_bytes_of_another_encoding_are_refused_unless_they_may_be_replaced() -> None:
    with pytest.raises(UnicodeDecodeError, match="'utf-8' codec can't decode byte 0xd6"):
        decoded("Öl".encode("cp1252"))
    assert decoded("Öl".encode("cp1252"), "replace") == "\ufffdl"


@pytest.mark.parametrize(
    ("text", "between"), [("a,b\n1;2;3;4\n", ","), ("a;b", ";"), ("a\tb\n", "\t"), ("a\n", ","), ("", ",")]
)
def test_the_first_line_tells_what_stands_between_columns(text: str, between: str) -> None:
    assert delimiter_of(text) == between
