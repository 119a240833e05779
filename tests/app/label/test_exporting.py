"""Answers in other forms, and back: nothing is lost on the way."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from salient_imagenet_data.annotation.files import read_annotations
from salient_imagenet_data.annotation.label_studio import read_tasks
from salient_imagenet_data.app.label.book import Book, read_book
from salient_imagenet_data.app.label.desk import answers_in, identity_of
from salient_imagenet_data.app.label.exporting import annotations_in
from salient_imagenet_data.app.label.records import Pair, Task
from salient_imagenet_data.evaluation.numbers.estimates import wilson
from salient_imagenet_data.hub.export import export
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run


@pytest.fixture
def file(bare_store: Store, tmp_path: Path) -> Path:
    """Answers of two people about two pairs, of which one was changed, one taken back, one skipped and one asked
    again."""
    path = tmp_path / "a.sqlite"
    book = Book(path, identity_of(bare_store))
    one, two = (Pair(f.class_index, f.feature_index) for f in bare_store.features[4:6])
    first = Task(one, "first")
    book.add("ada", first, "background", confidence=2, reason='<b>grass</b>, "tall"; a=1', shown=("x/1", "x/2"))
    book.add("ada", first, "separate_object", confidence=5, reason="a fence", shown=("x/1", "x/2"))
    book.add("bob", first, "main_object", shown=("x/1", "x/2"))
    book.add("ada", Task(two, "first"), "background")
    book.add("ada", Task(two, "first"), "withdrawn")
    book.add("bob", Task(two, "first"), "skipped")
    book.add("bob", Task(one, "repeat"), "background")
    book.add("bob", Task(one, "wide"), "background")
    book.close()
    return path


def test_the_csv_holds_what_was_said_last_and_applies(file: Path, bare_store: Store, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "a.csv"
    code, said, _ = run("export-answers", bare_store.path, "--answers", file, "--out", out)
    assert (code, said) == (0, f"wrote {out}: 2 answers of 2 people about 1 pairs\n")
    feature = bare_store.features[4]
    pair = f"{feature.class_name},{feature.class_index},{feature.feature_index},{feature.rank}"
    head, *lines = out.read_text().splitlines()
    assert head == "annotator,class_name,class_index,feature_index,feature_rank,answer,confidence,reason"
    assert lines == [f"ada,{pair},separate_object,5,a fence", f"bob,{pair},main_object,,"]
    assert read_annotations(out) == replace(annotations_in(read_book(file), bare_store), generalised=None)
    code, _, err = run("export-answers", bare_store.path, "--answers", file, "--out", out)
    assert code == 2 and "exists" in err
    assert run("export-answers", bare_store.path, "--answers", file, "--out", out, "--overwrite")[0] == 0


def test_the_official_columns_hold_the_same(file: Path, bare_store: Store, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "official.csv"
    assert run("export-answers", bare_store.path, "--answers", file, "--format", "official", "--out", out)[0] == 0
    with out.open(newline="") as text:
        rows = list(csv.DictReader(text))
    assert [(r["WorkerId"], r["Answer.main"], r["Answer.confidence"]) for r in rows] == [
        ("ada", "separate_object", "5"),
        ("bob", "main_object", ""),
    ]
    assert read_annotations(out).answers == annotations_in(read_book(file), bare_store).answers


def test_tasks_of_label_studio_and_back(file: Path, bare_store: Store, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "tasks.json"
    assert run("export-answers", bare_store.path, "--answers", file, "--format", "label-studio", "--out", out)[0] == 0
    (task,) = json.loads(out.read_text())
    assert task["data"]["images"] == "x/1 x/2" and task["data"]["feature_rank"] == bare_store.features[4].rank
    (choice, sure, why) = task["annotations"][0]["result"]
    assert choice["value"] == {"choices": ["separate_object"]} and sure["value"] == {"rating": 5}
    assert why == {"from_name": "reason", "to_name": "images", "type": "textarea", "value": {"text": ["a fence"]}}
    assert tuple(read_tasks(out)) == annotations_in(read_book(file), bare_store).answers


@pytest.mark.parametrize("form", ["csv", "official", "label-studio"])
def test_what_was_written_is_taken_in_again(form: str, file: Path, bare_store: Store, run: Run, tmp_path: Path) -> None:
    out = tmp_path / ("a.json" if form == "label-studio" else "a.csv")
    assert run("export-answers", bare_store.path, "--answers", file, "--format", form, "--out", out)[0] == 0
    other = tmp_path / "b.sqlite"
    take = ("import-answers", bare_store.path, out, "--answers", other)
    assert run(*take) == (0, f"2 answers added to {other}\n", "")
    before = answers_in(read_book(other), bare_store)
    assert before == answers_in(read_book(file), bare_store)
    code, said, err = run(*take)
    assert (code, said) == (0, f"0 answers added to {other}\n") and err.startswith("2 answers are left out")
    assert answers_in(read_book(other), bare_store) == before


def test_answers_about_something_else_are_refused(bare_store: Store, run: Run, tmp_path: Path) -> None:
    f = bare_store.features[0]
    head = "annotator,class_name,class_index,feature_index,feature_rank,answer,confidence,reason\n"
    for line, told in (
        (f"a,{f.class_name},{f.class_index},999,{f.rank},background,,", "feature 999"),
        (f"a,{f.class_name},{f.class_index},{f.feature_index},{f.rank + 1},background,,", f"rank {f.rank + 1}"),
        (f"a,other,{f.class_index},{f.feature_index},{f.rank},background,,", f"feature {f.feature_index}"),
        (f"{'x' * 61},{f.class_name},{f.class_index},{f.feature_index},{f.rank},background,,", "annotator's name"),
    ):
        (tmp_path / "a.csv").write_text(head + line + "\n")
        code, _, err = run("import-answers", bare_store.path, tmp_path / "a.csv", "--answers", tmp_path / "b.sqlite")
        assert code == 2 and told in err and err.count("\n") == 1
    for text in ("{}", "[1]", "[", '[{"data": {}}]', "[" * 100_000, '[{"data": {}, "annotations": [{"result": [1]}]}]'):
        (tmp_path / "a.json").write_text(text)
        code, _, err = run("import-answers", bare_store.path, tmp_path / "a.json", "--answers", tmp_path / "b.sqlite")
        assert code == 2 and "a.json" in err and err.count("\n") == 1


def test_a_store_that_is_not_a_folder_wants_a_place(run: Run, tmp_path: Path) -> None:
    code, _, err = run("export-answers", "org/name", "--out", tmp_path / "a.csv")
    assert code == 2 and "expected --answers FILE" in err
    code, _, err = run("export-answers", tmp_path, "--out", tmp_path / "a.csv")
    assert code == 2 and "no such file" in err


def test_the_file_itself_is_applied_too(file: Path, bare_store: Store, run: Run, tmp_path: Path) -> None:
    """As the CSV of it is, and without being named where it lies beside the store."""
    assert run("export-answers", bare_store.path, "--answers", file, "--out", tmp_path / "a.csv")[0] == 0
    made = []
    for name, given in (("one", [file]), ("two", [tmp_path / "a.csv"]), ("three", [])):
        folder = shutil.copytree(bare_store.path, tmp_path / name)
        shutil.copy(file, tmp_path / f"{name}.answers.sqlite")
        code, out, _ = run("apply", folder, *given, "--majority", 1)
        assert (code, out) == (0, "0 core, 1 spurious, 39 without answers\n")
        made.append((Store(folder).features, Store(folder).manifest))
    assert made[0] == made[2] and made[0][1].generalisation["pairs"] == 1  # which a CSV does not say
    assert made[1] == (made[0][0], replace(made[0][1], generalisation={}))
    code, _, err = run("apply", tmp_path / "one", file)  # two answers cannot make three
    assert code == 2 and "too few answers" in err
    (tmp_path / "one.answers.sqlite").unlink()
    code, _, err = run("apply", tmp_path / "one")
    assert code == 2 and "one.answers.sqlite: no such file" in err


def test_what_asking_again_gave_goes_with_the_answers_into_manifest_info_and_card(
    bare_store: Store, tmp_path: Path, run: Run
) -> None:
    """Three of four pairs come out as the same kind; a CSV has no second round, and its answers say nothing of it."""
    copy = Path(shutil.copytree(bare_store.path, tmp_path / "store"))
    book = Book(tmp_path / "store.answers.sqlite", identity_of(bare_store))
    for feature, again in zip(bare_store.features[4:8], ("background",) * 3 + ("main_object",), strict=True):
        pair = Pair(feature.class_index, feature.feature_index)
        book.add("ada", Task(pair, "first"), "separate_object", reason="a fence, with nails")
        book.add("bob", Task(pair, "wide"), again)
    book.add("ada", Task(Pair(0, bare_store.features[0].feature_index), "first"), "main_object")
    book.close()
    assert run("apply", copy, "--majority", 1)[0] == 0
    held, store = wilson(3, 4), Store(copy)
    ranks = {"images": 5, "first_rank": 6, "last_rank": 65}
    assert store.manifest.generalisation == {"pairs": 4, "same": 3, "low": held.low, "high": held.high, **ranks}
    said = (
        "3 of 4 pairs that were asked again on 5 random images of the ranks 6 to 65 came out as the same kind: 0.750 "
        "[0.301, 0.954]"
    )
    assert f"generalisation      {said}\n" in run("info", copy)[1]
    card = " ".join((export(store, tmp_path / "out") / "README.md").read_text().split())
    assert f"(a share of pairs with its 95 % interval): {said}." in card
    assert "called by the most frequent words of people's reasons: `fence, nails` (4 times)." in card
    assert run("export-answers", copy, "--out", tmp_path / "a.csv")[0] == 0
    assert run("apply", copy, tmp_path / "a.csv", "--majority", 1)[0] == 0
    assert Store(copy).manifest.generalisation == {}
    assert "generalisation      not measured\n" in run("info", copy)[1]
