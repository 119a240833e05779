from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from salient_imagenet_data.annotation.answers import COLUMNS, OFFICIAL_COLUMNS, Answer
from salient_imagenet_data.annotation.files import read_annotations, write_annotations
from salient_imagenet_data.annotation.verdicts import Annotations, decide, summary
from salient_imagenet_data.errors import SalientError
from tests.threads import threads_begun

ROW = ["ann", "deer", "4", "17", "1", "background", "5", "dark, green ground"]


def write(path: Path, rows: list[list[str]], columns: tuple[str, ...] = COLUMNS) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


def votes(words: list[str], feature: int = 17, rank: int = 1) -> list[Answer]:
    return [Answer(f"p{i}", "deer", 4, feature, rank, word, 3, "") for i, word in enumerate(words)]


@pytest.mark.parametrize(
    ("separate", "background", "expected"),
    [
        (0, 0, ("core", None)),
        (1, 1, ("core", None)),
        (2, 1, ("spurious", "mixed")),
        (0, 3, ("spurious", "background")),
        (3, 0, ("spurious", "separate_object")),
        (2, 3, ("spurious", "background")),
    ],
)
def test_majority_of_three_in_five(separate: int, background: int, expected: tuple[str, str | None]) -> None:
    assert decide(separate, background, 3) == expected


def test_round_trip_and_counts(tmp_path: Path) -> None:
    spurious = votes(["background", "background", "separate_object", "main_object", "main_object"])
    core = votes(["main_object"] * 5, feature=9, rank=2)
    write_annotations(tmp_path / "a.csv", core + spurious)
    found = read_annotations(tmp_path / "a.csv")
    assert list(found.answers) == core + spurious
    counts = summary(found)
    assert counts | {"sha256": ""} == {
        "answers": 10,
        "unanswered": 0,
        "annotators": 5,
        "classes": 1,
        "pairs": 2,
        "core": 1,
        "spurious": 1,
        "spurious_by_cue": {"background": 0, "separate_object": 0, "mixed": 1},
        "classes_with_spurious": 1,
        "classes_without_core": 0,
        "features": 2,
        "sha256": "",
    }
    assert summary(found, majority=4)["spurious"] == 0
    with pytest.raises(
        SalientError,
        match="pairs, such as class 4, feature 9, have too few answers; expected 6 that agree make a feature spurious; got 5; collect more, or set the majority .--majority. to at most 5",
    ):
        found.verdicts(6)


def test_reasons_in_the_order_of_the_answers_without_the_empty_ones(tmp_path: Path) -> None:
    said = ["its fin", "", "  ", "water, blue", "its fin"]
    rows = [[f"p{i}", "deer", "4", "17", "1", "background", "", text] for i, text in enumerate(said)]
    rows += [[f"p{i}", "deer", "4", "9", "2", "main_object", "", ""] for i in range(5)]
    first, second = read_annotations(write(tmp_path / "a.csv", rows)).verdicts()
    assert first.reasons == ("its fin", "water, blue", "its fin") and second.reasons == ()


def test_official_columns_and_float_confidence(tmp_path: Path) -> None:
    row = ["52", "n01440764", "0", "59", "1", "main_object", "4.0", "focus is on the body"]
    (answer,) = read_annotations(write(tmp_path / "official.csv", [row], OFFICIAL_COLUMNS)).answers
    assert answer == Answer("52", "n01440764", 0, 59, 1, "main_object", 4, "focus is on the body")


