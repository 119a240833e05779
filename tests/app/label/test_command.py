"""`salient-imagenet label` as a process of its own: every option changes what a page shows."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision

from salient_imagenet_data.annotation.answers import Answer
from salient_imagenet_data.annotation.files import write_annotations
from salient_imagenet_data.app.label.book import read_book
from salient_imagenet_data.app.label.opening import read_definitions
from salient_imagenet_data.app.serving import listen
from salient_imagenet_data.store.reading import Store
from tests.app.conftest import Client, Launched, Serving
from tests.app.label.reading import heading, open_page, pair_of, send
from tests.conftest import Run

Start = Callable[..., tuple[Client, Serving]]


@pytest.fixture
def start(bare_store: Store, images: Path, tmp_path: Path, launch: Callable[..., Launched]) -> Start:
    """Start the command on a port of the system's choice."""

    def run(*options: object) -> tuple[Client, Serving]:
        where = ("--images", images, "--answers", tmp_path / "a.sqlite", "--port", 0, "--no-browser")
        client, process, told = launch("-m", "salient_imagenet_data.cli", "label", bare_store.path, *where, *options)
        (tmp_path / "told.txt").write_text(told)
        return client, process

    return run


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_a_person_answers_and_ends_the_server(start: Start, tmp_path: Path, end: signal.Signals) -> None:
    client, process = start("--annotator", "Ada L.")
    assert client.get("/").headers["location"] == "/label"
    page = client.get("/label").text
    assert 'value="Ada L."' in page
    assert send(client, page, answer="background", confidence="4", reason="only grass").status == 303
    process.send_signal(end)
    out = process.ended()
    assert process.returncode == 0 and out.strip() == f"the answers are in {tmp_path / 'a.sqlite'}"
    assert not (tmp_path / "a.sqlite-wal").exists()  # one whole file
    (row,) = read_book(tmp_path / "a.sqlite").rows
    assert (row.annotator, row.answer, row.confidence, row.reason) == ("Ada L.", "background", 4, "only grass")
    assert row.seconds is not None and 0 < row.seconds < 60 and len(row.shown) == 4  # the classes have four images


def test_the_options_change_what_is_asked(start: Start, bare_store: Store, images: Path, tmp_path: Path) -> None:
    last = bare_store.features[-1]
    known = Answer("gold", last.class_name, last.class_index, last.feature_index, last.rank, "background", None, "")
    write_annotations(tmp_path / "gold.csv", [known])
    (tmp_path / "words.txt").write_text(f"{bare_store.class_names[0]}\ta thing of <b>lines</b>\n")
    ids = [bare_store.rows[row] for row in range(len(bare_store))]
    of_last = [row for row in ids if row.label == last.class_index]
    boxes = "image,left,top,right,bottom,class\n" + "".join(
        f"{r.image_id},{r.box.left},{r.box.top},{r.box.left + r.box.width / 8},{r.box.top + r.box.height / 8},{last.class_name}\n"
        for r in of_last
    )
    (tmp_path / "boxes.csv").write_text(boxes)
    client, process = start("--definitions", tmp_path / "words.txt", "--annotators-per-pair", 3, "--repeats", 0)
    first = open_page(client, "ann")
    assert pair_of(first)[0] == 0 and "a thing of &lt;b&gt;lines&lt;/b&gt;" in first
    assert heading(first) == bare_store.class_names[0]
    assert "have answers of 3" in client.get("/").text
    total = len(bare_store.features)
    assert f"0</b> answered, {total} left" in first
    process.kill()
    client, process = start("--repeats", 1, "--generalise", 2, "--annotator", "ann", "--gold", tmp_path / "gold.csv")
    page = open_page(client, "ann")
    # No class of these scenes has images below the five highest, so none is asked again on them.
    assert f"0</b> answered, {2 * total} left" in page
    asked = []
    for _ in range(5):
        asked.append(pair_of(page))
        send(client, page, answer="background")
        page = open_page(client, "ann")
    assert asked[4] == (last.class_index, last.feature_index)  # the gold pair, of the last class
    process.kill()
    told = (tmp_path / "told.txt").read_text()
    assert told.startswith("0 pairs to ask again, not 2: no other has images of the ranks 6 to 65\n")
    client, process = start("--boxes", tmp_path / "boxes.csv")
    assert pair_of(open_page(client, "bob"))[0] == last.class_index


