"""Exports of masks read back by the tools whose formats they are, or as these document them."""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from salient_imagenet_data.cli import cli
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.formats import export as export_module
from salient_imagenet_data.formats.export import FORMATS, export_masks
from salient_imagenet_data.formats.names import NAMES, Name
from salient_imagenet_data.formats.webdataset import key_of
from salient_imagenet_data.hub.target import files_of, read_marker
from salient_imagenet_data.imagenet import wnids
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.masks import to_uint8
from salient_imagenet_data.names import KINDS
from salient_imagenet_data.store.reading import Store
from tests.formats.conftest import IDS
from tests.formats.test_rle import unpacked
from tests.hub.stores import make_store, write_images
from tests.warm import Warm

SIZE = (60, 50)


def made(store: Store, out: Path, name: Name, photos: Path | None = None, **options: Any) -> dict[str, int]:
    """Counts of an export, with images where the format wants them."""
    if FORMATS[name].images in ("named", "located") or "redistribute" in options:
        options["source"] = FolderSource(photos or pytest.fail("needs images"))
    return export_masks(store, out, name, unit_rows=5, **options).counts


def expected(store: Store, row: int) -> dict[str, np.ndarray]:
    """8-bit masks of a row in the image frame, from the store itself."""
    found = {kind: store.image_mask(row, kind) for kind in KINDS}
    return {kind: to_uint8(mask[0]) for kind, mask in found.items() if mask is not None}


def test_every_format_has_a_writer() -> None:
    assert tuple(sorted(FORMATS)) == tuple(sorted(NAMES))


def test_coco_is_read_by_its_own_tools(store: Store, photos: Path, tmp_path: Path) -> None:
    tools = pytest.importorskip("pycocotools.coco", reason="in the extra dev")
    counts = made(store, tmp_path / "coco", "coco", source=FolderSource(photos))
    assert files_of(tmp_path / "coco") == ["annotations.json", "counts.json"]
    coco = tools.COCO(str(tmp_path / "coco" / "annotations.json"))
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == ["core", "spurious"]
    assert len(coco.getImgIds()) == 22 == counts["images"]
    found = dict.fromkeys(KINDS, 0)
    for row, image_id in enumerate(IDS):
        (image,) = coco.loadImgs([row + 1])
        assert (image["width"], image["height"]) == SIZE and image["image_id"] == image_id
        assert (photos / image["file_name"]).is_file() and image["class_name"] == image_id.split("/")[0]
        masks = expected(store, row)
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[row + 1]))
        assert [KINDS[a["category_id"] - 1] for a in annotations] == list(masks)
        for annotation in annotations:
            mask = masks[KINDS[annotation["category_id"] - 1]]
            inside = coco.annToMask(annotation).astype(bool)
            assert np.array_equal(inside, mask >= 128) and annotation["area"] == inside.sum() > 0
            y, x = np.nonzero(inside)
            assert annotation["bbox"] == [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1]
            assert annotation["score"] == round(mask[inside].mean() / 255, 4)
            found[KINDS[annotation["category_id"] - 1]] += 1
    assert found == {"core": counts["core masks"], "spurious": counts["spurious masks"]}
    info = json.loads((tmp_path / "coco" / "annotations.json").read_text())["info"]
    assert info["threshold"] == 0.5 and info["version"] == "1.0.0"


def test_valid_is_the_part_that_the_maps_cover(store: Store, tmp_path: Path) -> None:
    """60 x 50 resized to 48 x 40, of which the middle 32 x 32 is seen: 40 x 40 pixels of the original."""
    made(store, tmp_path / "coco", "coco")
    images = json.loads((tmp_path / "coco" / "annotations.json").read_text())["images"]
    assert {tuple(image["valid"]) for image in images} == {(10, 5, 40, 40)}
    found = store.image_mask(0, "core")
    assert found is not None
    left, top, width, height = images[0]["valid"]
    inside = np.zeros((50, 60), dtype=bool)
    inside[top : top + height, left : left + width] = True
    assert np.array_equal(found[1], inside)


def test_the_threshold_decides_and_what_is_below_it_everywhere_is_counted(store: Store, tmp_path: Path) -> None:
    areas = {}
    for threshold in (0.3, 0.5, 1.0):
        out = tmp_path / f"{threshold}"
        counts = made(store, out, "coco", threshold=threshold)
        annotations = json.loads((out / "annotations.json").read_text())["annotations"]
        areas[threshold] = sum(a["area"] for a in annotations)
        of_all = sum(count for what, count in counts.items() if "masks" in what)
        assert of_all == sum(len(expected(store, row)) for row in range(len(store)))
        full = sum((mask == 255).any() for row in range(len(store)) for mask in expected(store, row).values())
        assert len(annotations) == (full if threshold == 1 else of_all)
    assert areas[0.3] > areas[0.5] > areas[1.0]
    left_out = [what for what in counts if "left out" in what]
    assert left_out and all(what.endswith("left out, below the threshold everywhere") for what in left_out)


