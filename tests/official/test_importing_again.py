"""An import that is killed, broken, repeated or given a folder of others, and its command."""

import json
import shutil
import time
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.names import LOCK
from salient_imagenet_data.official.importing import ImportConfig, import_official
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run
from tests.official.importing import CONFIG, bytes_of
from tests.release_files import WNIDS, grid_of, jpeg, names_csv, release, upsampled, write_zip
from tests.warm import Warm


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


def test_killed_and_run_again_gives_the_same_bytes(tmp_path: Path, warm: Warm) -> None:
    release_zip = big_release(tmp_path / "r.zip")
    config = ImportConfig(shard_rows=8)
    whole = import_official(release_zip, tmp_path / "whole", config=config, workers=1).path
    code = (
        "from salient_imagenet_data.official.importing import ImportConfig, import_official\n"
        f"import_official({str(release_zip)!r}, {str(tmp_path / 'cut')!r}, config=ImportConfig(shard_rows=8), workers=1)"
    )
    process = warm.start("-c", code)
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "cut" / "work").glob("shard-*.json"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    with pytest.raises(SalientError, match="not a finished store; .*got a build that was stopped"):
        Store(tmp_path / "cut")
    with pytest.raises(SalientError, match="exists; expected a new folder; use --resume"):
        import_official(release_zip, tmp_path / "cut", config=config, workers=1)
    with pytest.raises(SalientError, match="stopped import of other input"):
        import_official(
            release_zip, tmp_path / "cut", config=ImportConfig(shard_rows=8, split="val"), workers=1, resume=True
        )
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "cut" / "work").glob("shard-*.json")}
    assert 5 <= len(kept) < 50
    resumed = import_official(release_zip, tmp_path / "cut", config=config, workers=2, resume=True).path
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
        import_official(path, tmp_path / "store", config=CONFIG, workers=2)
    config = ImportConfig(preprocessing=Preprocessing(60, 56), shard_rows=4, broken="skip")
    store = import_official(path, tmp_path / "store", config=config, workers=2, overwrite=True)
    assert store.manifest.quarantined == 3 and store.manifest.origin["masks"] == 8 and len(store) == 10
    rows = pq.read_table(store.path / "quarantine.parquet").to_pylist()
    assert [r["image_id"] for r in rows] == [f"n01440764_{i}" for i in (1, 2, 3)]
    assert "feature_17/n01440764_1.JPEG: cannot decode; got OSError" in rows[0]["reason"]
    assert "got L, 20 x 20" in rows[1]["reason"] and "got 10 other bytes" in rows[2]["reason"]
    bad = [r["image_id"] in {f"n01440764_{i}" for i in (1, 2, 3)} for r in map(vars, store.rows)]
    assert not any(store.rows[i].in_top[1] or store.maps[i, 1].any() for i in np.flatnonzero(bad))
    again = import_official(path, tmp_path / "again", config=config, workers=1)
    assert bytes_of(again.path) == bytes_of(store.path)


@pytest.mark.parametrize("name", ["work/notes.txt", "manifest.json", "claim.json", "maps.zarr/mine", "thesis.txt"])
def test_what_others_put_there_is_neither_replaced_nor_removed(
    archive: Path, tmp_path: Path, run: Run, name: str
) -> None:
    frame = ("--resize", 60, "--crop", 56, "--workers", 1)
    theirs = tmp_path / "out" / name
    theirs.parent.mkdir(parents=True)
    theirs.write_text('{"of": "another tool"}')
    for option in ("--overwrite", "--resume"):
        code, _, err = run("import-official", archive, "--out", tmp_path / "out", *frame, option)
        assert code == 2 and err.count("\n") == 1 and name.partition("/")[0] in err, err
        assert [p for p in (tmp_path / "out").rglob("*") if p.is_file() and p.name != LOCK] == [theirs]
        assert theirs.read_text() == '{"of": "another tool"}'


def test_a_folder_of_ones_own_beside_a_store_outlives_its_replacement(archive: Path, tmp_path: Path, run: Run) -> None:
    words = ("import-official", archive, "--out", tmp_path / "out", "--resize", 60, "--crop", 56, "--workers", 1)
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
    frame = ("--resize", 60, "--crop", 56, "--workers", 1)
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
        code, out, err = run("import-official", source, "--out", tmp_path / "c", "--workers", 1)
        assert code == 2 and message in err and err.count("\n") == 1, err
    assert run("import-official", archive, "--out", tmp_path / "c", "--grid", "x")[0] == 2
