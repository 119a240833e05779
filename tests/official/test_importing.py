"""What an import of the 2022 release makes: maps, unions, sizes, quarantine, and stores that loaders take."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from salient_imagenet_data.annotation.applying import annotate
from salient_imagenet_data.annotation.files import read_annotations
from salient_imagenet_data.dataset import load_dataset
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.evaluate import evaluate
from salient_imagenet_data.evaluation.mitigation.heads.dfr import DFR
from salient_imagenet_data.evaluation.mitigation.heads.fitting import HeadMethod
from salient_imagenet_data.evaluation.mitigation.heads.group_dro import GroupDRO
from salient_imagenet_data.evaluation.mitigation.heads.jtt import JTT
from salient_imagenet_data.evaluation.mitigation.heads.least_spurious import Spuriosity
from salient_imagenet_data.evaluation.mitigation.heads.retrain import retrain_head
from salient_imagenet_data.evaluation.plan.plan import make_plan
from salient_imagenet_data.evaluation.score.grouping import groups_in
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.images.memory import MemorySource
from salient_imagenet_data.loaders import NumpyLoader, SalientImageNet
from salient_imagenet_data.looking import spuriosity_of
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.official.importing import ImportConfig, import_official
from salient_imagenet_data.store.comparing import compare
from salient_imagenet_data.store.manifest import file_sha256
from salient_imagenet_data.store.reading import Store
from tests.official.importing import CONFIG, answers, bytes_of
from tests.release_files import WNIDS, grid_of, jpeg, listed, names_csv, release, upsampled, write_folder, write_zip


def test_maps_are_the_grids_that_made_the_masks(imported: Store) -> None:
    imported.verify()
    assert imported.maps.shape == (10, 2, 7, 7) and len(imported) == 10
    features = {
        r.class_index: [f.feature_index for f in imported.features if f.class_index == r.class_index]
        for r in imported.features
    }
    assert features == {0: [17, 3], 1: [5]}
    for row, record in enumerate(imported.rows):
        for slot, feature in enumerate(features[record.label]):
            known = record.image_id in listed()[record.label][feature]
            assert record.in_top[slot] == known
            expected = grid_of(record.label, feature, record.image_id) if known else np.zeros((7, 7))
            assert np.abs(imported.maps[row, slot] / 255.0 - expected).max() < 4 / 255
    assert not imported.rows[9].in_top[1]


def test_what_the_release_does_not_say_is_unknown(imported: Store, archive: Path) -> None:
    assert np.isnan(imported.peaks).all() and np.isnan(imported.activations).all()
    assert all(r.prediction == -1 and not r.size_known and r.width == r.height == 0 for r in imported.rows)
    m = imported.manifest
    assert (m.weights_sha256, m.group_by, m.top_images, m.feature_count) == ("unknown", "release", 6, 2048)
    assert m.origin["kind"] == "official release" and m.origin["sha256"] == file_sha256(archive)
    assert m.origin["masks"] == 11 and m.origin["files_not_listed"] == 0 and m.origin["sha256_of"] == "the zip file"
    with pytest.raises(SalientError, match="does not hold the image's size.*import again with --images"):
        imported.image_mask(0, "core")


def test_the_error_told_is_the_error_there_is(imported: Store, archive: Path) -> None:
    """Every block of four rows is a shard, so the first mask of each is looked at whole."""
    told = imported.manifest.origin["grid_error"]
    pooled, whole = {}, {}
    with zipfile.ZipFile(archive) as reference:
        for row, record in enumerate(imported.rows):
            for slot, feature in enumerate([17, 3] if record.label == 0 else [5]):
                if record.in_top[slot]:
                    name = f"salient_imagenet_dataset/{WNIDS[record.label]}/feature_{feature}/{record.image_id}.JPEG"
                    pixels = np.asarray(Image.open(reference.open(name)), dtype=np.float64) / 255
                    grid = torch.from_numpy(imported.maps[row, slot] / 255.0)[None, None]
                    rest = torch.nn.functional.interpolate(grid, (56, 56), mode="bilinear")[0, 0].numpy() - pixels
                    whole[name] = np.abs(rest)
                    pooled[name] = np.abs(rest.reshape(28, 2, 28, 2).mean(axis=(1, 3)))
    assert told["pool"] == 2 and told["whole_masks"] == 3
    # Pillow's means are whole numbers.
    assert told["mean"] == pytest.approx(np.mean([e.mean() for e in pooled.values()]), abs=0.5 / 255)
    assert told["max"] == pytest.approx(max(e.max() for e in pooled.values()), abs=1.1 / 255)
    assert told["worst"] in pooled
    assert any(told["whole_max"] == pytest.approx(e.max(), rel=1e-4) for e in whole.values())
    assert min(e.mean() for e in whole.values()) <= told["whole_mean"] <= max(e.mean() for e in whole.values())


def test_kinds_and_unions(imported: Store) -> None:
    both = next(row for row, r in enumerate(imported.rows) if all(r.in_top) and r.label == 0)
    assert imported.mask(both, "spurious") is not None and imported.mask(both, "core") is not None
    alone = next(row for row, r in enumerate(imported.rows) if r.label == 0 and r.in_top == (True, False))
    # Not listed for feature 3: the class has a core feature, of which nothing is known here.
    unknown = imported.mask(alone, "core")
    assert unknown is not None and unknown.max() == 0 and imported.mask(alone, "core", top_only=True) is None


def test_trap_as_published_is_resized_and_cropped_twice(archive: Path, tmp_path: Path) -> None:
    """The published loader's steps, on the release's own files, with torchvision's transform."""
    config = ImportConfig(grid=None, preprocessing=Preprocessing(60, 56))
    store = import_official(archive, tmp_path / "store", config=config, workers=1)
    annotate(
        store.path,
        read_annotations(
            answers(tmp_path / "a.csv", [(0, 17, 1, "main_object"), (0, 3, 2, "main_object"), (1, 5, 1, "main_object")])
        ),
    )
    store = Store(store.path)
    transform = v2.Compose([v2.Resize(60), v2.CenterCrop(56), v2.PILToTensor()])
    for row, record in enumerate(store.rows):
        union = np.zeros((56, 56))
        with zipfile.ZipFile(archive) as reference:
            for feature, names in listed()[record.label].items():
                if record.image_id in names:
                    name = f"salient_imagenet_dataset/{WNIDS[record.label]}/feature_{feature}/{record.image_id}.JPEG"
                    union = np.maximum(union, np.asarray(Image.open(reference.open(name))) / 255.0)
        published = transform(Image.fromarray(np.uint8(union * 255)))[0].numpy().astype(np.float32) / np.float32(255)
        ours = store.mask(row, "core", top_only=True, as_published=True)
        assert ours is not None and np.array_equal(ours, published)
        plain = store.mask(row, "core", top_only=True)
        assert plain is not None and np.array_equal(np.rint(plain * 255), np.uint8(union * 255))


