"""A store's maps against boxes and masks, by value, with the control, and what the command says."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.localisation.localise import doubtful_first, lines, localise
from salient_imagenet_data.evaluation.localisation.truth import Box, Truth, read_truth
from salient_imagenet_data.geometry import to_crop_frame
from salient_imagenet_data.masks import dequantise
from salient_imagenet_data.ranking.left_out import LeftOut
from salient_imagenet_data.scenes import SceneSource
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The objects of the scenes that the tests' store is of, as PNGs."""
    folder, scenes = tmp_path_factory.mktemp("masks"), SceneSource(40, seed=5)
    for index in range(len(scenes)):
        entry = scenes.entry(index)
        path = folder / scenes.class_names[entry.label] / f"{entry.image_id}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(scenes.scene(index).core.astype(np.uint8) * 255).save(path)
    return folder


def by_hand(store: Store, truth: Truth, label: int, slot: int, shift: bool = False) -> tuple[float, float]:
    """Mean mass inside and mean cover of a feature's maps, or of each other's where two images are all there is."""
    rows = np.flatnonzero(store.rows.labels == label)
    size = store.manifest.preprocessing.crop
    mass, cover = [], []
    for row in rows:
        record = store.rows[int(row)]
        region = truth.region(record.image_id, "", (record.width, record.height), store.manifest.preprocessing)
        soft = to_crop_frame(dequantise(store.maps[int(row)][slot]), size, size)
        if soft.max() > 0:
            mass.append(soft[region].sum() / soft.sum())
            cover.append(region.mean())
    return float(np.mean(mass)), float(np.mean(cover))


def test_figures_of_features_and_kinds(store: Store, masks: Path) -> None:
    truth = read_truth(masks)
    found = localise(store, truth)
    assert (found.images, found.without_boxes, found.covered, found.outside, found.unknown) == (40, 0, 0, 0, 0)
    assert len(found.features) == 40
    for feature in found.features[::7]:
        own = feature.figures.own
        assert own is not None and feature.kind is not None
        mass, cover = by_hand(store, truth, feature.class_index, feature.rank - 1)
        assert own.mass.value == pytest.approx(mass, rel=1e-5) and own.cover == pytest.approx(cover)
        assert own.lift.value == pytest.approx(mass / cover, rel=1e-5) and own.images <= 4
    spurious = found.kinds["spurious"].own
    assert spurious is not None and spurious.images == 4 * int(store.has("spurious").sum())
    assert found.classes["bar"]["spurious"].own is None and found.classes["bowtie"]["core"].own is None  # of no class
    assert found.auroc is not None and 0 <= found.auroc <= 1
    json.dumps(found.to_json(), allow_nan=False)


def test_a_map_that_follows_its_object_beats_another_images(store: Store, masks: Path) -> None:
    """With boxes made where each image's own map is, the own figures must lie above the control's."""
    size = store.manifest.preprocessing.crop
    lines_of = ["image,left,top,right,bottom"]
    for row, record in enumerate(store.rows):
        soft = to_crop_frame(dequantise(store.maps[row][0]), size, size)
        y, x = np.unravel_index(int(soft.argmax()), soft.shape)
        scale, left, top = record.box.width / size, record.box.left, record.box.top
        box = (left + (x - 6) * scale, top + (y - 6) * scale, left + (x + 7) * scale, top + (y + 7) * scale)
        inside = [min(max(v, 0.0), 64.0) for v in box]
        lines_of.append(",".join([record.image_id, *(f"{v:.3f}" for v in inside)]))
    path = masks.parent / "boxes.csv"
    path.write_text("\n".join(lines_of))
    found = localise(store, read_truth(path))
    first = [f.figures for f in found.features if f.rank == 1]
    own = np.mean([f.own.pointing.value for f in first if f.own])
    other = np.mean([f.other.pointing.value for f in first if f.other])
    assert own > 0.97 and other < own - 0.1


def test_only_some_images_have_boxes_and_large_ones_say_nothing(store: Store, tmp_path: Path) -> None:
    first, second, third = (store.rows[row].image_id for row in (0, 5, 9))
    text = "image,left,top,right,bottom\n" + "".join(
        f"{name},{box}\n"
        for name, box in ((first, "10,10,30,30"), (second, "0,0,64,64"), (third, "0,0,2,2"), ("stranger", "1,1,2,2"))
    )
    (tmp_path / "b.csv").write_text(text)
    found = localise(store, read_truth(tmp_path / "b.csv"))
    # The crop leaves out the outer pixels of an image, so the third box lies outside it.
    assert (found.images, found.without_boxes, found.covered, found.outside, found.unknown) == (1, 37, 1, 1, 1)
    said = lines(found).splitlines()
    assert said[0] == (
        "1 images with boxes; 1 left out whose boxes cover more than 95% of the crop, 1 whose boxes lie outside it; "
        "1 images with boxes are not in the store"
    )
    (tmp_path / "other.csv").write_text(
        f"image,class,left,top,right,bottom\n{first},{store.class_names[store.rows[0].label]},10,10,30,30\n"
        f"{second},none of ours,10,10,30,30\n"
    )
    found = localise(store, read_truth(tmp_path / "other.csv"))
    assert (found.images, found.other_class, found.outside) == (1, 1, 0)
    assert lines(found).splitlines()[0].endswith(", 1 whose boxes are of other classes")
    (tmp_path / "words.csv").write_text(f"image,class,left,top,right,bottom\n{first},none of ours,10,10,30,30\n")
    with pytest.raises(
        SalientError, match="and classes such as .*the store has 1: 0 almost wholly covered, 1 with box"
    ):
        localise(store, read_truth(tmp_path / "words.csv"))
    (tmp_path / "none.csv").write_text("image,left,top,right,bottom\nstranger,1,1,2,2\n")
    with pytest.raises(SalientError, match="1 images with boxes, of which the store has 0"):
        localise(store, read_truth(tmp_path / "none.csv"))


