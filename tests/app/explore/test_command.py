"""`salient-imagenet explore` as a process of its own: every option changes what a page shows."""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from salient_imagenet_data.store.reading import Store
from tests.app.conftest import Launched
from tests.app.explore.test_predicted import write
from tests.conftest import Run
from tests.evaluation.relevance.test_table import LOW, relevance_of

Start = Callable[..., Launched]


@pytest.fixture
def start(store: Store, launch: Start) -> Start:
    """Start the command on a port of the system's choice."""

    def run(*options: object, many: int = 100_000) -> Launched:
        code = f"from salient_imagenet_data.cli import app, main; app.explore.MANY = {many}; main()"
        return launch("-c", code, "explore", store.path, "--port", 0, "--no-browser", *options)

    return run


def test_the_options_change_what_is_shown(start: Start, store: Store, images: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(store.path, tmp_path / "other"))
    labels = store.rows.labels.tolist()
    predictions = write(tmp_path / "net.parquet", store, labels, {4: (labels[4] + 1) % 10})
    record = store.rows[5]
    box = record.box
    (tmp_path / "boxes.csv").write_text(
        f"image,left,top,right,bottom\n{record.image_id},{box.left},{box.top},{box.left + 20},{box.top + 20}\n"
    )
    client, process, _ = start()
    page = client.get("/image/5").text
    assert "maps without photographs" in page
    for absent in ("photo-0-256", "<rect", "What models say", "IoU with the other"):
        assert absent not in page
    process.send_signal(signal.SIGINT)
    process.ended()
    assert process.returncode == 0
    given = ("--images", images, "--other", other, "--predictions", predictions, "--boxes", tmp_path / "boxes.csv")
    folder = relevance_of(store, tmp_path / "relevance")
    client, process, told = start(*given, "--relevance", folder)
    assert f"{folder}: relevance of 3 of 40 features, 1 with low agreement\n" in told
    first = store.features[0]
    assert LOW in client.get(f"/feature/{first.class_index}/{first.feature_index}").text
    page = client.get("/image/5").text
    for there in ("photo-0-256", "<rect", "What models say", "IoU with the other"):
        assert there in page
    assert "then: " in client.get("/flips/0/0").text


def test_images_that_are_missing_are_counted(start: Start, store: Store, images: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(images, tmp_path / "images"))
    (path,) = folder.glob(f"{store.rows[6].image_id}.*")
    path.unlink()
    client, process, told = start("--images", folder)
    assert "1 of 40 images are not there; their maps are shown alone" in told
    assert "1 of them without their photograph" in client.get("/image/6").text
    process.kill()
    client, _, told = start("--images", folder, many=39)  # looked for behind the first page
    assert "not there" not in told and "photo-0-256" not in client.get("/image/5").text
    while "being looked for" in (page := client.get("/image/5").text):
        time.sleep(0.05)
    assert "photo-0-256" in page and "1 of them without their photograph" in page


def test_a_site_is_written(run: Run, store: Store, images: Path, tmp_path: Path) -> None:
    code, out, err = run("explore", store.path, "--images", images, "--static", tmp_path / "site")
    assert code == 0 and re.fullmatch(r"wrote .*site: 1[0-9]{2} pages, \d+ pictures, \d+\.\d MB\n", out), out
    assert "photographs are among the pictures: share them only where you may" in err
    assert json.loads((tmp_path / "site" / "site.json").read_text())["photographs"] is True
    assert not (tmp_path / "site" / "README.md").exists() and list((tmp_path / "site").glob("pictures/*/*photo*"))
    given = ("explore", store.path, "--images", images, "--no-photographs", "--space", tmp_path / "space")
    code, out, err = run(*given)
    assert code == 0 and err == "" and (tmp_path / "space" / "README.md").exists()
    assert not list((tmp_path / "space").glob("pictures/*/*photo*"))
    code, out, err = run(*given)
    assert (code, out) == (2, "") and "use --overwrite" in err and err.count("\n") == 1


def test_what_cannot_be_done_is_told_in_one_line_before_anything_starts(
    run: Run, store: Store, images: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.parquet").write_text("no")
    (tmp_path / "text.csv").write_text("a,b\n1,2\n")
    for options, told in (
        (("--host", "0.0.0.0"), "expected --token with at least 12 characters"),
        (("--predictions", tmp_path / "text.parquet"), "not a predictions file"),
        (("--boxes", tmp_path / "text.csv"), "columns of no known layout"),
        (("--other", tmp_path / "nowhere"), "nowhere"),
        (("--relevance", tmp_path), "relevance.json: not what `relevance --out` writes"),
        (("--images", tmp_path / "nowhere"), "no such folder"),
    ):
        code, out, err = run("explore", store.path, "--port", 0, "--no-browser", *options)
        assert (code, out) == (2, "") and told in err and err.count("\n") == 1, err


def test_options_that_do_not_go_together_are_refused(run: Run, store: Store, images: Path, tmp_path: Path) -> None:
    site, pictures = tmp_path / "site", ("--images", images)
    for options, told in (
        (("--static", site, "--port", 8765), "--port does not go with --static or --space"),
        (("--space", site, "--token", "0123456789ab"), "--token does not go with"),
        (("--static", site, "--host", "127.0.0.1"), "--host does not go with"),
        (("--static", site, "--no-browser"), "--no-browser does not go with"),
        (("--overwrite",), "--overwrite needs --static or --space"),
        ((*pictures, "--no-photographs"), "--no-photographs needs --static or --space"),
        (("--static", site, "--no-photographs"), "--no-photographs needs --images"),
        (("--static", site, "--space", tmp_path / "x" / ".." / "site"), "--static and --space name one place"),
        (("--static", Path(store.path) / "site"), "store and export would lie in one another"),
        ((*pictures, "--static", images / "site"), "images and site would lie in one another"),
    ):
        code, out, err = run("explore", store.path, *options)
        assert (code, out) == (2, "") and told in err and err.count("\n") == 1, err
    assert not list(tmp_path.iterdir())


def test_features_that_a_site_does_not_list_are_told(
    run: Run, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("salient_imagenet_data.app.explore.writing.MOST_FEATURES", 37)
    code, _, err = run("explore", store.path, "--static", tmp_path / "site")
    assert code == 0 and "site: 3 features are not on the page of all features" in err
    page = (tmp_path / "site" / "features.html").read_text()
    assert page.count("data-words=") == 37 and "Listed here: the first 37;" in page and 'href=""' not in page
