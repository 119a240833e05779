"""What is missing or no longer decodes is an error, or is left out and told."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from salient_imagenet_data.errors import ImageError, SalientError
from salient_imagenet_data.evaluation.run.found import images_found, images_to_swap_in
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run

SKIP = Settings(missing="skip")


def harmed(store: Store, images: Path, folder: Path) -> Path:
    """A copy without the image of row 3, and with that of row 5 cut short."""
    copy = Path(shutil.copytree(images, folder / "images"))
    (copy / f"{store.rows[3].image_id}.png").unlink()
    short = copy / f"{store.rows[5].image_id}.png"
    short.write_bytes(short.read_bytes()[:200])
    return copy


def test_both_are_left_out_and_told(store: Store, images: Path, tmp_path: Path) -> None:
    copy, told = harmed(store, images, tmp_path), list[str]()
    found = images_found(store, copy, SKIP, np.arange(40), told.append)
    assert found.rows.tolist() == [row for row in range(40) if row not in (3, 5)]
    gone, broken = (store.rows[row].image_id for row in (3, 5))
    assert found.missing == (gone, broken)
    assert told == [
        f"1 images are missing and left out, such as {gone}",
        f"1 images cannot be decoded and are left out, such as {broken}",
    ]
    with pytest.raises(SalientError, match="1 of 40 images of .* are missing"):
        images_found(store, copy, Settings(), np.arange(40), told.append)
    assert len(told) == 2
    with pytest.raises(ImageError, match="cannot decode"):
        images_found(store, copy, SKIP, np.array([5]), told.append)


def test_the_command_calls_it_by_its_own_name(
    store: Store, images: Path, weights: Path, tmp_path: Path, run: Run
) -> None:
    copy = harmed(store, images, tmp_path)
    words = ("evaluate", store.path, "--images", copy, "--weights", weights, "--no-controls", "--json")
    code, _, err = run(*words)
    assert code == 2 and err.strip().endswith("or --skip-missing") and 'missing="skip"' not in err
    code, _, err = run(*words, "--skip-missing")
    assert code == 0 and "1 images are missing and left out" in err and "1 images cannot be decoded" in err


def test_what_no_longer_decodes_is_not_swapped_in(store: Store, images: Path, tmp_path: Path, run: Run) -> None:
    """Of a fold, others are swapped in from the whole store: the broken one lies in the other half."""
    copy, told = harmed(store, images, tmp_path), list[str]()
    broken = store.rows[5].image_id
    joined = images_found(store, copy, SKIP, np.arange(20, 40), told.append)
    pool = images_to_swap_in(joined, SKIP, told.append)
    assert pool.rows.tolist() == [row for row in range(len(store)) if row not in (3, 5)]
    assert told == [f"1 more images cannot be decoded and are not swapped in, such as {broken}"]
    images_to_swap_in(images_found(store, copy, SKIP, np.arange(len(store)), told.append), SKIP, told.append)
    assert told[1].startswith("1 images are missing") and told[2].startswith("1 images cannot") and len(told) == 3
    assert 5 in images_to_swap_in(joined, Settings(), told.append).rows


def test_the_report_shows_other_images_than_those_that_no_longer_decode(
    store: Store, images: Path, weights: Path, tmp_path: Path, run: Run
) -> None:
    """Every image of the class that loses most but one: its examples are that one, and the page is written."""
    copy = Path(shutil.copytree(images, tmp_path / "images"))
    files = sorted(copy.rglob("*.png"))
    whole = {file.parent: file for file in files}
    for file in files:
        if whole[file.parent] != file:
            file.write_bytes(file.read_bytes()[:200])
    words = ("evaluate", store.path, "--images", copy, "--weights", weights, "--no-controls", "--sigma", "0.5")
    code, _, err = run(*words, "--skip-missing", "--out", tmp_path / "out")
    assert code == 0, err
    assert (tmp_path / "out" / "index.html").is_file() and "cannot be decoded and are left out" in err


def test_a_command_swaps_in_what_decodes(store: Store, images: Path, weights: Path, tmp_path: Path, run: Run) -> None:
    copy = harmed(store, images, tmp_path)
    words = (
        "evaluate",
        store.path,
        "--images",
        copy,
        "--weights",
        weights,
        "--corruption",
        "swap",
        "--sigma",
        "0.5",
        "--no-controls",
    )
    for fold in ("1/2", "2/2"):
        code, _, err = run(*words, "--skip-missing", "--fold", fold)
        assert code == 0, err
        assert ("not swapped in" in err) != ("cannot be decoded and are left out" in err)
