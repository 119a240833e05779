"""What another method finds, against loops over pixels and pairs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from salient_imagenet_data.annotation.answers import Answer
from salient_imagenet_data.annotation.applying import annotate
from salient_imagenet_data.annotation.verdicts import Annotations
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.claims.printing import lines
from salient_imagenet_data.evaluation.claims.reading import read_claims
from salient_imagenet_data.evaluation.claims.scoring import _class_of, _overlaps, mean_overlap, score_discovery
from salient_imagenet_data.evaluation.numbers.estimates import wilson
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run
from tests.hub.stores import CLASSES, make_store

IDS = [f"{name}/{i}" for name in CLASSES for i in range(3)]
REASONS = {2: ("dark ground below", "the ground"), 4: ("a fence",), 5: ()}
"""Of the spurious features by rank."""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Four classes of three images. Class 0 has no spurious feature, class 1 only such, 2 and 3 those of rank 2, 4, 5."""
    folder = tmp_path_factory.mktemp("drawn") / "s"
    store = make_store(folder, IDS, [label for label in range(4) for _ in range(3)])
    answers = [
        Answer(f"p{n}", f.class_name, f.class_index, f.feature_index, f.rank, "background", None, reason)
        if f.kind == "spurious"
        else Answer(f"p{n}", f.class_name, f.class_index, f.feature_index, f.rank, "main_object", None, "the thing")
        for f in store.features
        for n, reason in enumerate(REASONS.get(f.rank, ()) or ("",))
    ]
    return annotate(folder, Annotations(tuple(answers), "ab" * 32), majority=1)


def in_map(store: Store, row: int, rank: int) -> np.ndarray:
    grid = torch.from_numpy(store.maps[row][rank - 1].astype(np.float32) / 255)[None, None]
    return torch.nn.functional.interpolate(grid, (32, 32), mode="bilinear")[0, 0].numpy() >= 0.5


def write_mask(store: Store, row: int, rank: int, folder: Path) -> dict:
    """A region: a PNG of the image's size, white where the image's pixel lies in the half of a map."""
    there, crop, pixels = in_map(store, row, rank), store.rows[row].box, np.zeros((50, 60), np.uint8)
    for y in range(50):
        for x in range(60):
            i, j = int((y + 0.5 - crop.top) * 32 / crop.height), int((x + 0.5 - crop.left) * 32 / crop.width)
            if 0 <= i < 32 and 0 <= j < 32 and there[i, j]:
                pixels[y, x] = 255
    name = f"{row}-{rank}.png"
    Image.fromarray(pixels).save(folder / name)
    return {"image": IDS[row], "mask": name}


def in_region(store: Store, row: int, region: dict, folder: Path) -> np.ndarray:
    """Of the crop, pixel by pixel."""
    crop, found = store.rows[row].box, np.zeros((32, 32), dtype=bool)
    mask = np.asarray(Image.open(folder / region["mask"])) if "mask" in region else None
    for i in range(32):
        for j in range(32):
            x, y = crop.left + (j + 0.5) * crop.width / 32, crop.top + (i + 0.5) * crop.height / 32
            if mask is not None:
                found[i, j] = mask[int(y), int(x)] > 0
            else:
                left, top, right, bottom = region["box"]
                found[i, j] = left <= x < right and top <= y < bottom
    return found


@pytest.fixture
def said(drawn: Store, tmp_path: Path) -> tuple[Path, list[dict]]:
    """Of class 1 a claim around rank 2's maps, but for one image, and one in a corner; of class 2 one around rank 4's;
    of class 3 words alone; of class 0, which has nothing spurious, a corner."""
    corner = [0.0, 0.0, 22.0, 22.0]
    region = lambda row, box: {"image": IDS[row], "box": box}  # noqa: E731
    claims = [
        {"class": "cross", "words": "ground", "regions": [write_mask(drawn, r, 2, tmp_path) for r in (3, 4)]},
        {"class": "cross", "words": "edges", "regions": [region(r, corner) for r in (3, 5)]},
        {
            "class": "ring",
            "words": "FENCES, nearby",
            "regions": [write_mask(drawn, r, 4, tmp_path) for r in (6, 7, 8)],
        },
        {"class": "star", "words": "the ground", "regions": []},
        {"class": "bar", "words": "", "regions": [region(0, corner)]},
    ]
    (tmp_path / "claims.json").write_text(json.dumps(claims))
    return tmp_path / "claims.json", claims


def overlap(a: np.ndarray, b: np.ndarray) -> float | None:
    either = (a | b).sum()
    return (a & b).sum() / either if either else None


