"""`label` in this process: what its lines and pages say by its options."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from salient_imagenet_data.app.label.book import read_book
from salient_imagenet_data.store.reading import Store
from tests.app.conftest import Client
from tests.app.label.reading import open_page, send
from tests.cli.app.conftest import Served


def test_the_answers_lie_beside_the_store_and_missing_images_are_counted(
    served: Served, opened: list[str], bare_store: Store, images: Path, tmp_path: Path
) -> None:
    store = Path(shutil.copytree(bare_store.path, tmp_path / "store"))
    folder = Path(shutil.copytree(images, tmp_path / "images"))
    (path,) = folder.glob(f"{bare_store.rows[6].image_id}.*")
    path.unlink()
    words = tmp_path / "words.txt"
    words.write_text(f"{bare_store.class_names[0]}\ta thing of lines\n")

    def answer(client: Client) -> str:
        page = open_page(client, "ann")
        assert send(client, page, answer="background", confidence="4", reason="grass").status == 303
        until = time.monotonic() + 5
        while not opened and time.monotonic() < until:  # the browser is sent half a second later
            time.sleep(0.02)
        return page

    page, out, err = served(answer, "label", store, "--images", folder, "--definitions", words)
    answers = tmp_path / "store.answers.sqlite"
    assert out == f"the answers are in {answers}\n"
    assert err == (f"1 of 40 images are not there; their places stay empty\n1 of 10 classes have a text in {words}\n")
    assert "a thing of lines" in page and len(opened) == 1 and opened[0].startswith("http://127.0.0.1:")
    (row,) = read_book(answers).rows
    assert (row.annotator, row.reason) == ("ann", "grass")
    assert not (tmp_path / "store.answers.sqlite-wal").exists()  # given back whole


def test_nothing_is_told_where_all_is_there_and_no_browser_is_sent(
    served: Served, opened: list[str], bare_store: Store, images: Path, tmp_path: Path
) -> None:
    given = ("label", bare_store.path, "--images", images, "--answers", tmp_path / "a.sqlite", "--no-browser")

    def wait(client: Client) -> str:
        time.sleep(0.6)
        return client.get("/").text

    page, out, err = served(wait, *given)
    assert (out, err, opened) == (f"the answers are in {tmp_path / 'a.sqlite'}\n", "", [])
    assert "have answers of 5" in page