def test_full_keeps_every_pixel(archive: Path, tmp_path: Path) -> None:
    config = ImportConfig(grid=None, preprocessing=Preprocessing(60, 56), shard_rows=4)
    store = import_official(archive, tmp_path / "store", config=config, workers=1)
    assert store.maps.shape == (10, 2, 56, 56) and "grid_error" not in store.manifest.origin
    with zipfile.ZipFile(archive) as reference:
        name = "salient_imagenet_dataset/n01443537/feature_5/n01443537_2.JPEG"
        assert np.array_equal(store.maps[9, 0], np.asarray(Image.open(reference.open(name))))


def test_folder_processes_and_packing_do_not_change_the_store(archive: Path, tmp_path: Path) -> None:
    first = import_official(archive, tmp_path / "a", config=CONFIG, workers=1).path
    again = import_official(archive, tmp_path / "b", config=CONFIG, workers=2).path
    assert bytes_of(first) == bytes_of(again)
    folder = write_folder(tmp_path / "release", release())
    unpacked = import_official(folder, tmp_path / "c", config=CONFIG, workers=2)
    changed = {n for n, data in bytes_of(unpacked.path).items() if bytes_of(first)[n] != data}
    assert changed == {"manifest.json"} and unpacked.manifest.origin["sha256_of"] == "the masks read, shard by shard"
    (folder / "salient_imagenet_dataset/n01443537/feature_5/n01443537_2.JPEG").write_bytes(jpeg(upsampled(np.eye(7))))
    other = import_official(folder, tmp_path / "d", config=CONFIG, workers=1)
    assert other.manifest.origin["sha256"] != unpacked.manifest.origin["sha256"]