def mean_iou(
    store: Store, claim: dict, covered: list[int], rank: int, rows: list[int], moved: bool, folder: Path
) -> float:
    """covered: rows of the claim's own class, by id. rows: of the feature's class."""
    regions = {IDS.index(region["image"]): region for region in claim["regions"]}
    found = []
    for number, row in enumerate(rows):
        source = covered[number % len(covered)] if moved else row
        said = in_region(store, source, regions[source], folder) if source in regions else np.zeros((32, 32), bool)
        found.append(overlap(said, in_map(store, row, rank)))
    there = [value for value in found if value is not None]
    return float(np.mean(there)) if there else 0.0


def test_recall_precision_and_chance_against_loops(drawn: Store, said: tuple[Path, list[dict]]) -> None:
    path, claims = said
    found = score_discovery(drawn, read_claims(path))
    by_class = {"bar": [claims[4]], "cross": claims[:2], "ring": [claims[2]]}
    covered = {"bar": [0], "cross": [3, 4, 5], "ring": [6, 7, 8]}
    spurious = {"bar": [], "cross": [1, 2, 3, 4, 5], "ring": [2, 4, 5]}
    finds = {
        (a, n, b, rank): mean_iou(drawn, claim, covered[a], rank, covered[b], a != b, path.parent) >= 0.5
        for a, mine in by_class.items()
        for n, claim in enumerate(mine)
        for b, ranks in spurious.items()
        for rank in ranks
    }
    own, chance = {}, {}
    for b, ranks in spurious.items():
        for rank in ranks:
            hit = {a: any(finds[a, n, b, rank] for n in range(len(mine))) for a, mine in by_class.items()}
            own[b, rank], chance[b, rank] = hit[b], np.mean([hit[a] for a in by_class if a != b])
    assert [(f.class_name, f.rank) for f in found.features] == list(own) and found.not_covered == 0
    assert [f.found for f in found.features] == list(own.values())
    assert [f.chance for f in found.features] == pytest.approx(list(chance.values()))
    assert own["cross", 2] and own["ring", 4] and found.recall == wilson(sum(own.values()), 8)
    assert found.chance_recall is not None and found.chance_recall.value == pytest.approx(
        np.mean(list(chance.values()))
    )
    assert found.recall_beyond is not None and found.recall is not None
    assert found.recall_beyond.value == pytest.approx(found.recall.value - found.chance_recall.value)
    right, luck = [], []
    for a, mine in by_class.items():
        for n in range(len(mine)):
            hits = {b: any(finds[a, n, b, rank] for rank in ranks) for b, ranks in spurious.items()}
            right.append(hits[a])
            luck.append(np.mean([hits[b] for b in by_class if b != a]))
    assert [c.right for c in found.found_claims] == right and found.precision == wilson(sum(right), 4)
    assert [c.chance for c in found.found_claims] == pytest.approx(luck)
    best = max(mean_iou(drawn, c, [3, 4, 5], 2, [3, 4, 5], False, path.parent) for c in claims[:2])
    assert found.features[1].iou == pytest.approx(best) and best == pytest.approx(
        2 / 3
    )  # one of three images has no region
    assert (found.claims, found.with_regions, found.not_asked) == (5, 4, 3)  # those of star
    of = {c.class_name: c for c in found.classes}
    assert of["bar"].recall is None and of["bar"].precision == wilson(0, 1) and set(of) == {"bar", "cross", "ring"}
    assert of["ring"].recall == wilson(sum(own["ring", r] for r in (2, 4, 5)), 3)


def test_overlaps_of_each_class_s_claims_with_each_class_s_features(
    drawn: Store, said: tuple[Path, list[dict]]
) -> None:
    """By value, own and moved: the regions of a claim are laid on another class's images one after the other."""
    path, claims = said
    read = read_claims(path)
    tables = {}
    for name, label, mine in (("cross", 1, read[:2]), ("ring", 2, read[2:3])):
        rows = np.flatnonzero(drawn.rows.labels == label).tolist()
        spurious = [f for f in drawn.features if f.class_index == label and f.kind == "spurious"]
        tables[name] = _class_of(drawn, label, rows, spurious, mine)[0]
    mine = {"cross": (claims[:2], [3, 4, 5]), "ring": (claims[2:3], [6, 7, 8])}
    for a, (of_a, covered) in mine.items():
        for b, table in tables.items():
            found = _overlaps(tables[a], table, moved=a != b)
            ranks = [feature.rank for feature, _, _ in table.features]
            wanted = [[mean_iou(drawn, c, covered, r, mine[b][1], a != b, path.parent) for r in ranks] for c in of_a]
            assert found == pytest.approx(np.array(wanted)) and len(np.unique(found)) > 2


