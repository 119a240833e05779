"""Rows as pictures: what stands where, whatever the row comes from, and the command that writes a sheet."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from salient_imagenet_data import SalientError, Store, load_dataset, show
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.joining import join
from salient_imagenet_data.loaders.torch_dataset import SalientImageNet
from salient_imagenet_data.looking import _spread, choose, choose_ends, sheet, spuriosity_of
from salient_imagenet_data.pictures.overlay import strip
from salient_imagenet_data.pictures.tiles import GAP, LINE, stack
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
    five = ", ".join(store.class_names[:5])
    with pytest.raises(SalientError, match=rf"no class 'whale' in the store; expected one of {five}, \.\.\.$"):
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
    status, said, err = run("look", store.path, "--images", images, "--class", "bowtie", "-n", "3", "--out", out)
    assert (status, said, err) == (0, f"wrote {out}: 3 photographs of 1 of 10 classes\n", "")
    with Image.open(out) as picture:
        one = picture.size
    status, _, wrong = run("look", store.path, "--images", images, "--out", out)
    assert (
        status == 2 and wrong == f"Error: {out}: exists; expected a new file; choose another --out or use --overwrite\n"
    )
    lacking = Path(shutil.copytree(images, tmp_path / "lacking"))
    for row in (0, 1):
        (lost,) = lacking.glob(f"{store.rows[row].image_id}.*")
        lost.unlink()
    status, _, err = run("look", store.path, "--images", lacking, "-n", "1", "--out", out, "--overwrite")
    assert (status, err) == (0, "2 of 40 images are not there and are left out\n")
    with Image.open(out) as picture:
        assert picture.height > 2 * one[1]


LEFT = np.zeros((8, 8), dtype=np.float32)
LEFT[:, :4] = 0.6
PHOTO = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
PHOTO[0, 0], PHOTO[5, 5] = 255, 0


def same(row: dict[str, Any], title: str, names: Any = None, **masks: np.ndarray | None) -> bool:
    """Whether a row is shown as its photograph under a title, with these masks."""
    want = strip(PHOTO, {"core": masks.get("core"), "spurious": masks.get("spurious")}, title)
    return np.array_equal(np.asarray(show(row, names=names)), np.asarray(want))


def test_masks_are_read_in_every_form_that_rows_have() -> None:
    steps = np.rint(LEFT * 255).astype(np.uint8)
    plain = {"image": PHOTO, "spurious_mask": None}
    assert same({**plain, "core_mask": LEFT}, "", core=LEFT)
    assert same({**plain, "core_mask": LEFT[None]}, "", core=LEFT)
    assert same({**plain, "core_mask": steps}, "", core=(steps / np.float32(255)).astype(np.float32))
    assert same({**plain, "core_mask": LEFT, "has_core": False}, "")
    assert same({**plain, "core_mask": LEFT, "has_core": True, "has_spurious": False}, "", core=LEFT)
    assert same({"image": PHOTO, "core_mask": None, "spurious_mask": LEFT}, "", spurious=LEFT)


def test_pictures_are_read_in_every_form_that_rows_have() -> None:
    masks = {"core_mask": LEFT, "spurious_mask": None}
    floats = PHOTO.astype(np.float32) / 255
    for image in (PHOTO, Image.fromarray(PHOTO), np.moveaxis(PHOTO, -1, 0), floats, np.moveaxis(floats, -1, 0)):
        assert same({"image": image, **masks}, "", core=LEFT)
    odd = floats.copy()
    odd[PHOTO == 255], odd[PHOTO == 0] = 1.7, -0.4
    assert same({"image": odd + 0.4 / 255 * ((PHOTO > 0) & (PHOTO < 255)), **masks}, "", core=LEFT)
    gray = Image.fromarray(PHOTO[..., 0])
    assert np.array_equal(
        np.asarray(show({"image": gray, **masks})), np.asarray(show({"image": gray.convert("RGB"), **masks}))
    )
    for shape in ((8, 8), (8, 3), (8, 8, 4), (1, 3, 8, 8)):
        with pytest.raises(SalientError, match=r"expected \(H, W, 3\) or \(3, H, W\)"):
            show({"image": np.zeros(shape), **masks})


def test_a_title_is_the_class_and_the_image_s_id() -> None:
    masks = {"image": PHOTO, "core_mask": LEFT, "spurious_mask": None}

    class Label:
        names = ("n01440764", "pipe")

    assert same({**masks, "label": 1}, "class 1", core=LEFT)
    assert same({**masks, "label": np.int64(1), "image_id": "a/b.png"}, "pipe   a/b.png", ["bar", "pipe"], core=LEFT)
    assert same({**masks, "label": 0}, "tench", Label(), core=LEFT)  # ImageNet's numbers as words
    assert same({**masks, "label": 0, "image_id": ""}, "bar", ["bar", "pipe"], core=LEFT)
    assert same({**masks, "image_id": "a/b.png"}, "a/b.png", ["bar"], core=LEFT)


def test_a_sheet_is_of_the_joined_rows_with_their_own_masks(store: Store, images: Path) -> None:
    joined = join(store, FolderSource(images), rows=[7, 21, 30])
    strips = []
    for item, row in ((2, 30), (1, 21)):
        masks = {kind: store.mask(row, kind) for kind in ("core", "spurious")}
        title = f"{store.class_names[store.rows.labels[row]]}   {store.rows[row].image_id}"
        strips.append(strip(joined.crop(item), masks, title))
    assert np.array_equal(np.asarray(sheet(joined, items=[2, 1])), np.asarray(stack(strips)))


def test_items_of_a_part_of_the_store_are_chosen_among_its_rows(store: Store, images: Path) -> None:
    joined = join(store, FolderSource(images), rows=list(range(len(store)))[::-1])
    labels, top = store.rows.labels[joined.rows], store.rows.in_top[joined.rows].sum(axis=1)
    for k, name in enumerate(store.class_names):
        mine = np.flatnonzero(labels == k)
        want = sorted(mine, key=lambda item: -top[item])
        assert choose(joined, [name]) == want[:2] and choose(joined, [name], 4) == want
    assert len(choose(joined)) == 20 and [int(labels[i]) for i in choose(joined)[::2]] == list(range(10))
    few = join(store, FolderSource(images), rows=[int(r) for r in np.flatnonzero(store.rows.labels == 2)])
    assert choose(few, [store.class_names[2]], 1) and len(choose(few)) == 2
    with pytest.raises(
        SalientError, match=f"class '{store.class_names[3]}': no image of it here; expected at least one"
    ):
        choose(few, [store.class_names[3]])


def test_the_ends_of_a_ranking_are_the_most_spurious_first_and_the_least_spurious_last(
    store: Store, images: Path
) -> None:
    """Against z-scores by a plain loop, of a part of the store's rows: the ranking is that of the whole class."""
    joined = join(store, FolderSource(images), rows=[r for r in range(len(store)) if r % 10 != 7][::-1])
    scores = spuriosity_of(store)
    labels = store.rows.labels[joined.rows]
    for label, name in enumerate(store.class_names):
        slots = [f.slot for f in store.features if f.class_index == label and f.kind == "spurious"]
        mine = [item for item in range(len(joined)) if labels[item] == label]
        if not slots:
            with pytest.raises(SalientError, match=f"class '{name}' has no spurious feature, so no ranking"):
                choose_ends(joined, scores, ["most"], [name])
            continue
        values = store.activations[store.rows.labels == label][:, slots].astype(np.float64)
        z = ((store.activations[:, slots] - values.mean(0)) / values.std(0)).mean(1)
        want = sorted(mine, key=lambda item: -z[joined.rows[item]])
        assert np.allclose(scores[store.rows.labels == label], z[store.rows.labels == label])
        if not mine:
            continue
        assert choose_ends(joined, scores, ["most"], [name], 2) == want[:2]
        assert choose_ends(joined, scores, ["least"], [name], 3) == want[-3:]
        k = len(mine) // 2
        assert choose_ends(joined, scores, ["most", "least"], [name], 9) == want[:k] + want[len(want) - k :]
    every = choose_ends(joined, scores, ["most"], (), 1)
    assert {int(labels[i]) for i in every} == {int(x) for x in labels if store.has("spurious")[x]}
    with pytest.raises(SalientError, match="no image has a spuriosity; expected a class with a spurious feature"):
        choose_ends(joined, np.full(len(store), np.nan), ["most"])


