from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.hub import export as export_module
from salient_imagenet_data.hub.export import Shard, export
from salient_imagenet_data.hub.layout import tag_of
from salient_imagenet_data.hub.png import encode_mask
from salient_imagenet_data.hub.target import MARKER, files_of, read_marker
from salient_imagenet_data.imagenet import is_imagenet, wnids
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.masks import to_uint8, union_in_crop
from salient_imagenet_data.store.manifest import file_sha256
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.whole_file import UNFINISHED
from tests.hub.conftest import IDS, LABELS, SMALL
from tests.hub.stores import make_store, write_images
from tests.warm import Warm


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (32, 32), (60, 41)])
def test_png_is_lossless_and_pillow_reads_it(shape: tuple[int, int]) -> None:
    stream = np.random.default_rng(0)
    for mask in (
        stream.integers(0, 256, shape, dtype=np.uint8),
        np.zeros(shape, np.uint8),
        np.full(shape, 255, np.uint8),
    ):
        with Image.open(io.BytesIO(encode_mask(mask))) as image:
            image.verify()
        with Image.open(io.BytesIO(encode_mask(mask))) as image:
            assert image.mode == "L" and np.array_equal(np.asarray(image), mask)


def test_masks_at_224_are_smaller_than_pillow_writes_them(drawn: Store) -> None:
    ours = theirs = 0
    for maps in drawn.maps[:20]:
        mask = to_uint8(union_in_crop(maps, np.array([True, False, True, False, False]), 224, 224))
        buffer = io.BytesIO()
        Image.fromarray(mask).save(buffer, format="PNG", optimize=True)
        ours, theirs = ours + len(encode_mask(mask)), theirs + len(buffer.getvalue())
    assert ours < 0.75 * theirs


def test_files_and_row_groups(exported: Path) -> None:
    names = files_of(exported)
    assert names[:2] == ["README.md", "croissant.json"] and "picture.png" in names and "store/manifest.json" in names
    assert [n for n in names if n.startswith("grids/")] == [f"grids/train-{i:05d}-of-00005.parquet" for i in range(5)]
    assert not [n for n in names if n.endswith((".py", ".partial"))]
    shard = pq.ParquetFile(exported / "grids/train-00000-of-00005.parquet")
    assert [shard.metadata.row_group(i).num_rows for i in range(shard.metadata.num_row_groups)] == [4, 4, 2]
    assert str(shard.schema_arrow.field("maps").type) in (
        "fixed_size_list<element: fixed_size_list<element: uint8>[49]>[5]",
        "fixed_size_list<item: fixed_size_list<item: uint8>[49]>[5]",
    )


def test_the_marker_holds_every_hash_and_the_store_is_whole(exported: Path, drawn: Store) -> None:
    assert read_marker(exported) == {name: file_sha256(exported / name) for name in files_of(exported)}
    copy = Store(exported)  # an export opens as the store in it
    copy.verify()
    assert copy.path == exported / "store" and copy.manifest == drawn.manifest


def test_the_card_is_filled_in(exported: Path, drawn: Store) -> None:
    text = (exported / "README.md").read_text()
    assert "$" not in text and drawn.manifest.weights_sha256 in text and tag_of("1.0.0") in text
    head, body = text.removeprefix("---\n").split("\n---\n", 1)
    kinds = [f.kind for f in drawn.features]
    assert f"{kinds.count('core')} core,\n  {kinds.count('spurious')} spurious" in body
    told = sum(bool(f.reasons) for f in drawn.features)
    assert 0 < told < 20 and f"0 without answers; {told} with reasons in words." in body
    assert "3 classes have a spurious\n  feature, 1 have no core feature" in body
    for config in ("masks", "grids", "features"):
        size = sum(p.stat().st_size for p in (exported / config).iterdir())
        assert re.search(rf"\| `{config}`.* {size:,} \|", body)
    assert "n<1K" in head and "sequence: uint8" in head and "list:" not in head


