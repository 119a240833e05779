"""What commands say of the images that they are given."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from salient_imagenet_data.cli import cli
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run


@pytest.fixture
def littered(images: Path, tmp_path: Path) -> Path:
    """The images with three files that are passed over."""
    folder = tmp_path / "images"
    shutil.copytree(images, folder)
    (folder / "bar" / "notes.txt").write_text("no picture")
    (folder / "bar" / "._0.png").write_bytes(b"\0\5")
    os.mkfifo(folder / "bar" / "pipe.jpg")
    return folder


def call(*arguments: object) -> Any:
    result = CliRunner().invoke(cli, [str(a) for a in arguments])
    assert result.exception is None, result.output
    return result


LINE = "passed over 3 files: "


@pytest.mark.parametrize(
    "command",
    [
        lambda store, images, out: ["look", store, "--images", images, "--out", out / "look.png"],
        lambda store, images, out: ["sheets", store, "--images", images, "--out", out / "sheets"],
        lambda store, images, out: ["export", store, "--images", images, "--redistribute", "--out", out / "hub"],
    ],
    ids=["look", "sheets", "export"],
)
def test_commands_tell_what_they_pass_over(
    command: Callable[..., list[object]], store: Store, littered: Path, tmp_path: Path
) -> None:
    said = call(*command(store.path, littered, tmp_path)).stderr
    assert LINE in said and "1 (name ends in .txt: bar/notes.txt)" in said and "--verbose lists them" in said
    shutil.rmtree(tmp_path / "hub", ignore_errors=True)
    shutil.rmtree(tmp_path / "sheets", ignore_errors=True)
    (tmp_path / "look.png").unlink(missing_ok=True)
    said = call(*command(store.path, littered, tmp_path), "--verbose").stderr
    assert "  no file but a pipe, socket or device   bar/pipe.jpg\n" in said and "--verbose" not in said


def test_how_images_are_read_is_refused_without_images(store: Store, run: Run) -> None:
    for option in (("--layout", "classes"), ("--verbose",)):
        code, out, err = run("explore", store.path, *option)
        assert (code, out) == (2, "") and f"{option[0]} is about --images: give it too" in err


def test_test_images_beside_scenes_are_read_as_any(littered: Path, tmp_path: Path) -> None:
    said = call("train", "--scenes", 10, "--test-images", littered, "--out", tmp_path / "w.safetensors", *TRAIN).stderr
    assert LINE in said and "--verbose lists them" in said and "pipe.jpg\n" not in said


def test_build_keeps_what_it_passes_over_in_the_quarantine(littered: Path, weights: Path, tmp_path: Path) -> None:
    result = call("build", "--images", littered, "--weights", weights, "--out", tmp_path / "store", "--threads", 1)
    assert LINE in result.stderr and "0 images in quarantine" in result.output
    rows = pq.read_table(tmp_path / "store" / "quarantine.parquet").to_pylist()
    assert {(row["image_id"], row["label"]) for row in rows} == {
        ("bar/notes.txt", None),
        ("bar/._0.png", None),
        ("bar/pipe.jpg", None),
    }
    assert "passed over: no file but a pipe, socket or device" in {row["reason"] for row in rows}
    assert Store(tmp_path / "store").manifest.quarantined == 0


def squares(folder: Path, classes: tuple[str, ...], count: int = 4) -> None:
    for k, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.random.default_rng((k, i)).integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")


TRAIN = (*("--epochs", 1, "--epsilon", 0, "--widths", "4,4,4", "--blocks", 1, "--batch-size", 4, "--crop", 16),)


def test_a_missing_image_is_told_with_the_option_of_the_command_only_where_it_has_one(
    store: Store, images: Path, tmp_path: Path, run: Run
) -> None:
    few = Path(shutil.copytree(images, tmp_path / "few"))
    next((few / "bar").iterdir()).unlink()
    for words, end in (
        (
            ("sheets", store.path, "--images", few, "--out", tmp_path / "s"),
            "; give the folder the store was built from\n",
        ),
        (("evaluate", store.path, "--images", few, "--weights", "x"), "was built from, or --skip-missing\n"),
    ):
        code, _, err = run(*words)
        assert code == 2 and err.startswith("Error: 1 of ") and err.endswith(end) and "missing=" not in err


def test_nothing_is_written_where_it_could_be_taken_for_an_image(
    store: Store, littered: Path, tmp_path: Path, run: Run
) -> None:
    """A folder of sheets among the class folders would be one more class, and pictures in one more of its images."""
    before = sorted(littered.rglob("*"))
    where, inner = ("--images", littered), littered / "bar" / "look.png"
    (tmp_path / "link").symlink_to(littered)
    for place, words in (
        (littered / "sheets", ("sheets", store.path, *where, "--out", littered / "sheets")),
        (tmp_path / "link" / "a" / "b", ("build", *where, "--weights", "none", "--out", tmp_path / "link" / "a" / "b")),
        (inner.parent, ("look", store.path, *where, "--out", inner)),
    ):
        code, out, err = run(*words)
        assert (code, out) == (2, "") and err == (
            f"Error: {place}: among the images, where what is written could be taken for theirs; expected a place outside "
            f"{littered}; choose another --out\n"
        )
    assert sorted(littered.rglob("*")) == before
    code, out, _ = run("look", store.path, *where, "--class", "bar", "-n", 1, "--out", littered / "look.png")
    assert code == 0  # beside the class folders a picture is passed over
    link = ("--images", tmp_path / "link", "--class", "bar", "-n", 1, "--out", tmp_path / "beside.png")
    assert "picture outside the class folders" in run("look", store.path, *link)[2]


def test_a_store_whose_folder_is_called_in_other_bytes_is_not_called_damaged(
    store: Store, images: Path, tmp_path: Path, run: Run
) -> None:
    place = os.fsdecode(os.fsencode(tmp_path) + b"/st\xf6re")
    shutil.copytree(store.path, place)
    code, _, err = run("look", place, "--images", images, "--out", tmp_path / "a.png")
    said = (
        f"Error: {tmp_path}/st\\udcf6re/images.parquet: a name that is no UTF-8, which some libraries refuse; rename it"
    )
    assert code == 2 and err == said + "\n"


def test_train_takes_the_split_of_a_folder_of_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        squares(tmp_path / "data" / split, ("cat", "dog"))
    out = tmp_path / "w.safetensors"
    call("train", "--images", tmp_path / "data", "--test-images", tmp_path / "data", "--out", out, *TRAIN)
    assert load_model(str(out))[0].class_names == ("cat", "dog")


def test_a_locale_without_utf8_and_a_name_of_other_bytes_are_read(tmp_path: Path) -> None:
    squares(tmp_path / "data", ("caf\u00e9", "chat"))
    squares_of_other_bytes = os.fsencode(tmp_path / "data" / "chat") + b"/\xe9.png"
    shutil.copy(tmp_path / "data" / "chat" / "0.png", squares_of_other_bytes)
    out = tmp_path / "w.safetensors"
    call("train", "--images", tmp_path / "data", "--out", out, *TRAIN)
    command = [sys.executable, "-m", "salient_imagenet_data.cli", "build", "--images", tmp_path / "data", "--weights"]
    plain = {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [*command, out, "--out", tmp_path / "store", "--group-by", "label", "--threads", "1"],
        env=os.environ | plain,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    store = Store(tmp_path / "store")
    assert store.class_names == ("caf\u00e9", "chat")
    assert {"chat/\\xe9", "caf\u00e9/0"} <= set(store.rows.image_ids.to_pylist())
