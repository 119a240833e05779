"""What the first version wrote is read by this one, and comes out again when it is written anew.

Arrays and tables are compared always; bytes where the libraries are of the versions that wrote them.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from salient_imagenet_data.evaluation.run.predictions import read_predictions
from salient_imagenet_data.hub.target import MARKER, read_marker
from salient_imagenet_data.store.manifest import file_sha256
from salient_imagenet_data.store.reading import Store
from tests.golden.write import GOLDEN, METADATA, VERSIONS, versions, write


@pytest.fixture(scope="module")
def anew(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden") / "files"
    write(folder)
    return folder


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p != VERSIONS)


def test_it_is_small() -> None:
    assert sum((GOLDEN / name).stat().st_size for name in files(GOLDEN)) < 300_000


def test_the_golden_store_is_read() -> None:
    store = Store(GOLDEN / "store")
    store.verify()
    assert len(store) == 40 and store.manifest.quarantined == 1 and store.maps[:].max() == 255
    assert store.rows[0].image_id == "bar/scene-5-090-000000" and store.rows[11].label == 1
    assert [f.kind for f in store.features] == ["core", "spurious"] * 10
    core = store.mask(4, "core")
    assert core is not None and core.shape == (64, 64) and core.max() > 0.9


def test_the_golden_export_is_read() -> None:
    assert read_marker(GOLDEN / "export") == {
        n: file_sha256(GOLDEN / "export" / n) for n in read_marker(GOLDEN / "export")
    }
    a, b = Store(GOLDEN / "export"), Store(GOLDEN / "store")
    assert a.manifest == b.manifest and np.array_equal(a.maps[:], b.maps[:])
    grids = pq.read_table(GOLDEN / "export" / "grids")
    assert np.array_equal(np.array(grids["maps"].to_pylist(), dtype=np.uint8).reshape(b.maps.shape), b.maps[:])


def test_the_golden_predictions_are_read() -> None:
    found = read_predictions(GOLDEN / "predictions.parquet", 10)
    assert found.model == "golden" and found.metadata == METADATA
    labels = Store(GOLDEN / "store").rows.labels
    hits = {name: int((a.predicted == labels).sum()) for name, a in found.conditions.items()}
    assert hits == {"clean": 27, "noise_0.25@core": 14}


def test_written_anew_the_contents_come_out_again(anew: Path) -> None:
    old, new = Store(GOLDEN / "store"), Store(anew / "store")
    for name in ("maps", "peaks", "activations"):
        assert np.array_equal(old.array(name).read(0, 40), new.array(name).read(0, 40))
    assert list(old.rows) == list(new.rows) and old.features == new.features
    for name in files(GOLDEN):
        if name.endswith(".parquet"):
            a, b = (pq.read_table(folder / name).replace_schema_metadata() for folder in (GOLDEN, anew))
            assert a.column_names == b.column_names, name
            if "/masks/" not in name:  # PNG bytes are those of the library that packs them
                assert a.to_pylist() == b.to_pylist(), name


def test_written_anew_the_bytes_come_out_again(anew: Path) -> None:
    wrote = json.loads(VERSIONS.read_text())
    if wrote != versions():
        differ = [name for name in wrote if wrote[name] != versions().get(name)]
        pytest.skip(f"written by other versions of {', '.join(differ)}: contents are compared, bytes are not")
    assert files(GOLDEN) == files(anew)
    assert read_marker(GOLDEN / "export") == read_marker(anew / "export")  # its key holds this package's version
    names = [name for name in files(GOLDEN) if name != f"export/{MARKER}"]
    assert [n for n in names if (GOLDEN / n).read_bytes() != (anew / n).read_bytes()] == []