def test_an_imagenet_card_shows_words_and_terms(tmp_path: Path) -> None:
    ids = [f"{wnids()[i]}_{i}" for i in range(30)]
    store = make_store(tmp_path / "s", ids, list(range(30)), wnids())
    out = export(store, tmp_path / "out", repo="org/name")
    text = (out / "README.md").read_text()
    assert "# Salient ImageNet masks" in text and "'0': tench" in text and 'load_dataset("org/name"' in text
    assert "ImageNet's images may not be redistributed" in text
    with pytest.raises(SalientError, match="the images are ImageNet's; expected .* no redistribution"):
        images = write_images(tmp_path / "images", [f"{w}/{w}_{i}" for i, w in enumerate(wnids()[:30])])
        export(store, tmp_path / "two", source=FolderSource(images), redistribute=True)
    assert not (tmp_path / "two").exists() and not (tmp_path / "two.partial").exists()


def test_images_go_out_only_when_they_may(drawn: Store, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(SalientError, match="expected --redistribute beside --images"):
        export(drawn, tmp_path / "out", source=FolderSource(photos), config=SMALL)
    hidden = write_images(tmp_path / "hidden", ["a/ILSVRC2012_val_00000001", "b/x"])
    store = make_store(tmp_path / "s", ["ILSVRC2012_val_00000001", "b/x"], [0, 1], ("a", "b"))
    with pytest.raises(SalientError, match="the images are ImageNet's"):
        export(store, tmp_path / "out", source=FolderSource(hidden), redistribute=True, config=SMALL)
    out = export(drawn, tmp_path / "out", source=FolderSource(photos), redistribute=True, config=SMALL)
    rows = pq.read_table(out / "with_images").to_pylist()
    assert [r["image_id"] for r in rows] == IDS
    assert rows[5]["image"] == {"bytes": (photos / f"{IDS[5]}.png").read_bytes(), "path": None}
    mask = drawn.image_mask(6, "core")
    assert mask is not None
    with Image.open(io.BytesIO(rows[6]["core_mask"]["bytes"])) as image:
        assert np.array_equal(np.asarray(image), to_uint8(mask[0]))
    assert rows[0]["spurious_mask"] is None and "with_images" in (out / "README.md").read_text()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("n01440764", True),
        ("/data/train/n01440764/n01440764_18.JPEG", True),
        ("C:\\val\\ILSVRC2012_val_00000293.JPEG", True),
        ("n01440764_10026_n01440764", True),
        ("deer/0012", False),
        ("n0144", False),
    ],
)
def test_what_counts_as_imagenet(name: str, expected: bool) -> None:
    assert is_imagenet(name) is expected


def test_an_export_is_the_same_twice_and_kept(exported: Path, drawn: Store, tmp_path: Path) -> None:
    again = export(drawn, tmp_path / "again", config=SMALL, workers=2)
    assert read_marker(again) == read_marker(export(drawn, tmp_path / "third", config=SMALL))
    before = (again / MARKER).stat().st_mtime_ns
    assert export(drawn, again, config=SMALL) == again and (again / MARKER).stat().st_mtime_ns == before
    with pytest.raises(SalientError, match="exists; expected a new folder, or an export of the same store"):
        export(drawn, again)  # other row groups
    export(drawn, again, overwrite=True)
    assert not (again / "grids" / "train-00000-of-00005.parquet").exists()