def test_images_that_are_left_out_are_in_no_figure_and_no_control(
    store: Store, masks: Path, tmp_path: Path, run: Run
) -> None:
    """As if they had no boxes; of the others of a class, which have two images then, each is the other's control."""
    ids = store.rows.image_ids.to_pylist()
    out = [image_id for row, image_id in enumerate(ids) if row % 4 > 1] + ["elsewhere"]
    (tmp_path / "ids.txt").write_text("\n".join(out) + "\n")
    some = tmp_path / "some"
    for path in masks.rglob("*.png"):
        if path.relative_to(masks).with_suffix("").as_posix() not in out:
            (some / path.relative_to(masks)).parent.mkdir(parents=True, exist_ok=True)
            (some / path.relative_to(masks)).symlink_to(path)
    status, said, told = run("localise", store.path, "--boxes", masks, "--leave-out", tmp_path / "ids.txt", "--json")
    assert status == 0 and told == f"1 image to leave out is not in {store.path}: elsewhere\n"
    found, expected = json.loads(said), localise(store, read_truth(some)).to_json()
    assert (expected["images"], expected["without_boxes"], found["without_boxes"]) == (20, 20, 0)
    facts = LeftOut(frozenset(out)).facts(ids)
    assert facts is not None and found["left_out"] == vars(facts) and facts.images == 20
    assert found == json.loads(json.dumps(expected)) | {"without_boxes": 0, "left_out": vars(facts)}
    status, said, _ = run("localise", store.path, "--boxes", masks, "--leave-out", tmp_path / "ids.txt")
    assert status == 0 and said.splitlines()[1] == facts.words


def test_the_command_prints_kinds_with_their_control_or_all_as_json(
    store: Store, bare_store: Store, masks: Path, run: Run
) -> None:
    status, said, _ = run("localise", store.path, "--boxes", masks)
    rows = said.splitlines()
    assert status == 0 and rows[1].split()[:3] == ["maps", "images", "boxes"]
    assert [row[:38].strip() for row in rows[2:6]] == [
        "core masks", "another image's", "spurious masks", "another image's",
    ]  # fmt: skip
    found = localise(store, read_truth(masks))
    core = found.kinds["core"].own
    assert core is not None and f"{core.lift.value:.3f} [{core.lift.low:.3f}, {core.lift.high:.3f}]" in rows[2]
    for feature in (f for f in found.features if f.disagrees):
        assert any(
            r.startswith(f"{feature.class_name} rank {feature.rank}, feature {feature.feature_index}:") for r in rows
        )
    status, said, _ = run("localise", store.path, "--boxes", masks, "--json")
    assert status == 0 and json.loads(said) == json.loads(json.dumps(found.to_json()))
    status, said, _ = run("localise", bare_store.path, "--boxes", masks)
    assert status == 0 and said.count(" rank ") == 40  # without answers, the features


def test_sheets_come_in_the_order_of_doubt(
    store: Store, bare_store: Store, images: Path, masks: Path, tmp_path: Path, run: Run
) -> None:
    truth = read_truth(masks)
    for opened, sign in ((store, {"core": 1, "spurious": -1}), (bare_store, {None: 1})):
        found = {(f.class_index, f.feature_index): f for f in localise(opened, truth).features}
        out = tmp_path / str(len(sign))
        status, said, _ = run("sheets", opened.path, "--images", images, "--boxes", masks, "--out", out)
        assert (status, said) == (0, f"wrote 10 sheets and answers.csv to {out}\n")
        with (out / "answers.csv").open() as file:
            listed = [(int(r["class_index"]), int(r["feature_index"])) for r in csv.DictReader(file)]
        doubts = [
            sign[f.kind] * (f.figures.own.lift.value - 1)  # type: ignore[index]
            for f in map(found.__getitem__, listed)
            if f.figures.own
        ]
        assert len(listed) == 40 and doubts == sorted(doubts) and doubts[0] < doubts[-1]
        classes = list(dict.fromkeys(label for label, _ in listed))
        names = [f"{n:04d}-{label:04d}-{opened.class_names[label]}.png" for n, label in enumerate(classes)]
        assert sorted(p.name for p in out.glob("*.png")) == names
        first = found[listed[0]].figures.own
        assert first is not None
        assert doubtful_first(localise(opened, truth))[listed[0]] == f"lift {first.lift.words}"


def test_a_box_is_of_a_class_by_its_wnid_or_by_imagenets_words() -> None:
    for words in ("tench", "Tench", "tench, Tinca tinca", "n01440764", ""):
        assert Box(0, 0, 1, 1, words).of("n01440764") and Box(0, 0, 1, 1, words).of("tench"), words
    assert not Box(0, 0, 1, 1, "goldfish").of("n01440764") and not Box(0, 0, 1, 1, "cat").of("dog")
