"""Answers in other forms, and back: nothing is lost on the way."""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from salient_imagenet_data.annotation.answers import Answer
from salient_imagenet_data.annotation.files import read_annotations, write_annotations
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
    assert (code, said) == (0, f"wrote {out}: 2 answers of 2 people about 1 pair\n")
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
    assert not list(tmp_path.glob("*.labelling.xml"))  # only Label Studio needs one


def test_tasks_of_label_studio_and_back(file: Path, bare_store: Store, run: Run, tmp_path: Path) -> None:
    out, beside = tmp_path / "tasks.json", tmp_path / "tasks.labelling.xml"
    line = ("export-answers", bare_store.path, "--answers", file, "--format", "label-studio", "--out", out)
    code, _, err = run(*line)
    assert (code, err) == (0, f"the labelling interface that Label Studio needs for these tasks is in {beside}\n")
    view = ElementTree.parse(beside).getroot()
    names = {node.get("name"): node.tag for node in view.iter() if node.get("toName")}
    assert names == {"answer": "Choices", "confidence": "Rating", "reason": "TextArea"}
    out.unlink()
    code, _, err = run(*line)  # also the one beside is not written over
    assert code == 2 and f"{beside}: exists" in err and not out.exists()
    assert run(*line, "--overwrite")[0] == 0
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
    assert (code, said) == (0, f"0 answers added to {other}\n") and err.startswith("2 answers left out: ")
    assert answers_in(read_book(other), bare_store) == before


def test_answers_are_taken_in_by_the_names_of_classes_and_what_is_left_out_is_told(
    bare_store: Store, run: Run, tmp_path: Path
) -> None:
    """As `apply` takes them: a file about more classes numbers them otherwise."""
    f, file = bare_store.features[0], tmp_path / "a.csv"
    pair = f"{f.feature_index},{f.rank}"
    rows = (f"ada,{f.class_name},700,{pair},background,2,sand", "ada,zebra,0,7,1,background,,", f"ada,x,9,{pair},,,")
    file.write_text(
        "annotator,class_name,class_index,feature_index,feature_rank,answer,confidence,reason\n" + "\n".join(rows)
    )
    book = tmp_path / "b.sqlite"
    code, out, err = run("import-answers", bare_store.path, file, "--answers", book)
    assert (code, out) == (0, f"1 answer added to {book}\n")
    first, second = err.splitlines()
    assert first == f"1 row of {file} without an answer left out"
    assert second.startswith("1 of 2 classes of the answers are not here, and 1 answers") and second.endswith("zebra")
    (answer,) = answers_in(read_book(book), bare_store)
    assert (answer.class_index, answer.feature_index, answer.reason) == (f.class_index, f.feature_index, "sand")


def test_answers_about_something_else_are_refused(bare_store: Store, run: Run, tmp_path: Path) -> None:
    f = bare_store.features[0]
    head = "annotator,class_name,class_index,feature_index,feature_rank,answer,confidence,reason\n"
    for line, told in (
        (f"a,{f.class_name},{f.class_index},999,{f.rank},background,,", "feature 999"),
        (f"a,{f.class_name},{f.class_index},{f.feature_index},{f.rank + 1},background,,", f"rank {f.rank + 1}"),
        (
            f"a,other,{f.class_index},{f.feature_index},{f.rank},background,,",
            "the answers are about none of the classes here",
        ),
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


def test_answers_about_another_store_are_neither_exported_nor_applied(
    file: Path, bare_store: Store, run: Run, tmp_path: Path
) -> None:
    """The same pairs and another network: the file says whose answers they are, and nothing of it is taken."""
    folder = Path(shutil.copytree(bare_store.path, tmp_path / "store"))
    connection = sqlite3.connect(file)
    connection.execute("UPDATE project SET value = ? WHERE key = 'weights'", ("f" * 64,))
    connection.commit()
    connection.close()
    ours = bare_store.manifest.weights_sha256[:16]
    for line in (
        ("apply", folder, file, "--majority", 1),
        ("export-answers", folder, "--answers", file, "--out", tmp_path / "a.csv"),
    ):
        code, out, err = run(*line)
        assert (code, out) == (2, "") and err.count("\n") == 1
        assert f"a.sqlite: answers about another store; expected weights {ours}; got {'f' * 16}" in err
    assert not (tmp_path / "a.csv").exists() and Store(folder).features == bare_store.features


def test_what_is_written_is_counted_and_what_is_left_out_is_told(
    file: Path, bare_store: Store, run: Run, tmp_path: Path
) -> None:
    """A row about a pair that the store does not have, which nothing of ours writes."""
    connection = sqlite3.connect(file)
    connection.execute(
        "INSERT INTO answers SELECT NULL, time, 'cy', 0, 99999, round, answer, confidence, reason, seconds, 'other', shown "
        "FROM answers WHERE id = 1"
    )
    connection.commit()
    connection.close()
    out, told = tmp_path / "a.csv", "1 answer left out, to pairs that the store does not have\n"
    said = f"wrote {out}: 2 answers of 2 people about 1 pair\n"
    assert run("export-answers", bare_store.path, "--answers", file, "--out", out) == (0, said, told)
    assert len(out.read_text().splitlines()) == 3
    folder = shutil.copytree(bare_store.path, tmp_path / "store")
    assert run("apply", folder, file, "--majority", 1) == (0, "0 core, 1 spurious, 39 without answers\n", told)
    Book(tmp_path / "empty.sqlite", identity_of(bare_store)).close()
    out = tmp_path / "none.csv"
    said = f"wrote {out}: 0 answers of 0 people about 0 pairs\n"
    assert run("export-answers", bare_store.path, "--answers", tmp_path / "empty.sqlite", "--out", out)[1] == said


def test_applying_tells_how_many_features_lose_their_kind(
    file: Path, bare_store: Store, run: Run, tmp_path: Path
) -> None:
    """Twelve features have one; the file is about the fifth, and calls it spurious with one answer of the two."""
    folder = Path(shutil.copytree(bare_store.path, tmp_path / "store"))
    known = [
        Answer("x", f.class_name, f.class_index, f.feature_index, f.rank, "main_object", None, "")
        for f in bare_store.features[:12]
    ]
    write_annotations(tmp_path / "a.csv", known)
    assert run("apply", folder, tmp_path / "a.csv", "--majority", 1)[2] == ""
    _, out, err = run("apply", folder, file, "--majority", 1)
    assert out == "0 core, 1 spurious, 39 without answers\n"
    assert err == "11 features lose the kind they had, and 1 gets another\n"
    assert run("apply", folder, file, "--majority", 1)[2] == ""  # the same again changes nothing


def test_a_database_that_is_no_file_of_answers_is_told(bare_store: Store, run: Run, tmp_path: Path, file: Path) -> None:
    """Of another program: nobody is told to restore a copy of it. A CSV is asked for where only that is read."""
    other = tmp_path / "other.sqlite"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE answers (id)")
    connection.close()
    for line in (
        ("apply", bare_store.path, other),
        ("export-answers", bare_store.path, "--answers", other, "--out", "x"),
    ):
        code, _, err = run(*line)
        assert code == 2 and "other.sqlite: not a file of answers; expected one of `salient-imagenet label`" in err
        assert "restore" not in err
    for line in (("annotations", file), ("import-answers", bare_store.path, file, "--answers", tmp_path / "b.sqlite")):
        code, _, err = run(*line)
        assert code == 2 and "a.sqlite: a file of SQLite, as `label` keeps answers in" in err
        assert "`export-answers` writes a CSV" in err and err.count("\n") == 1


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