def test_the_command_shows_both_ends_with_their_spuriosity(
    store: Store, bare_store: Store, images: Path, tmp_path: Path, run: Run
) -> None:
    name, out = store.class_names[3], tmp_path / "ends.png"
    where = ("look", store.path, "--images", images, "--class", name, "-n", 1)
    code, said, err = run(*where, "--most-spurious", "--least-spurious", "--out", out)
    assert code == 0 and said.startswith(f"wrote {out}: 2 photographs of 1 of 10 classes"), err
    joined, scores = join(store, FolderSource(images)), spuriosity_of(store)
    rows = sorted(np.flatnonzero(store.rows.labels == 3), key=lambda r: -scores[r])
    strips = []
    for row in (rows[0], rows[-1]):
        title = f"{name}   spuriosity {scores[row]:+.2f}   {store.rows[int(row)].image_id}"
        masks = {kind: store.mask(int(row), kind) for kind in ("core", "spurious")}
        strips.append(strip(joined.crop(int(row)), masks, title))
    with Image.open(out) as picture:
        assert np.array_equal(np.asarray(picture), np.asarray(stack(strips)))
    code, _, err = run("look", bare_store.path, "--images", images, "--most-spurious", "--out", tmp_path / "no.png")
    assert code == 2 and "not annotated" in err


def test_of_many_classes_ten_are_spread_evenly() -> None:
    assert _spread(range(1, 1001), 10) == [1, 112, 223, 334, 445, 556, 667, 778, 889, 1000]
    assert _spread([4, 7, 9], 10) == [4, 7, 9] and _spread([5], 10) == [5] and _spread(range(12), 3) == [0, 6, 11]
