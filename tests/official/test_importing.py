from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from salient_imagenet_data.annotation.applying import annotate
from salient_imagenet_data.annotation.files import read_annotations
from salient_imagenet_data.dataset import load_dataset
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.evaluate import evaluate
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.imagenet import wnids
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.images.memory import MemorySource
from salient_imagenet_data.loaders import NumpyLoader, SalientImageNet
from salient_imagenet_data.names import LOCK
from salient_imagenet_data.official.importing import ImportConfig, import_official
from salient_imagenet_data.store.comparing import compare
from salient_imagenet_data.store.manifest import file_sha256
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run
from tests.release_files import WNIDS, grid_of, jpeg, listed, names_csv, release, upsampled, write_folder, write_zip

CONFIG = ImportConfig(preprocessing=Preprocessing(60, 56), shard_rows=4)
ANSWERS = (
    "WorkerId,Input.wordnet_id,Input.class_index,Input.feature_index,Input.feature_rank,"
    "Answer.main,Answer.confidence,Answer.reasons\n"
)


def answers(path: Path, pairs: list[tuple[int, int, int, str]]) -> Path:
    """(class, feature, rank, answer), five people each."""
    rows = [f"w{p},{wnids()[c]},{c},{f},{r},{answer},4,because" for c, f, r, answer in pairs for p in range(5)]
    path.write_text(ANSWERS + "\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_zip(tmp_path_factory.mktemp("release") / "release.zip", release())


@pytest.fixture(scope="module")
def imported(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("imported")
    official = answers(
        folder / "a.csv",
        [(0, 17, 1, "background"), (0, 3, 2, "main_object"), (1, 5, 1, "main_object"), (7, 1, 1, "background")],
    )
    return import_official(
        archive, folder / "store", annotations=read_annotations(official), config=CONFIG, processes=2
    )


def bytes_of(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != LOCK)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


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
    store = import_official(archive, tmp_path / "store", config=config, processes=1)
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
    store = import_official(archive, tmp_path / "store", config=config, processes=1)
    assert store.maps.shape == (10, 2, 56, 56) and "grid_error" not in store.manifest.origin
    with zipfile.ZipFile(archive) as reference:
        name = "salient_imagenet_dataset/n01443537/feature_5/n01443537_2.JPEG"
        assert np.array_equal(store.maps[9, 0], np.asarray(Image.open(reference.open(name))))


def test_folder_processes_and_packing_do_not_change_the_store(archive: Path, tmp_path: Path) -> None:
    first = import_official(archive, tmp_path / "a", config=CONFIG, processes=1).path
    again = import_official(archive, tmp_path / "b", config=CONFIG, processes=2).path
    assert bytes_of(first) == bytes_of(again)
    folder = write_folder(tmp_path / "release", release())
    unpacked = import_official(folder, tmp_path / "c", config=CONFIG, processes=2)
    changed = {n for n, data in bytes_of(unpacked.path).items() if bytes_of(first)[n] != data}
    assert changed == {"manifest.json"} and unpacked.manifest.origin["sha256_of"] == "the masks read, shard by shard"
    (folder / "salient_imagenet_dataset/n01443537/feature_5/n01443537_2.JPEG").write_bytes(jpeg(upsampled(np.eye(7))))
    other = import_official(folder, tmp_path / "d", config=CONFIG, processes=1)
    assert other.manifest.origin["sha256"] != unpacked.manifest.origin["sha256"]


def big_release(path: Path) -> Path:
    """400 images, so that an import takes long enough to be killed."""
    names = [f"n01440764_{i}" for i in range(400)]
    masks = {n: jpeg(upsampled(grid_of(0, 1, n), 224)) for n in names}
    files = {
        "wordnet_dict.py": repr(WNIDS).encode(),
        "n01440764/image_names_map.csv": names_csv(dict.fromkeys(range(5), names)),
    }
    files |= {f"n01440764/feature_{f}/{n}.JPEG": masks[n] for f in range(5) for n in names}
    return write_zip(path, files)


def test_killed_and_run_again_gives_the_same_bytes(tmp_path: Path) -> None:
    release_zip = big_release(tmp_path / "r.zip")
    config = ImportConfig(shard_rows=8)
    whole = import_official(release_zip, tmp_path / "whole", config=config, processes=1).path
    code = (
        "from salient_imagenet_data.official.importing import ImportConfig, import_official\n"
        f"if __name__ == '__main__': import_official({str(release_zip)!r}, {str(tmp_path / 'cut')!r}, config=ImportConfig(shard_rows=8), processes=1)"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    process = subprocess.Popen([sys.executable, str(script)])
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "cut" / "work").glob("shard-*.json"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    with pytest.raises(SalientError, match="not a finished store; .*got a build that was stopped"):
        Store(tmp_path / "cut")
    with pytest.raises(SalientError, match="exists; expected a new folder; use --resume"):
        import_official(release_zip, tmp_path / "cut", config=config, processes=1)
    with pytest.raises(SalientError, match="stopped import of other input"):
        import_official(
            release_zip, tmp_path / "cut", config=ImportConfig(shard_rows=8, split="val"), processes=1, resume=True
        )
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "cut" / "work").glob("shard-*.json")}
    assert 5 <= len(kept) < 50
    resumed = import_official(release_zip, tmp_path / "cut", config=config, processes=2, resume=True).path
    assert bytes_of(resumed) == bytes_of(whole)
    assert import_official(release_zip, tmp_path / "cut", config=config, resume=True).path == resumed


def broken(path: Path) -> Path:
    files = release()
    root = "salient_imagenet_dataset/n01440764/feature_17/n01440764_"
    files[f"{root}1.JPEG"] = files[f"{root}1.JPEG"][:300]
    files[f"{root}2.JPEG"] = jpeg(np.zeros((20, 20), dtype=np.uint8))
    files[f"{root}3.JPEG"] = b"no picture"
    return write_zip(path, files)


def test_broken_masks_end_the_import_or_are_put_into_quarantine(tmp_path: Path) -> None:
    path = broken(tmp_path / "r.zip")
    with pytest.raises(SalientError, match=r"n01440764_\d.JPEG: (cannot decode|not a mask)"):
        import_official(path, tmp_path / "store", config=CONFIG, processes=2)
    config = ImportConfig(preprocessing=Preprocessing(60, 56), shard_rows=4, broken="skip")
    store = import_official(path, tmp_path / "store", config=config, processes=2, overwrite=True)
    assert store.manifest.quarantined == 3 and store.manifest.origin["masks"] == 8 and len(store) == 10
    rows = pq.read_table(store.path / "quarantine.parquet").to_pylist()
    assert [r["image_id"] for r in rows] == [f"n01440764_{i}" for i in (1, 2, 3)]
    assert "feature_17/n01440764_1.JPEG: cannot decode; got OSError" in rows[0]["reason"]
    assert "got L, 20 x 20" in rows[1]["reason"] and "got 10 other bytes" in rows[2]["reason"]
    bad = [r["image_id"] in {f"n01440764_{i}" for i in (1, 2, 3)} for r in map(vars, store.rows)]
    assert not any(store.rows[i].in_top[1] or store.maps[i, 1].any() for i in np.flatnonzero(bad))
    again = import_official(path, tmp_path / "again", config=config, processes=1)
    assert bytes_of(again.path) == bytes_of(store.path)


def test_annotated_later_with_answers_for_more_classes(archive: Path, tmp_path: Path, imported: Store) -> None:
    store = import_official(archive, tmp_path / "store", config=CONFIG, processes=1)
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
    sized = import_official(archive, tmp_path / "store", images=source, config=CONFIG, processes=1)
    for i, record in enumerate(sized.rows):
        assert record.size_known and (record.width, record.height) == (90, 70 + i)
        assert record.box == Preprocessing(60, 56).crop_box(90, 70 + i)
    folder = tmp_path / "images"
    for i, record in enumerate(imported.rows):
        (folder / WNIDS[record.label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(source.pixels(i)).save(folder / WNIDS[record.label] / f"{record.image_id}.JPEG", "PNG")
    from_files = import_official(archive, tmp_path / "files", images=FolderSource(folder), config=CONFIG, processes=1)
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


def test_images_of_some_of_the_classes_take_the_others_out(imported: Store, archive: Path, tmp_path: Path) -> None:
    rows = [i for i, record in enumerate(imported.rows) if record.label == 1]
    ids, source = [imported.rows[i].image_id for i in rows], images_of(imported)
    some = MemorySource([source.pixels(i) for i in rows], [0] * len(rows), ["goldfish"], ids)
    found = import_official(archive, tmp_path / "some", images=some, config=CONFIG, processes=1)
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


@pytest.mark.parametrize("name", ["work/notes.txt", "manifest.json", "claim.json", "maps.zarr/mine", "thesis.txt"])
def test_what_others_put_there_is_neither_replaced_nor_removed(
    archive: Path, tmp_path: Path, run: Run, name: str
) -> None:
    frame = ("--resize", 60, "--crop", 56, "--processes", 1)
    theirs = tmp_path / "out" / name
    theirs.parent.mkdir(parents=True)
    theirs.write_text('{"of": "another tool"}')
    for option in ("--overwrite", "--resume"):
        code, _, err = run("import-official", archive, "--out", tmp_path / "out", *frame, option)
        assert code == 2 and err.count("\n") == 1 and name.partition("/")[0] in err, err
        assert [p for p in (tmp_path / "out").rglob("*") if p.is_file() and p.name != LOCK] == [theirs]
        assert theirs.read_text() == '{"of": "another tool"}'


def test_a_folder_of_ones_own_beside_a_store_outlives_its_replacement(archive: Path, tmp_path: Path, run: Run) -> None:
    words = ("import-official", archive, "--out", tmp_path / "out", "--resize", 60, "--crop", 56, "--processes", 1)
    assert run(*words)[0] == 0
    before = bytes_of(tmp_path / "out")
    (tmp_path / "out/thesis.txt").write_text("mine")
    assert run(*words, "--overwrite")[0] == 0
    assert bytes_of(tmp_path / "out") == before | {"thesis.txt": b"mine"}
    (tmp_path / "out/work").mkdir()
    (tmp_path / "out/work/notes.txt").write_text("mine too")
    code, _, err = run(*words, "--overwrite")
    assert code == 2 and "out/work: not made by this package" in err and err.count("\n") == 1
    assert bytes_of(tmp_path / "out") == before | {"thesis.txt": b"mine", "work/notes.txt": b"mine too"}


def test_the_command_line(archive: Path, tmp_path: Path, run: Run) -> None:
    frame = ("--resize", 60, "--crop", 56, "--processes", 1)
    code, out, err = run("import-official", archive, "--out", tmp_path / "a", *frame)
    assert code == 0, err
    assert (
        "10 images, 3 features, 11 masks, 0 in quarantine" in out
        and "reduced to 7x7; error of means of 2x2 pixels: mean 0.0" in out
    )
    assert "next: salient-imagenet apply" in out
    code, out, _ = run("import-official", archive, "--out", tmp_path / "b", "--grid", "full", *frame)
    assert code == 0 and "reduced" not in out
    assert json.loads(run("compare", tmp_path / "a", tmp_path / "b", "--json")[1])["masks"]["n"] == 11
    text = run("compare", tmp_path / "a", tmp_path / "b")[1]
    assert "images: 10 in both, 0 only in the first" in text and "a store is not annotated" in text
    files, table = release(), "salient_imagenet_dataset/n01443537/image_names_map.csv"
    lines = files[table].decode().splitlines()
    indexed = [f",{lines[0]},class", *(f"{i},{line},tench" for i, line in enumerate(lines[1:]))]
    code, out, _ = run(
        "import-official",
        write_zip(tmp_path / "i.zip", files | {table: "\n".join(indexed).encode()}),
        *frame,
        "--out",
        tmp_path / "i",
    )
    assert code == 0 and "\n2 columns of the lists are of no feature and were passed over\n" in out
    plain, with_index = (bytes_of(tmp_path / name) for name in "ai")
    assert {n for n in plain if plain[n] != with_index[n]} == {"manifest.json"}
    hostile = tmp_path / "hostile.zip"
    shutil.copy(archive, hostile)
    with zipfile.ZipFile(hostile, "a") as more:
        more.writestr("salient_imagenet_dataset/../../up", "x")
    for source, message in (
        (hostile, "leads out of the archive"),
        (archive, "not a mask; expected 8-bit gray, 224 x 224; got L, 56 x 56"),
        (tmp_path / "none", "no such file or folder"),
    ):
        code, out, err = run("import-official", source, "--out", tmp_path / "c", "--processes", 1)
        assert code == 2 and message in err and err.count("\n") == 1, err
    assert run("import-official", archive, "--out", tmp_path / "c", "--grid", "x")[0] == 2
