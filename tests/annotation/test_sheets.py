"""What an annotator sees: which photographs, where the colour lies, and the rows to fill in."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from salient_imagenet_data.annotation.sheets import HEAD, QUESTION, seen, top_rows, write_sheets
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import to_crop_frame
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.joining import Joined, join
from salient_imagenet_data.masks import dequantise
from salient_imagenet_data.pictures.overlay import NEUTRAL, tint
from salient_imagenet_data.pictures.tiles import GAP, LINE
from salient_imagenet_data.store.reading import Store

SIDE = 96


@pytest.fixture(scope="module")
def sheets(bare_store: Store, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sheets")
    write_sheets(bare_store, FolderSource(images), folder, images=3, pixels=SIDE)
    return folder


def tile(sheet: Path, rank: int, band: int, column: int) -> np.ndarray:
    """A tile of a sheet. band: 0 photographs, 1 maps."""
    top = HEAD + (rank - 1) * (LINE + 2 * (SIDE + GAP)) + LINE + band * (SIDE + GAP)
    left = column * (SIDE + GAP)
    with Image.open(sheet) as picture:
        return np.asarray(picture)[top : top + SIDE, left : left + SIDE].astype(int)


def test_photographs_are_those_that_show_the_feature_most(bare_store: Store, images: Path, sheets: Path) -> None:
    joined = join(bare_store, FolderSource(images))
    for rank in (1, 3):
        mine = np.flatnonzero(bare_store.rows.labels == 2)
        by_hand = sorted(mine, key=lambda row: -bare_store.activations[row, rank - 1])[:3]
        assert top_rows(bare_store, 2, rank - 1, 3).tolist() == by_hand
        (sheet,) = sheets.glob("0002-*.png")
        for column, row in enumerate(by_hand):
            assert np.array_equal(tile(sheet, rank, 0, column), seen(joined, int(row), SIDE))


def test_colour_is_where_the_map_is(bare_store: Store, sheets: Path) -> None:
    (sheet,) = sheets.glob("0002-*.png")
    row = int(top_rows(bare_store, 2, 0, 1)[0])
    soft = to_crop_frame(dequantise(bare_store.maps[row, 0]), SIDE, SIDE)
    over = tile(sheet, 1, 1, 0)
    purple = over[..., 0] - over[..., 1]  # red over green
    high, low = soft > 0.8, soft < 0.05
    assert high.any() and low.any()
    assert purple[high].mean() > 60 and np.abs(purple[low]).mean() < 12


def test_photographs_are_cut_from_the_original_where_the_network_saw_them(store: Store, images: Path) -> None:
    joined = join(store, FolderSource(images))
    mine = seen(joined, 4, 60).astype(int)  # of 60 pixels in the store's resize, 56 are the crop
    theirs = np.asarray(Image.fromarray(joined.crop(4)).resize((60, 60), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(mine - theirs).mean() < 6
    shifted = np.roll(mine, 4, axis=1)
    assert np.abs(shifted - theirs).mean() > 1.5 * np.abs(mine - theirs).mean()


def test_answers_to_fill_in_name_each_pair_once_with_its_own_rank(bare_store: Store, sheets: Path) -> None:
    with (sheets / "answers.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    pairs = [(int(r["class_index"]), int(r["feature_index"]), int(r["feature_rank"]), r["class_name"]) for r in rows]
    by_rank = {}
    for class_index, feature_index, rank, name in pairs:
        assert name == bare_store.class_names[class_index]
        by_rank[class_index, rank] = feature_index
    assert len(by_rank) == len(pairs) == 40
    importance = {}
    for row in bare_store.features:
        importance[row.class_index, row.feature_index] = row.importance
    for class_index in range(10):
        ranked = [importance[class_index, by_rank[class_index, rank]] for rank in (1, 2, 3, 4)]
        assert ranked == sorted(ranked, reverse=True)
    assert all(r["answer"] == r["annotator"] == "" for r in rows)


def by_hand(joined: Joined, class_index: int, words: list[str], bands: int, side: int, count: int) -> Image.Image:
    """A sheet without its last band where there are three: two lines of words, then for each feature a line, photographs
    and maps; 8 pixels between tiles, 20 a line of words, 48 above the first."""
    store, across = joined.store, count * (side + 8) - 8
    features = [f for f in store.features if f.class_index == class_index]
    height = 20 + bands * (side + 8)
    sheet = Image.new("RGB", (across, 48 + len(features) * height), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((4, 4), store.class_names[class_index], fill="black", font=ImageFont.load_default(14))
    draw.text((4, 24), QUESTION, fill="black", font=ImageFont.load_default(12))
    for line, (feature, said) in enumerate(zip(features, words, strict=True)):
        top = 48 + line * height
        draw.text((4, top + 2), said, fill="black", font=ImageFont.load_default(14))
        for column, row in enumerate(top_rows(store, class_index, feature.rank - 1, count)):
            photo = seen(joined, int(row), side)
            soft = to_crop_frame(dequantise(store.maps[row, feature.rank - 1]), side, side)
            for band, tile in enumerate((photo, tint(photo, soft, NEUTRAL))):
                sheet.paste(Image.fromarray(tile), (column * (side + 8), top + 20 + band * (side + 8)))
    return sheet


def opened(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_everything_on_a_sheet_is_in_its_place(store: Store, images: Path, tmp_path: Path) -> None:
    """Of a store with answers, as they are drawn without further wishes: of a class all four images, of 224 pixels."""
    written = write_sheets(store, FolderSource(images), tmp_path)
    assert [path.name[:5] for path in written] == [f"{k:04d}-" for k in range(10)]
    assert written[2].name == f"0002-{store.class_names[2]}.png"
    features = [f for f in store.features if f.class_index == 2]
    words = [f"rank {f.rank}, feature {f.feature_index}: {f.kind}" for f in features]
    want = by_hand(join(store, FolderSource(images)), 2, words, 2, 224, 5)
    assert np.array_equal(opened(written[2]), np.asarray(want)) and want.size == (1152, 48 + 4 * 484)


def test_an_attack_is_a_third_row_of_each_feature_s_own_photographs(
    bare_store: Store, images: Path, tmp_path: Path
) -> None:
    calls: list[list[int]] = []

    def attack(crops: list[np.ndarray], features: list[int]) -> list[np.ndarray]:
        calls.append(features)
        return [255 - crop for crop in crops]

    joined = join(bare_store, FolderSource(images))
    written = write_sheets(bare_store, FolderSource(images), tmp_path, images=4, pixels=168, attack=attack)
    features = [f for f in bare_store.features if f.class_index == 2]
    words = [f"rank {f.rank}, feature {f.feature_index}" for f in features]
    want = by_hand(joined, 2, words, 3, 168, 4)
    for line, feature in enumerate(features):
        for column, row in enumerate(top_rows(bare_store, 2, feature.rank - 1, 4)):
            changed = Image.fromarray(255 - joined.crop(int(row))).resize((168, 168), Image.Resampling.NEAREST)
            want.paste(changed, (column * 176, 48 + line * 548 + 20 + 352))
    assert np.array_equal(opened(written[2]), np.asarray(want))
    assert calls[2] == [f.feature_index for f in features for _ in range(4)] and len(calls) == 10


def test_sheets_and_answers_come_in_the_order_asked_for_with_its_words(
    bare_store: Store, images: Path, tmp_path: Path
) -> None:
    features = list(bare_store.features)
    order = {(f.class_index, f.feature_index): "" for f in reversed(features)}
    first = features[-2]
    order = {(first.class_index, first.feature_index): "", **order}
    order[first.class_index, first.feature_index] = "off the object"
    written = write_sheets(bare_store, FolderSource(images), tmp_path, images=4, pixels=112, order=order)
    assert [path.name[:10] for path in written] == [f"{n:04d}-{k:04d}-" for n, k in enumerate(range(9, -1, -1))]
    with (tmp_path / "answers.csv").open(newline="", encoding="utf-8") as file:
        rows = [(int(r["class_index"]), int(r["feature_index"])) for r in csv.DictReader(file)]
    assert rows == list(dict.fromkeys(order))
    sheet = opened(written[0])
    line = Image.new("RGB", (sheet.shape[1], LINE), "white")
    said = f"rank {first.rank}, feature {first.feature_index}; off the object"
    ImageDraw.Draw(line).text((4, 2), said, fill="black", font=ImageFont.load_default(14))
    assert np.array_equal(sheet[HEAD : HEAD + LINE], np.asarray(line))


def test_no_folder_that_holds_anything_is_written_to(bare_store: Store, images: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert len(write_sheets(bare_store, FolderSource(images), tmp_path / "empty", images=1, pixels=8)) == 10
    assert len(write_sheets(bare_store, FolderSource(images), tmp_path / "a" / "b", images=1, pixels=8)) == 10
    before = (tmp_path / "empty" / "answers.csv").read_bytes()
    with pytest.raises(
        SalientError, match=r"empty: exists; expected a new .*got answers.csv; filled-in answers are never"
    ):
        write_sheets(bare_store, FolderSource(images), tmp_path / "empty")
    assert (tmp_path / "empty" / "answers.csv").read_bytes() == before


def test_sheets_that_were_stopped_are_made_whole(bare_store: Store, images: Path, tmp_path: Path) -> None:
    """answers.csv comes last: until it is there nobody has filled in anything."""
    written = write_sheets(bare_store, FolderSource(images), tmp_path / "s", images=1, pixels=8)
    whole = {path.name: path.read_bytes() for path in (tmp_path / "s").iterdir()}
    (tmp_path / "s" / "answers.csv").unlink()
    written[-1].rename(written[-1].with_name(written[-1].name + ".salient.partial"))
    written[0].write_bytes(b"half")
    (tmp_path / "s" / "holiday.png").write_bytes(b"mine")
    with pytest.raises(SalientError, match=r"s: exists; .* stopped run; got holiday.png; filled-in"):
        write_sheets(bare_store, FolderSource(images), tmp_path / "s", images=1, pixels=8)
    assert written[0].read_bytes() == b"half"
    (tmp_path / "s" / "holiday.png").unlink()
    assert write_sheets(bare_store, FolderSource(images), tmp_path / "s", images=1, pixels=8) == written
    assert {path.name: path.read_bytes() for path in (tmp_path / "s").iterdir()} == whole


def test_five_photographs_are_asked_for_where_nobody_says_how_many(store: Store) -> None:
    class Rows:
        labels = np.zeros(9, dtype=np.int64)

    class Flat:  # of equal activations the first rows go first
        rows, activations = Rows, np.array([[1.0], [2.0], [2.0], [2.0], [2.0], [2.0], [2.0], [0.0], [3.0]])

    assert top_rows(Flat, 0, 0).tolist() == [8, 1, 2, 3, 4]  # type: ignore[arg-type]