def test_words_stand_beside_reasons(drawn: Store, said: tuple[Path, list[dict]]) -> None:
    words = score_discovery(drawn, read_claims(said[0])).words
    rows = {(f.class_name, f.rank): f for f in words.features}
    assert set(rows) == {("cross", 2), ("cross", 4), ("ring", 2), ("ring", 4), ("star", 2), ("star", 4)}
    assert words.without_reasons == 5  # of cross ranks 1, 3 and 5, of ring and star rank 5
    assert rows["cross", 2].reasons == REASONS[2] and rows["cross", 2].claims == ("ground", "edges")
    assert rows["cross", 2].alike == ("ground",) and rows["ring", 4].alike == ("fence",)
    assert rows["star", 2].alike == ("ground",) and rows["ring", 2].alike == rows["star", 4].alike == ()
    assert rows["cross", 2].elsewhere == 0.5  # star's claim says ground too, ring's does not
    assert (rows["ring", 2].elsewhere, rows["ring", 4].elsewhere, rows["cross", 4].elsewhere) == (1.0, 0.0, 0.5)
    assert words.alike == 3 and words.elsewhere == pytest.approx(0.5 + 1.0 + 0.0 + 0.5 + 0.5 + 0.5)


def test_the_command_says_what_was_left_out(
    drawn: Store, said: tuple[Path, list[dict]], run: Run, tmp_path: Path
) -> None:
    claims = [
        *said[1],
        {"class": "whale", "words": "sea"},
        {"class": "star", "words": "", "regions": [{"image": "nowhere", "box": [0, 0, 9, 9]}]},
    ]
    (tmp_path / "more.json").write_text(json.dumps(claims))
    code, out, err = run("score-discovery", drawn.path, tmp_path / "more.json")
    assert (code, err) == (0, "")
    found = score_discovery(drawn, read_claims(tmp_path / "more.json"))
    assert out == lines(found) + "\n" and out.startswith("7 claims, 4 with regions\n")
    assert "left out: claims about classes that the store has not: whale\n" in out
    assert "left out: 1 regions on images that the store does not have in the class\n" in out
    assert "left out: 5 spurious features without reasons\n" in out
    assert "3 spurious features are of classes without regions, and not asked about\n" in out
    assert found.recall is not None and found.recall.words in out
    told = json.loads(run("score-discovery", drawn.path, tmp_path / "more.json", "--json")[1])
    assert told["recall"]["value"] == found.recall.value and len(told["features"]) == 8


def test_features_none_of_whose_top_images_is_spoken_about_are_left_out(drawn: Store, tmp_path: Path) -> None:
    """Only its first image is a top one of rank 2 and 4 of ring, by the table of images."""
    top = drawn.rows.in_top.copy()
    top[7:9, [1, 3]] = False
    store = Store(drawn.path)
    store.rows.in_top = top  # type: ignore[misc]
    rows = [write_mask(drawn, r, 4, tmp_path) for r in (7, 8)]
    (tmp_path / "c.json").write_text(json.dumps([{"class": "ring", "regions": rows}]))
    found = score_discovery(store, read_claims(tmp_path / "c.json"))
    assert [f.rank for f in found.features] == [5] and found.not_covered == 2
    assert found.chance_recall is None and found.recall_beyond is None and found.features[0].chance is None


def test_what_cannot_be_scored(drawn: Store, bare_store: Store, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("class,words\nwhale,sea\n")
    with pytest.raises(SalientError, match="none of the store's classes; expected classes such as bar, .*; got whale"):
        score_discovery(drawn, read_claims(tmp_path / "c.csv"))
    with pytest.raises(SalientError, match="not annotated"):
        score_discovery(bare_store, read_claims(tmp_path / "c.csv"))
    (tmp_path / "c.csv").write_text("class,words\nring,sea\n")
    found = score_discovery(drawn, read_claims(tmp_path / "c.csv"))
    assert found.recall is None and found.precision is None and found.not_asked == 11
    assert "by region: no claim has one" in lines(found)


def test_mean_overlap_of_bits() -> None:
    one = np.packbits(np.array([[1, 1, 0, 0, 0, 0, 0, 0, 1], [0] * 9, [1] * 9]), axis=1)
    other = np.packbits(np.array([[1, 0, 1, 0, 0, 0, 0, 0, 1], [0] * 9, [0] * 9]), axis=1)
    assert mean_overlap(one, other) == pytest.approx((2 / 4 + 0) / 2)
    assert mean_overlap(one[1:2], other[1:2]) == 0.0