def test_other_folders_are_never_replaced(drawn: Store, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(SalientError, match="mine: exists"):
            export(drawn, tmp_path / "mine", overwrite=overwrite)
    assert (tmp_path / "mine" / "file").read_text() == "precious"


def test_a_stopped_export_is_never_taken_for_whole_and_goes_on(
    drawn: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    write = export_module._write

    def stop_at_seventh(rows: object, shard: Shard, folder: Path, config: object) -> None:
        if len(written) == 7:
            (folder / (shard.path + UNFINISHED)).write_bytes(b"half")
            raise KeyboardInterrupt
        written.append(shard.path)
        write(rows, shard, folder, config)  # type: ignore[arg-type]

    monkeypatch.setattr(export_module, "_write", stop_at_seventh)
    with pytest.raises(KeyboardInterrupt):
        export(drawn, tmp_path / "out", config=SMALL)
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial" / "README.md").exists()
    monkeypatch.setattr(export_module, "_write", lambda *a: (written.append(a[1].path), write(*a)))
    out = export(drawn, tmp_path / "out", config=SMALL)
    assert len(written) == len(set(written)) == 12 and not list(tmp_path.rglob("*.partial"))
    assert read_marker(out) == read_marker(export(drawn, tmp_path / "straight", config=SMALL))


@pytest.mark.parametrize("damage", ["emptied", "half", "one bit"])
def test_a_shard_that_a_power_cut_damaged_is_written_again(
    drawn: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr(export_module, "write_picture", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        export(drawn, tmp_path / "out", config=SMALL)
    monkeypatch.undo()
    shard = sorted((tmp_path / "out.partial" / "grids").iterdir())[0]
    data = bytearray(shard.read_bytes())
    data[200] ^= damage == "one bit"
    shard.write_bytes({"emptied": b"", "half": data[: len(data) // 2]}.get(damage, data))
    out = export(drawn, tmp_path / "out", config=SMALL)
    assert read_marker(out) == read_marker(export(drawn, tmp_path / "straight", config=SMALL))


def test_a_killed_export_goes_on(drawn: Store, tmp_path: Path, clients: Warm) -> None:
    code = (
        "import sys, time; from pathlib import Path; from salient_imagenet_data.store.reading import Store\n"
        "from salient_imagenet_data.hub import export as e\n"
        "from tests.hub.conftest import SMALL\n"
        "e.export(Store(Path(sys.argv[1])), Path(sys.argv[2]), config=SMALL, done=lambda *a: time.sleep(0.2))"
    )
    process = clients.start("-c", code, drawn.path, tmp_path / "out")
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("grids/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert (tmp_path / "out.partial").is_dir() and not (tmp_path / "out").exists()
    out = export(drawn, tmp_path / "out", config=SMALL)
    assert read_marker(out) == read_marker(export(drawn, tmp_path / "straight", config=SMALL))


def test_a_damaged_or_unannotated_store_is_refused(drawn: Store, tmp_path: Path) -> None:
    bad = Path(shutil.copytree(drawn.path, tmp_path / "bad"))
    shard = bad / "maps.zarr/peaks/c/0/0"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(SalientError, match="peaks/c/0/0: damaged"):
        export(Store(bad), tmp_path / "out", config=SMALL)
    bare = make_store(tmp_path / "bare", IDS, LABELS, annotated=False)
    with pytest.raises(SalientError, match="not annotated"):
        export(bare, tmp_path / "out", config=SMALL)
    assert not (tmp_path / "out").exists()


def test_croissant_is_valid_and_reads_the_rows(drawn: Store, tmp_path: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant", reason="in the extra dev")
    out = export(drawn, tmp_path / "out", config=SMALL)
    about = mlcroissant.Dataset(str(out / "croissant.json"))
    assert not about.metadata.issues.errors
    rows = list(about.records("grids"))
    assert len(rows) == 44 and np.array_equal(np.array(rows[6]["grids/maps"]).reshape(5, 7, 7), drawn.maps[6])
    assert len(list(about.records("features"))) == 20
    sums = {
        f["@id"]: f["sha256"] for f in json.loads((out / "croissant.json").read_text())["distribution"] if "sha256" in f
    }
    assert sums == {
        name: file_sha256(out / name) for name in files_of(out) if re.match("(masks|grids|features)/", name)
    }


def test_the_command_exports_and_says_what_is_wrong(drawn: Store, photos: Path, tmp_path: Path, clients: Warm) -> None:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return clients.run("-m", "salient_imagenet_data.cli", "export", drawn.path, *arguments)

    done = run("--out", tmp_path / "out")
    assert done.returncode == 0 and f"wrote {tmp_path / 'out'}" in done.stdout
    done = run("--out", tmp_path / "out", "--images", photos)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "--redistribute" in done.stderr