def test_webdataset_is_read_by_its_own_library(store: Store, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="in the extra dev")
    counts = made(store, tmp_path / "wds", "webdataset")
    shards = sorted(str(path) for path in (tmp_path / "wds").glob("*.tar"))
    assert [Path(path).name for path in shards] == [f"train-{n:06d}.tar" for n in range(5)]
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode("l8"))
    assert [unquote(sample["__key__"]) for sample in samples] == IDS and counts["images"] == 22
    for row, sample in enumerate(samples):
        masks = expected(store, row)
        facts = sample["json"]
        assert facts["image_id"] == IDS[row] and facts["masks"] == list(masks) and facts["valid"] == [10, 5, 40, 40]
        assert {key for key in sample if key.endswith(".png")} == {f"{kind}.png" for kind in masks}
        assert "jpg" not in sample and "png" not in sample
        for kind, mask in masks.items():
            assert np.array_equal(sample[f"{kind}.png"], mask)


def test_keys_hold_no_dot_and_no_slash_and_give_ids_back() -> None:
    for image_id in ("a/b.c", "ILSVRC2012_val_00000293", "./x", "été/ü", "%2E", "a b", "x" * 300):
        key = key_of(image_id)
        assert not {".", "/"} & set(key) and key.isascii() and unquote(key) == image_id


def test_long_keys_are_read_back(tmp_path: Path) -> None:
    ids = [f"bar/{'ä' * 60}{n}" for n in range(2)]
    made(make_store(tmp_path / "s", ids, [0, 0]), tmp_path / "wds", "webdataset")
    with tarfile.open(tmp_path / "wds" / "train-000000.tar") as tar:
        assert [unquote(m.name.split(".")[0]) for m in tar if m.name.endswith(".json")] == ids