def test_annotated_later_with_answers_for_more_classes(archive: Path, tmp_path: Path, imported: Store) -> None:
    store = import_official(archive, tmp_path / "store", config=CONFIG, workers=1)
    assert [f.feature_index for f in store.features] == [3, 17, 5]
    official = read_annotations(
        answers(tmp_path / "a.csv", [(0, 17, 1, "background"), (1, 5, 1, "main_object"), (999, 8, 1, "background")])
    )
    later = annotate(store.path, official)
    assert [f.kind for f in later.features] == [None, "spurious", "core"]
    wrong = read_annotations(answers(tmp_path / "b.csv", [(0, 99, 1, "background")]))
    with pytest.raises(SalientError, match="feature 99 for class 0"):
        import_official(archive, tmp_path / "other", annotations=wrong, config=CONFIG)
    assert not (tmp_path / "other").exists()


def images_of(store: Store) -> MemorySource:
    rng = np.random.default_rng(0)
    ids = [r.image_id for r in store.rows]
    pixels = [rng.integers(0, 256, (70 + i, 90, 3), dtype=np.uint8) for i in range(len(ids))]
    names = [WNIDS[0], WNIDS[1]]
    return MemorySource(pixels, [r.label for r in store.rows], names, ids)


def test_sizes_from_ones_own_images(imported: Store, archive: Path, tmp_path: Path) -> None:
    source = images_of(imported)
    sized = import_official(archive, tmp_path / "store", images=source, config=CONFIG, workers=1)
    for i, record in enumerate(sized.rows):
        assert record.size_known and (record.width, record.height) == (90, 70 + i)
        assert record.box == Preprocessing(60, 56).crop_box(90, 70 + i)
    folder = tmp_path / "images"
    for i, record in enumerate(imported.rows):
        (folder / WNIDS[record.label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(source.pixels(i)).save(folder / WNIDS[record.label] / f"{record.image_id}.JPEG", "PNG")
    from_files = import_official(archive, tmp_path / "files", images=FolderSource(folder), config=CONFIG, workers=1)
    assert bytes_of(from_files.path) == bytes_of(sized.path)
    (folder / WNIDS[0] / "n01440764_4.JPEG").unlink()
    with pytest.raises(
        SalientError, match="1 of 10 images of the release are missing; expected images with ids such as n01440764_4"
    ):
        import_official(archive, tmp_path / "more", images=FolderSource(folder), config=CONFIG)
    other = MemorySource([source.pixels(0)] * 10, [0] * 10, ["n09999999"], [r.image_id for r in imported.rows])
    with pytest.raises(SalientError, match="none of its classes is among the images'; expected classes such as n0144"):
        import_official(archive, tmp_path / "more", images=other, config=CONFIG)
    names, ids = [*WNIDS.values()], [r.image_id for r in imported.rows]
    swapped = MemorySource([source.pixels(0)] * 10, [1 - r.label for r in imported.rows], names, ids)
    with pytest.raises(SalientError, match="class differs; expected 'n01440764'; got 'n01443537'"):
        import_official(archive, tmp_path / "more", images=swapped, config=CONFIG)


def test_what_it_does_not_know_is_no_ranking(imported: Store) -> None:
    """The release has masks and no activations: nothing may be made of the order of the rows instead."""
    assert np.isnan(imported.activations).all() and imported.has("spurious").any()
    images, rows = images_of(imported), np.arange(len(imported))
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 1000))
    classifier = Classifier("net", network)
    methods: list[HeadMethod] = [Spuriosity(), Spuriosity("most"), DFR(), JTT(), GroupDRO()]
    calls: list[Callable[[], object]] = [partial(retrain_head, classifier, imported, images, m) for m in methods]
    calls += [partial(spuriosity_of, imported), partial(groups_in, imported, rows)]
    calls += [partial(make_plan, imported, [name]) for name in ("spuriosity2023", "groups2020")]
    for call in calls:
        with pytest.raises(
            SalientError, match="does not know how strongly its images show a feature; expected a store"
        ):
            call()


