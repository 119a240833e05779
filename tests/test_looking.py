"""Rows as pictures: what stands where, whatever the row comes from, and the command that writes a sheet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from salient_imagenet_data import SalientError, Store, load_dataset, show
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.joining import join
from salient_imagenet_data.loaders.torch_dataset import SalientImageNet
from salient_imagenet_data.looking import choose, sheet
from salient_imagenet_data.pictures.tiles import GAP, LINE
from tests.conftest import Run


def panels(picture: Image.Image) -> list[np.ndarray]:
    pixels, side = np.asarray(picture).astype(int), (picture.width - 2 * GAP) // 3
    return [pixels[2 * LINE : 2 * LINE + side, c * (side + GAP) : c * (side + GAP) + side] for c in range(3)]


def test_a_row_of_the_table_and_a_sample_give_the_same_picture(store: Store, images: Path, tmp_path: Path) -> None:
    table = load_dataset(store.path, images=images, cache_dir=str(tmp_path))
    samples = SalientImageNet(store, images)
    for i in (0, 17, 39):
        mine = show(table[i], table.features["label"])
        theirs = show(samples[i], store.class_names)
        assert mine.size == theirs.size
        # A table's masks are in steps of 1 / 255, a sample's are not: an outline may lie a pixel further.
        assert (np.abs(np.asarray(mine).astype(int) - np.asarray(theirs).astype(int)).max(axis=2) > 3).mean() < 0.01


def test_core_is_the_blue_panel_and_spurious_the_orange_one(store: Store, images: Path) -> None:
    pixels = np.full((40, 40, 3), 130, dtype=np.uint8)
    left, right = np.zeros((40, 40), dtype=np.float32), np.zeros((40, 40), dtype=np.float32)
    left[:, :20], right[:, 20:] = 1.0, 1.0
    photo, core, spurious = panels(show({"image": pixels, "core_mask": left, "spurious_mask": right}))
    assert np.abs(photo - 130).max() <= 1
    middle = len(core) // 2
    assert core[middle, 30].argmax() == 2 and np.ptp(core[middle, -30]) == 0
    assert spurious[middle, -30].argmax() == 0 and np.ptp(spurious[middle, 30]) == 0


def test_rows_without_an_image_or_without_masks(store: Store, tmp_path: Path) -> None:
    table = load_dataset(store.path, cache_dir=str(tmp_path))
    photo, core, _ = panels(show(table[0]))
    assert (photo == 255).all(axis=-1).mean() > 0.5  # "no photograph", hatched: nobody takes a gray square for one
    assert np.ptp(core[np.ptp(core, axis=-1) > 40], axis=-1).size  # the mask is drawn all the same
    with pytest.raises(
        SalientError, match="this row has no masks; expected keys core_mask and spurious_mask; got label"
    ):
        show({"label": 3})
    with pytest.raises(SalientError, match=r"image; expected \(H, W, 3\) or \(3, H, W\); got \(4, 4\)"):
        show({"image": np.zeros((4, 4)), "core_mask": None, "spurious_mask": None})


def test_items_are_those_that_show_the_features_most(store: Store, images: Path) -> None:
    joined = join(store, FolderSource(images))
    labels, top = store.rows.labels, store.rows.in_top.sum(axis=1)
    for name in store.class_names[:3]:
        (first, second) = choose(joined, [name], 2)
        mine = np.flatnonzero(labels == store.class_names.index(name))
        assert top[first] == top[mine].max() and top[second] == np.sort(top[mine])[-2] and first != second
    assert [int(labels[i]) for i in choose(joined, (), 1)] == list(range(10))
    with pytest.raises(SalientError, match=r"no class 'whale' in the store; expected one of bar"):
        choose(joined, ["whale"])


def test_a_sheet_holds_the_photographs_in_order(store: Store, images: Path) -> None:
    joined = join(store, FolderSource(images))
    picture = sheet(joined, [5, 6], panel=64)
    assert picture.size == (3 * 64 + 2 * GAP, 2 * (64 + 2 * LINE) + GAP)
    for line, item in enumerate((5, 6)):
        top = line * (64 + 2 * LINE + GAP) + 2 * LINE
        want = np.asarray(Image.fromarray(joined.crop(item)).resize((64, 64), Image.Resampling.BICUBIC))
        assert np.array_equal(np.asarray(picture)[top : top + 64, :64], want)


def test_the_command_writes_a_sheet_and_replaces_none(store: Store, images: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "look.png"
    status, said, _ = run("look", store.path, "--images", images, "--class", "bowtie", "-n", "3", "--out", out)
    assert status == 0 and said == f"wrote {out}: 3 photographs of 1 of 10 classes\n"
    with Image.open(out) as picture:
        one = picture.size
    status, _, wrong = run("look", store.path, "--images", images, "--out", out)
    assert (
        status == 2 and wrong == f"Error: {out}: exists; expected a new file; choose another --out or use --overwrite\n"
    )
    assert run("look", store.path, "--images", images, "-n", "1", "--out", out, "--overwrite")[0] == 0
    with Image.open(out) as picture:
        assert picture.height > 2 * one[1]
