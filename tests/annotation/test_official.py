"""The download of the 2022 study's answers, from a loopback server with a made file of the same counts."""

from __future__ import annotations

import csv
import http.server
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from salient_imagenet_data.annotation import official as official_answers
from salient_imagenet_data.annotation.answers import OFFICIAL_COLUMNS
from salient_imagenet_data.annotation.files import read_annotations
from salient_imagenet_data.annotation.official import EXPECTED, LICENCE, annotations_of, fetch_official
from salient_imagenet_data.annotation.verdicts import summary
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.imagenet import wnids


def answers(classes: int = 1000) -> bytes:
    """Five answers about five features of each class by 265 people; the first 630 pairs are spurious."""
    text, pair = io.StringIO(), 0
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(OFFICIAL_COLUMNS)
    for index, wnid in enumerate(wnids()[:classes]):
        for rank in range(1, 6):
            word = "background" if pair < 630 else "main_object"
            for person in range(5):
                row = [
                    f"w{(pair * 5 + person) % 265}",
                    wnid,
                    index,
                    5 * (index % 40) + rank,
                    rank,
                    word,
                    4.0,
                    "a, reason",
                ]
                writer.writerow(row)
            pair += 1
    return text.getvalue().encode()


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "whole.csv").write_bytes(answers())
    (folder / "part.csv").write_bytes(answers(999))
    monkeypatch.setattr(official_answers.pooch, "os_cache", lambda name: tmp_path / "cache")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *arguments: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_file_is_fetched_once_and_its_counts_are_checked(served: str, tmp_path: Path) -> None:
    fetched = fetch_official(f"{served}/whole.csv")
    counts = summary(fetched)
    assert {key: counts[key] for key in EXPECTED} == EXPECTED
    (tmp_path / "served" / "whole.csv").unlink()
    assert fetch_official(f"{served}/whole.csv", sha256=fetched.sha256) == fetched


def test_answers_are_a_file_or_official_whose_licence_is_told_first(served: str, answers_file: Path) -> None:
    told: list[str] = []
    assert annotations_of(str(answers_file), told.append) == read_annotations(answers_file) and told == []
    with pytest.raises(SalientError, match="404"):
        annotations_of("official", told.append, f"{served}/none.csv")
    assert told == [LICENCE]
    assert summary(annotations_of("official", told.append, f"{served}/whole.csv"))["answers"] == EXPECTED["answers"]


def test_other_files_are_refused(served: str) -> None:
    with pytest.raises(SalientError, match="not the official answers; expected 25000 answers; got 24975"):
        fetch_official(f"{served}/part.csv")
    with pytest.raises(SalientError, match="cannot be downloaded; got ValueError: .*hash"):
        fetch_official(f"{served}/whole.csv", sha256="0" * 64)
    with pytest.raises(SalientError, match="cannot be downloaded; got HTTPError: 404 .*give the file as --annotations"):
        fetch_official(f"{served}/none.csv")
    with pytest.raises(SalientError, match="cannot be downloaded; got ConnectionError"):
        fetch_official("http://127.0.0.1:1/x.csv")


def test_the_commit_is_pinned() -> None:
    assert official_answers.COMMIT in official_answers.URL and len(official_answers.COMMIT) == 40