def test_feature_attacks_appear_beside_the_heat_maps(start: Start, weights: Path, tmp_path: Path, run: Run) -> None:
    """With the store's network, whose options `sheets` has too; other weights are refused before anything starts."""
    client, process = start("--attack", weights, "--device", "cpu")
    page = open_page(client, "ann")
    c, f = pair_of(page)
    for _ in range(600):
        part = client.get(f"/attacks/{c}/{f}").text
        if "<img" in part:
            break
        time.sleep(0.05)
    assert part.count("<img") == 4 and client.get(f"/attacks/{c}/{f}/4.jpg").body[:2] == b"\xff\xd8"
    assert f'src="/attacks/{c}/{f}/1.jpg"' in open_page(client, "ann")
    process.send_signal(signal.SIGINT)
    process.ended()
    assert process.returncode == 0


def test_what_cannot_be_done_is_told_in_one_line_before_anything_starts(
    run: Run, bare_store: Store, images: Path, tmp_path: Path
) -> None:
    given = ("label", bare_store.path, "--images", images, "--answers", tmp_path / "a.sqlite", "--no-browser")
    code, out, err = run(*given, "--host", "0.0.0.0")
    assert (code, out) == (2, "") and "expected --token with at least 12 characters" in err and err.count("\n") == 1
    (tmp_path / "notes.txt").write_text("\n\n")
    code, _, err = run(*given, "--port", 0, "--definitions", tmp_path / "notes.txt")
    assert code == 2 and "no definitions" in err
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):  # a mark at the beginning is not the first class's name
        (tmp_path / "notes.txt").write_text("a\tan ä\n", encoding=encoding)
        assert read_definitions(tmp_path / "notes.txt") == {"a": "an ä"}
    other = Answer("gold", bare_store.class_names[0], 0, 999, 1, "background", None, "")
    write_annotations(tmp_path / "gold.csv", [other])
    code, _, err = run(*given, "--port", 0, "--gold", tmp_path / "gold.csv")
    assert code == 2 and "class 0 (bar), feature 999, rank 1" in err
    last = bare_store.features[-1]
    code, _, err = run(*given, "--port", 0, "--annotator", "x" * 61)
    assert code == 2 and "annotator's name" in err
    renamed = Answer("gold", "n09999999", last.class_index, last.feature_index, last.rank, "background", None, "")
    write_annotations(tmp_path / "gold.csv", [renamed])
    code, _, err = run(*given, "--port", 0, "--gold", tmp_path / "gold.csv")
    assert code == 2 and f"the store does not have; got class {last.class_index} (n09999999), feature" in err
    torch.save(torchvision.models.resnet18(num_classes=10).state_dict(), tmp_path / "other.pt")
    code, _, err = run(*given, "--port", 0, "--attack", tmp_path / "other.pt", "--architecture", "resnet18")
    assert code == 2 and "other.pt" in err and "sha256" in err
    taken = listen("127.0.0.1", 0)
    (tmp_path / "words.txt").write_text(f"{bare_store.class_names[3]}\ta thing\nof another list\n")
    code, _, err = run(*given, "--port", taken.getsockname()[1], "--definitions", tmp_path / "words.txt")
    taken.close()
    # The port is taken last, when there is something to show, and the file of answers is given back whatever happens.
    said, trouble = err.splitlines()
    assert (
        said == f"1 of 10 classes have a text in {tmp_path / 'words.txt'}" and "cannot listen" in trouble and code == 2
    )
    assert not (tmp_path / "a.sqlite-wal").exists()
    (tmp_path / "a.sqlite").write_bytes(b"not a database, but longer than its header of a hundred bytes" * 40)
    code, _, err = run(*given, "--port", 0)
    assert code == 2 and "not a database" in err and err.count("\n") == 1
