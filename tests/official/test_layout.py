from __future__ import annotations

import io
from pathlib import Path

import pytest

from salient_imagenet_data.annotation.verdicts import Verdict
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.imagenet import wnids
from salient_imagenet_data.official.archive import open_archive
from salient_imagenet_data.official.layout import Plan, make_plan, order_features, read_classes, read_names
from tests.release_files import WNIDS, listed, names_csv, release, write_zip


def plan_of(tmp_path: Path, files: dict[str, bytes], verdicts: tuple[Verdict, ...] = ()) -> Plan:
    return make_plan(open_archive(write_zip(tmp_path / "r.zip", files)), verdicts)


def verdict(class_index: int, feature: int, rank: int) -> Verdict:
    return Verdict(class_index, WNIDS[class_index], feature, rank, "core", None, 5, 0, 0)


@pytest.mark.parametrize("root", ["", "salient_imagenet_dataset/", "a/b c/"])
def test_rows_by_class_and_name_slots_by_feature(tmp_path: Path, root: str) -> None:
    files = release(root)
    plan = plan_of(tmp_path, files)
    assert plan.root == root and plan.class_names == wnids()
    assert plan.features == {0: (3, 17), 1: (5,)}
    first = sorted({n for names in listed()[0].values() for n in names})
    assert plan.names == (*first, *listed()[1][5])
    assert plan.labels.tolist() == [0] * 7 + [1] * 3 and plan.absent == 0
    expected = [[n in listed()[0][3], n in listed()[0][17]] for n in first] + [[True, False]] * 3
    assert (plan.places >= 0).tolist() == expected
    for row, slot in zip(*(plan.places >= 0).nonzero(), strict=True):
        assert plan.mask_path(row, slot) in files
    assert plan.image_id(0) == plan.names[0]


def test_ranks_of_the_answers_order_the_features(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, release(), (verdict(0, 17, 1), verdict(0, 3, 2), verdict(1, 5, 3)))
    assert plan.features == {0: (17, 3), 1: (-1, -1, 5)} and plan.places.shape == (10, 3)
    assert (plan.places[7:, :2] == -1).all() and (plan.places[7:, 2] >= 0).all()


def test_order_features_fills_free_slots() -> None:
    assert order_features([2, 5, 9], {}) == (2, 5, 9)
    assert order_features([2, 5, 9], {9: 1, 2: 3}) == (9, 5, 2)
    assert order_features([2, 5], {5: 4}) == (2, -1, -1, 5)


def test_own_classes_from_zero_on(tmp_path: Path) -> None:
    files = {
        "wordnet_dict.py": b"{1: 'cat', 0: 'dog'}",
        "cat/image_names_map.csv": b"4\nx\n",
        "cat/feature_4/x.JPEG": b"",
    }
    plan = plan_of(tmp_path, files)
    assert plan.class_names == ("dog", "cat") and plan.absent == 1 and plan.image_id(0) == "cat/x"
    with pytest.raises(SalientError, match="class indices with gaps, and not ImageNet's.*got none for 0"):
        plan_of(tmp_path, {**files, "wordnet_dict.py": b"{1: 'cat'}"})


def test_a_release_of_some_of_imagenets_classes(tmp_path: Path) -> None:
    files = {
        "wordnet_dict.py": repr({i: w for i, w in enumerate(wnids()) if i % 3 == 0}).encode(),
        f"{wnids()[9]}/image_names_map.csv": b"4\nx\n",
        f"{wnids()[9]}/feature_4/x.JPEG": b"",
    }
    plan = plan_of(tmp_path, files)
    assert plan.class_names == wnids() and plan.labels.tolist() == [9] and plan.absent == 333


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch owned')",
        "{0: open('/etc/passwd').read()}",
        "x = {0: 'n01440764'}",
        "{0: 'n01440764'",
        "{**{0: 'n01440764'}}",
        "(" * 100_000,
        "-" * 200_000 + "1",
        "[" * 5000 + "]" * 5000,
        "",
    ],
)
def test_hostile_python_that_is_not_a_literal(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SalientError, match="f.py: not a Python literal") as caught:
        read_classes(text, "f.py")
    assert len(str(caught.value)) < 200 and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "not a table of classes"),
        ("{}", "not a table of classes"),
        ("{-1: 'n0'}", "class index out of range; expected 0 to 99999; got -1"),
        ("{True: 'n0'}", "class index out of range; expected 0 to 99999; got True"),
        ("{10**5: 'n0'}", "not a Python literal"),
        ("{100000: 'n0'}", "class index out of range"),
        ("{0: '../n0'}", "not a class name.*got '../n0'"),
        ("{0: 5}", "not a class name"),
        ("{0: 'a', 1: 'a'}", "two classes of one name"),
    ],
)
def test_hostile_classes(text: str, message: str) -> None:
    with pytest.raises(SalientError, match=message):
        read_classes(text, "f.py")