def test_pictures_go_along_only_when_they_may(store: Store, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(SalientError, match="expected --redistribute beside --images"):
        export_masks(store, tmp_path / "wds", "webdataset", source=FolderSource(photos))
    made(store, tmp_path / "wds", "webdataset", photos, redistribute=True)
    with tarfile.open(tmp_path / "wds" / "train-000000.tar") as tar:
        (member,) = (m for m in tar if m.name == f"{key_of(IDS[2])}.png")
        data = tar.extractfile(member)
        assert data is not None and data.read() == (photos / f"{IDS[2]}.png").read_bytes()
    made(store, tmp_path / "wds", "webdataset", photos, redistribute=True)  # kept
    others = Path(shutil.copytree(photos, tmp_path / "others"))
    Image.new("RGB", Image.open(others / f"{IDS[2]}.png").size).save(others / f"{IDS[2]}.png")
    with pytest.raises(SalientError, match="wds: exists; expected a new folder, or an export of the same store"):
        made(store, tmp_path / "wds", "webdataset", others, redistribute=True)
    wnid = wnids()[7]
    theirs = make_store(tmp_path / "s", [f"{wnid}_1"], [0], (wnid,))
    images = write_images(tmp_path / "images", [f"{wnid}/{wnid}_1"])
    with pytest.raises(SalientError, match="the images are ImageNet's; expected .* no redistribution"):
        export_masks(theirs, tmp_path / "no", "webdataset", source=FolderSource(images), redistribute=True)
    assert not (tmp_path / "no").exists() and not (tmp_path / "no.partial").exists()


def test_label_studios_tasks_hold_brushes(store: Store, photos: Path, tmp_path: Path) -> None:
    made(store, tmp_path / "ls", "label-studio", photos)
    tasks = json.loads((tmp_path / "ls" / "tasks.json").read_text())
    assert [task["data"]["image_id"] for task in tasks] == IDS
    for row, task in enumerate(tasks):
        address = task["data"]["image"]
        assert (photos / unquote(address.removeprefix("/data/local-files/?d="))).is_file()
        (prediction,) = task["predictions"]
        masks = expected(store, row)
        assert [r["value"]["brushlabels"] for r in prediction["result"]] == [[kind] for kind in masks]
        for result in prediction["result"]:
            assert (result["original_width"], result["original_height"]) == SIZE
            pixels = unpacked(bytes(result["value"]["rle"])).reshape(50, 60, 4)
            assert np.array_equal(pixels[..., 3] == 255, masks[result["value"]["brushlabels"][0]] >= 128)
    interface = (tmp_path / "ls" / "labelling.xml").read_text()
    assert 'name="mask" toName="image"' in interface and '<Label value="spurious"' in interface


@pytest.mark.parametrize("name", NAMES)
def test_the_same_bytes_twice_with_workers_and_after_a_stop(
    name: Name, store: Store, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = tmp_path / "straight"
    counts = made(store, straight, name, photos)
    with monkeypatch.context() as patched:
        stops = iter([None, None, KeyboardInterrupt])

        def stop(*rest: Any) -> Any:
            error = next(stops)
            if error is not None:
                raise error
            return masked(*rest)

        masked = export_module.masked_images
        patched.setattr(export_module, "masked_images", stop)
        with pytest.raises(KeyboardInterrupt):
            made(store, tmp_path / "out", name, photos)
    assert not (tmp_path / "out").exists()
    notes = sorted((tmp_path / "out.partial" / ".parts").glob("*.json"))
    assert len([path for path in notes if path.stem.isdigit()]) == 2
    first = json.loads(notes[0].read_text())["files"]
    damaged = tmp_path / "out.partial" / sorted(first)[0]
    damaged.write_bytes(damaged.read_bytes()[:-1])  # as after a power cut
    assert made(store, tmp_path / "out", name, photos) == counts
    assert read_marker(tmp_path / "out") == read_marker(straight)
    assert not list(tmp_path.glob("*.partial")) and not (tmp_path / "out" / ".parts").exists()
    before = (tmp_path / "out" / ".export.json").stat().st_mtime_ns
    assert made(store, tmp_path / "out", name, photos) == counts  # kept
    assert (tmp_path / "out" / ".export.json").stat().st_mtime_ns == before


def test_workers_write_the_same(store: Store, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert made(store, one, "coco") == made(store, two, "coco", workers=2)
    assert read_marker(one) == read_marker(two)


def test_a_killed_export_goes_on(store: Store, tmp_path: Path, warm: Warm) -> None:
    code = (
        "import sys, time; from pathlib import Path; from salient_imagenet_data.store.reading import Store\n"
        "from salient_imagenet_data.formats.export import export_masks\n"
        "export_masks(Store(Path(sys.argv[1])), Path(sys.argv[2]), 'webdataset', unit_rows=5, "
        "done=lambda *a: time.sleep(0.3))"
    )
    process = warm.start("-c", code, store.path, tmp_path / "out")
    while process.poll() is None and not list(tmp_path.rglob("*.tar")):
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert (tmp_path / "out.partial").is_dir() and not (tmp_path / "out").exists()
    made(store, tmp_path / "out", "webdataset")
    made(store, tmp_path / "straight", "webdataset")
    assert read_marker(tmp_path / "out") == read_marker(tmp_path / "straight")


def test_other_folders_are_never_replaced_and_other_options_are_another_export(store: Store, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(SalientError, match="mine: exists"):
            made(store, tmp_path / "mine", "coco", overwrite=overwrite)
    assert (tmp_path / "mine" / "file").read_text() == "precious"
    made(store, tmp_path / "out", "coco")
    for options in ({"threshold": 0.4}, {}):
        with pytest.raises(SalientError, match="out: exists"):
            made(store, tmp_path / "out", "coco" if options else "webdataset", **options)
    made(store, tmp_path / "out", "webdataset", overwrite=True)
    assert not (tmp_path / "out" / "annotations.json").exists()


def test_what_does_not_fit_is_one_line(store: Store, photos: Path, tmp_path: Path) -> None:
    out, source = tmp_path / "out", FolderSource(photos)
    with pytest.raises(SalientError, match="--format webdataset keeps soft masks; leave --threshold out"):
        export_masks(store, out, "webdataset", threshold=0.4)
    with pytest.raises(SalientError, match="threshold of a soft mask; expected above 0, at most 1; got 0"):
        export_masks(store, out, "coco", threshold=0)
    with pytest.raises(
        SalientError, match="--format label-studio refers to the files of the images; expected --images"
    ):
        export_masks(store, out, "label-studio")
    with pytest.raises(SalientError, match="--format coco copies no image; leave --redistribute out"):
        export_masks(store, out, "coco", source=source, redistribute=True)
    with pytest.raises(SalientError, match="--redistribute is about images; expected --images beside it"):
        export_masks(store, out, "webdataset", redistribute=True)
    bare = make_store(tmp_path / "bare", ["bar/0"], [0], annotated=False)
    with pytest.raises(SalientError, match="not annotated"):
        export_masks(bare, out, "coco")
    assert not out.exists() and not (tmp_path / "out.partial").exists()


def test_sizes_that_nobody_knows_are_told(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = Store(store.path)
    widths = unknown.rows.widths.copy()
    widths[3] = 0
    monkeypatch.setitem(unknown.rows.__dict__, "widths", widths)
    with pytest.raises(SalientError, match=r"star/0003.x y: the store does not hold the image's size; .* got 1 of 22"):
        export_masks(unknown, tmp_path / "out", "coco")


def test_a_damaged_store_is_refused(store: Store, tmp_path: Path) -> None:
    bad = Path(shutil.copytree(store.path, tmp_path / "bad"))
    shard = bad / "maps.zarr/maps/c/0/0/0/0"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(SalientError, match="maps/c/0/0/0/0: damaged"):
        made(Store(bad), tmp_path / "out", "coco")
    assert not (tmp_path / "out").exists()


def test_masks_of_a_shard_are_gray_pictures(store: Store, tmp_path: Path) -> None:
    made(store, tmp_path / "wds", "webdataset")
    with tarfile.open(tmp_path / "wds" / "train-000000.tar") as tar:
        member = tar.extractfile(f"{key_of(IDS[0])}.core.png")
        assert member is not None
        with Image.open(io.BytesIO(member.read())) as picture:
            assert picture.mode == "L" and picture.size == SIZE
        assert {(m.mtime, m.uid, m.uname) for m in tar.getmembers()} == {(0, 0, "")}


def test_fiftyones_samples_refer_to_files(store: Store, photos: Path, tmp_path: Path) -> None:
    """As its importer takes them: heat maps below the folder, the user's images where they lie. (Read once with fiftyone
    1.22.1's own importer.)"""
    counts = made(store, tmp_path / "fo", "fiftyone", photos)
    info = json.loads((tmp_path / "fo" / "metadata.json").read_text())["info"]
    assert info["classes"] == list(store.class_names) and info["data_version"] == "1.0.0"
    samples = json.loads((tmp_path / "fo" / "samples.json").read_text())["samples"]
    assert [sample["image_id"] for sample in samples] == IDS and counts["images"] == 22
    for row, sample in enumerate(samples):
        assert Path(sample["filepath"]) == (photos / f"{IDS[row]}.png").absolute() and sample["tags"] == []
        assert sample["label"] == {"_cls": "Classification", "label": IDS[row].split("/")[0]}
        assert sample["metadata"] == {"_cls": "ImageMetadata", "width": 60, "height": 50}
        assert np.allclose(sample["valid"]["bounding_box"], [10 / 60, 5 / 50, 40 / 60, 40 / 50])
        masks = expected(store, row)
        assert {kind for kind in KINDS if kind in sample} == set(masks)
        for kind, mask in masks.items():
            assert sample[kind]["_cls"] == "Heatmap" and sample[kind]["range"] == [0, 255]
            with Image.open(tmp_path / "fo" / sample[kind]["map_path"]) as picture:
                assert np.array_equal(np.asarray(picture), mask)


def test_fiftyone_reads_it(store: Store, photos: Path, tmp_path: Path) -> None:
    """With its own importer, without its data base; where it is installed."""
    importers = pytest.importorskip("fiftyone.utils.data.importers", reason="too large for the extra dev")
    made(store, tmp_path / "fo", "fiftyone", photos)
    importer = importers.FiftyOneDatasetImporter(str(tmp_path / "fo"))
    with importer._to_legacy_importer() as samples:
        for row, sample in enumerate(samples):
            masks = expected(store, row)
            for kind in masks:
                assert np.array_equal(sample[kind].get_map(), masks[kind])


def test_imagenets_classes_are_called_by_words_too(tmp_path: Path) -> None:
    theirs = make_store(tmp_path / "s", [f"{wnids()[0]}_1"], [0], wnids()[:2])
    made(theirs, tmp_path / "coco", "coco")
    (image,) = json.loads((tmp_path / "coco" / "annotations.json").read_text())["images"]
    assert (image["class_name"], image["class_words"]) == ("n01440764", "tench")


def test_the_command_says_what_it_wrote_and_what_does_not_fit(store: Store, tmp_path: Path) -> None:
    def run(*arguments: object) -> Result:
        return CliRunner().invoke(
            cli, ["export", str(store.path), "--out", str(tmp_path / "out"), *map(str, arguments)]
        )

    done = run("--format", "coco", "--threshold", 1)
    assert done.exit_code == 0
    assert re.fullmatch(
        rf"wrote {tmp_path / 'out'}: \d+ core masks; \d+ core masks left out, below the threshold everywhere; 22 images; "
        r"\d+ spurious masks; \d+ spurious masks left out, below the threshold everywhere\n",
        done.stdout,
    )
    for wrong, said in (
        (("--threshold", 0.4), "--threshold is for --format coco and label-studio: masks on the Hub are soft"),
        (("--format", "coco", "--repo", "a/b"), "--repo is for --format hub: the others have no card"),
        (("--format", "coco", "--threshold", 0), "0.0 is not in the range 0<x<=1"),
    ):
        refused = run(*wrong)
        assert refused.exit_code == 2 and said in refused.stderr