def test_parquet_reads_like_csv(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([dict(zip(COLUMNS, ["ann", "deer", 4, 17, 1, "background", 5, ""], strict=True))])
    pq.write_table(table, tmp_path / "a.parquet")
    (answer,) = read_annotations(tmp_path / "a.parquet").answers
    assert (answer.class_index, answer.answer, answer.confidence) == (4, "background", 5)
    assert threads_begun("read_annotations(sys.argv[1])", tmp_path / "a.parquet") == 0


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("answer", "maybe", "row 2: unknown answer; expected main_object, separate_object, background; got 'maybe'"),
        ("confidence", "high", "row 2: confidence is not a whole number; expected a number >= 0; got 'high'"),
        ("confidence", "6", "row 2: confidence out of range; expected 1 to 5, or nothing; got 6"),
        ("class_index", "-1", "row 2: class_index is not a whole number"),
        ("feature_index", "1.5", "row 2: feature_index is not a whole number"),
        ("feature_rank", "0", "row 2: feature_rank out of range"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, column: str, value: str, message: str) -> None:
    bad = list(ROW)
    bad[0] = "bob"
    bad[COLUMNS.index(column)] = value
    with pytest.raises(SalientError) as caught:
        read_annotations(write(tmp_path / "a.csv", [ROW, bad]))
    assert f"a.csv, {message}" in str(caught.value) and "\n" not in str(caught.value)


def test_a_second_answer_and_a_doubled_rank_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        SalientError, match="row 2: second answer of ann for class 4, feature 17; got the first in row 1"
    ):
        read_annotations(write(tmp_path / "a.csv", [ROW, ROW]))
    other = ["bob", "deer", "4", "18", "1", "background", "5", ""]
    with pytest.raises(SalientError, match="row 2: rank 1 of class 4 does not belong to feature 18"):
        read_annotations(write(tmp_path / "a.csv", [ROW, other]))


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", ",".join(COLUMNS) + "\n"])
def test_no_answers_or_another_layout(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(SalientError, match=r"columns of no known layout|no answers"):
        read_annotations(tmp_path / "a.csv")


TABLE = """annotator,class_name,class_index,feature_index,feature_rank,answer,confidence,reason
,deer,4,17,1,background,,
,deer,4,18,2,,,
,,,,,,,
bob,deer,4,19,3,main_object,5,"dark, green"
"""


def test_half_filled_tables_are_read_and_the_rest_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(TABLE)
    found = read_annotations(tmp_path / "a.csv")
    assert found.unanswered == 1 and [a.feature_index for a in found.answers] == [17, 19]
    assert found.answers[0] == Answer("anonymous", "deer", 4, 17, 1, "background", None, "")
    write_annotations(tmp_path / "b.csv", found.answers)
    assert read_annotations(tmp_path / "b.csv").answers == found.answers
    (tmp_path / "none.csv").write_text(TABLE.replace("background", "").replace("main_object", ""))
    with pytest.raises(
        SalientError, match="no answers; expected at least one in the column answer; got 3 rows without one"
    ):
        read_annotations(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("delimiter", "encoding", "end"),
    [(",", "utf-8", "\n"), (";", "utf-8-sig", "\r\n"), ("\t", "utf-16", "\r\n"), (",", "utf-8-sig", "\r")],
)
def test_what_spreadsheets_write_is_read_alike(delimiter: str, encoding: str, end: str, tmp_path: Path) -> None:
    plain = read_annotations(write(tmp_path / "plain.csv", [ROW])).answers
    head, row = delimiter.join(COLUMNS), delimiter.join([*ROW[:2], "4.0", *ROW[3:7], '"dark, green ground"'])
    (tmp_path / "a.csv").write_bytes((head + end + row + end).encode(encoding))
    assert read_annotations(tmp_path / "a.csv").answers == plain


def rows_with(reasons: list[str]) -> str:
    rows = [f"p{i},deer,4,17,1,background,5,{reason}" for i, reason in enumerate(reasons)]
    return ",".join(COLUMNS) + "\n" + "\n".join(rows) + "\n"


@pytest.mark.parametrize(
    "reasons",
    [
        ["fine", '"odd', "fine", "fine"],
        ["fine", '"odd', "fine", 'the "thing"', "fine"],
        ["fine", '"odd', "fine", '"quoted, well"', "fine"],
        ["fine", '"odd', '"', "fine"],
    ],
)
def test_an_open_quotation_mark_hides_no_answer(reasons: list[str], tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(rows_with(reasons))
    with pytest.raises(SalientError, match=r"a\.csv, row 2: not CSV; got "):
        read_annotations(tmp_path / "a.csv")


def test_a_reason_of_several_lines_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(rows_with(['"first, then\nsecond"', "fine"]))
    assert [a.reason for a in read_annotations(tmp_path / "a.csv").answers] == ["first, then\nsecond", "fine"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.parquet", b"PAR1xx", "damaged, or no Parquet file"),
        ("a.csv", b"PK\x03\x04rest", "a spreadsheet's own format; expected CSV; save it as CSV"),
        ("a.csv", ",".join(COLUMNS).encode() + b"\nJos\xe9,", "not a CSV file; expected text in UTF-8"),
        (
            "a.csv",
            (rows_with(["fine"]) + "p9,deer,4,17,1,background,5,a,b,c\n").encode(),
            "row 2: not CSV; got 10 fields under 8",
        ),
    ],
)
def test_files_that_are_none_are_one_line(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SalientError) as caught:
        read_annotations(tmp_path / name)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_confidence_is_one_to_five_and_ranks_belong_to_their_features_either_way(tmp_path: Path) -> None:
    for confidence in ("1", "5"):
        row = [*ROW[:6], confidence, ""]
        assert read_annotations(write(tmp_path / "a.csv", [row])).answers[0].confidence == int(confidence)
    for first, second in (("1", "2"), ("2", "1")):
        rows = [[*ROW[:4], first, *ROW[5:]], ["bob", *ROW[1:4], second, *ROW[5:]]]
        with pytest.raises(
            SalientError, match=f"row 2: rank {second} of class 4 does not belong to feature 17; got rank"
        ):
            read_annotations(write(tmp_path / "a.csv", rows))
    with pytest.raises(SalientError, match="class_index is not a whole number; expected a number >= 0; got nothing"):
        read_annotations(write(tmp_path / "a.csv", [[*ROW[:2], "", *ROW[3:]]]))


def test_three_of_any_number_of_answers_decide_where_nobody_says_how_many() -> None:
    def kinds(words: list[str], *majority: int) -> list[tuple[str, str | None]]:
        return [(v.kind, v.cue) for v in Annotations(tuple(votes(words)), "s").verdicts(*majority)]

    assert kinds(["background"] * 3) == [("spurious", "background")]
    assert kinds(["background"] * 2 + ["main_object"] * 3) == [("core", None)]
    assert kinds(["background"] * 5) == [("spurious", "background")]
    assert kinds(["background", "separate_object", "main_object"], 2) == [("spurious", "mixed")]
    assert decide(1, 1, 2) == ("spurious", "mixed") and decide(3, 5, 3) == ("spurious", "background")
    assert Annotations((), "s").unanswered == 0
    several = (*votes(["background"] * 3), *votes(["background"], feature=9), *votes(["background"], feature=8, rank=2))
    message = (
        "2 pairs, such as class 4, feature 9, have too few answers; expected 3 that agree .*; got 1; .* at most 1$"
    )
    with pytest.raises(SalientError, match=message):
        Annotations(several, "s").verdicts()


def test_counts_are_of_the_classes_with_and_without_each_kind() -> None:
    def pair(class_index: int, feature: int, rank: int, word: str) -> list[Answer]:
        return [Answer(f"p{i}", f"c{class_index}", class_index, feature, rank, word, None, "") for i in range(3)]

    given = [*pair(0, 1, 1, "main_object"), *pair(0, 2, 2, "background"), *pair(1, 1, 1, "background")]
    counts = summary(Annotations((*given, *pair(2, 3, 1, "main_object")), "s"))
    assert (counts["core"], counts["spurious"], counts["pairs"], counts["features"]) == (2, 2, 4, 3)
    assert (counts["classes"], counts["classes_with_spurious"], counts["classes_without_core"]) == (3, 2, 1)
    assert counts["spurious_by_cue"] == {"background": 2, "separate_object": 0, "mixed": 0}