def test_names_columns_may_differ_in_length() -> None:
    columns = {7: ["n1", "n2", "n3"], 2: ["n2"]}
    assert read_names(names_csv(columns), "f.csv", 2048) == ({7: ("n1", "n2", "n3"), 2: ("n2",)}, ())
    assert read_names(b"\xef\xbb\xbf7\r\nn1\r\n", "f.csv", 2048) == ({7: ("n1",)}, ())


def test_columns_of_no_feature_are_passed_over_as_the_authors_reader_does() -> None:
    """pandas writes an index without a head; the authors' loader asks for the columns of its features by name."""
    pandas = pytest.importorskip("pandas")
    data = b',7,class,2\n0,n1,"tench, Tinca",n2\n1,n3,../../x y,\n'
    columns, others = read_names(data, "f.csv", 2048)
    assert columns == {7: ("n1", "n3"), 2: ("n2",)} and others == ("", "class")
    frame = pandas.read_csv(io.BytesIO(data))
    assert {f: tuple(frame[str(f)].dropna()) for f in columns} == columns


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no images; expected a column of image names"),
        (b"7,2\n", "no images"),
        (b"x\nn1\n", "no column of a feature; expected column heads that are numbers from 0 to 2047; got 'x'"),
        (b"7,x\n,n1\n", "no images"),
        (b",7\n0,n1,n2\n", "line 2: too many cells; expected 2; got 3"),
        (b"7.0\nn1\n", "column heads are feature indices; expected different numbers from 0 to 2047; got '7.0'"),
        (b"2048\nn1\n", "from 0 to 2047; got '2048'"),
        (b"-1\nn1\n", "got '-1'"),
        ("²\nn1\n".encode(), "no column of a feature"),
        (b"9" * 5000 + b"\nn1\n", "column heads are feature indices"),
        (b"7,7\nn1,n2\n", "column heads are feature indices"),
        (b"7\nn1,n2\n", "line 2: too many cells; expected 1; got 2"),
        (b"7\n../../n1\n", "line 2: not an image name; got '../../n1'"),
        (b"7\n" + b"n" * 200 + b"\n", "line 2: not an image name"),
        (b"7\nn1\nn1\n", "n1 twice for feature 7"),
        (b'7\n"n1\n', "not a CSV file"),
        (b"\xff\xfe", "not a CSV file"),
    ],
)
def test_hostile_names(data: bytes, message: str) -> None:
    with pytest.raises(SalientError, match=message):
        read_names(data, "f.csv", 2048)


def test_listed_masks_that_are_not_there(tmp_path: Path) -> None:
    files = release("")
    for i in range(6):
        del files[f"n01440764/feature_17/n01440764_{i}.JPEG"]
    with pytest.raises(
        SalientError,
        match="6 masks are listed and not there; expected files such as n01440764/feature_17/n01440764_0.JPEG, .*_1.JPEG, .*_2.JPEG, .*_3.JPEG, [^,]*_4.JPEG;",
    ):
        plan_of(tmp_path, files)


def test_missing_tables(tmp_path: Path) -> None:
    files = release("")
    with pytest.raises(SalientError, match="no n01440764/image_names_map.csv"):
        plan_of(tmp_path, {k: v for k, v in files.items() if k != "n01440764/image_names_map.csv"})
    with pytest.raises(SalientError, match="not the release's layout; expected one wordnet_dict.py; got none"):
        plan_of(tmp_path, {k: v for k, v in files.items() if k != "wordnet_dict.py"})
    with pytest.raises(SalientError, match="got .*wordnet_dict.py, .*wordnet_dict.py"):
        plan_of(tmp_path, {**files, "a/wordnet_dict.py": b"{}"})
    with pytest.raises(SalientError, match="no class folder; expected folders such as n01440764"):
        plan_of(tmp_path, {"wordnet_dict.py": files["wordnet_dict.py"]})


def test_what_a_mac_adds_to_a_zip_is_left_aside(tmp_path: Path) -> None:
    files = {
        **release(),
        "__MACOSX/salient_imagenet_dataset/wordnet_dict.py": b"junk",
        "salient_imagenet_dataset/.DS_Store": b"",
    }
    assert len(plan_of(tmp_path, files).names) == 10


def test_one_image_in_two_classes(tmp_path: Path) -> None:
    files = release("")
    files["n01443537/image_names_map.csv"] = b"5\nn01440764_4\n"
    files["n01443537/feature_5/n01440764_4.JPEG"] = b""
    with pytest.raises(SalientError, match="image n01440764_4 is listed for two classes; got n01440764 and n01443537"):
        plan_of(tmp_path, files)


def test_too_many_features(tmp_path: Path) -> None:
    files = {"wordnet_dict.py": b"{0: 'cat'}", "cat/image_names_map.csv": names_csv({f: ["x"] for f in range(300)})}
    files |= {f"cat/feature_{f}/x.JPEG": b"" for f in range(300)}
    with pytest.raises(SalientError, match="300 features of one class; expected at most 256"):
        plan_of(tmp_path, files)