def test_images_of_some_of_the_classes_take_the_others_out(imported: Store, archive: Path, tmp_path: Path) -> None:
    rows = [i for i, record in enumerate(imported.rows) if record.label == 1]
    ids, source = [imported.rows[i].image_id for i in rows], images_of(imported)
    some = MemorySource([source.pixels(i) for i in rows], [0] * len(rows), ["goldfish"], ids)
    found = import_official(archive, tmp_path / "some", images=some, config=CONFIG, workers=1)
    assert [r.image_id for r in found.rows] == ids and {r.label for r in found.rows} == {1}
    assert found.class_names == imported.class_names and {f.class_index for f in found.features} == {1}
    for mine, theirs in enumerate(rows):
        assert np.array_equal(found.maps[mine][: found.maps.shape[1]], imported.maps[theirs][: found.maps.shape[1]])
    origin = found.manifest.origin
    assert (origin["classes_left_out"], origin["masks_left_out"], origin["masks"]) == (1, 8, 3)
    assert origin["files_not_listed"] == imported.manifest.origin["files_not_listed"]
    assert "classes_left_out" not in imported.manifest.origin


def test_loaders_and_evaluation_take_it(imported: Store) -> None:
    source = images_of(imported)
    samples = SalientImageNet(imported, source, top_only=True)
    assert len(samples) == 10 and samples[0]["core_mask"].shape == (1, 56, 56)
    assert next(iter(NumpyLoader(imported, source)))["image"].shape == (10, 56, 56, 3)
    assert load_dataset(imported.path, images=source)[0]["core_mask"].size == (56, 56)
    weight = torch.randn(3 * 56 * 56, 1000, generator=torch.Generator().manual_seed(0))
    result = evaluate(lambda x: (x - 0.5).flatten(1) @ weight, imported, source)
    core, spurious = (result.left(name, 0.25) for name in ("core_accuracy", "spurious_accuracy"))
    assert core is not None and core.accuracy.n == 6 and spurious is not None and spurious.accuracy.n == 5
    assert result.groups is None and result.spurious_gap is None and result.feature_gaps == ()


def test_a_built_store_through_the_release_layout_and_back(store: Store, answers_file: Path, tmp_path: Path) -> None:
    """Masks of a built store, written as the release writes them, imported and compared with their source."""
    files = {"wordnet_dict.py": repr(dict(enumerate(store.class_names))).encode()}
    columns: dict[int, dict[int, list[str]]] = {}
    for feature in store.features:
        for row, record in enumerate(store.rows):
            slot = feature.slot
            if record.label == feature.class_index and record.in_top[slot]:
                name = record.image_id.split("/")[1]
                columns.setdefault(record.label, {}).setdefault(feature.feature_index, []).append(name)
                path = f"{store.class_names[record.label]}/feature_{feature.feature_index}/{name}.JPEG"
                files[path] = jpeg(upsampled(store.maps[row, slot] / 255.0))
    for label, listing in columns.items():
        files[f"{store.class_names[label]}/image_names_map.csv"] = names_csv(listing)
    copy = import_official(
        write_zip(tmp_path / "r.zip", files),
        tmp_path / "store",
        annotations=read_annotations(answers_file),
        config=CONFIG,
    )
    result = compare(store, copy)
    assert result["pairs"] == {"both": 40, "compared": 40, "only_in_first": 0, "only_in_second": 0}
    assert result["masks"]["n"] == 80 == copy.manifest.origin["masks"]
    assert result["masks"]["correlation"] > 0.999 and result["masks"]["iou"]["0.5"] > 0.97
    assert result["unions"]["core"]["correlation"] > 0.999
