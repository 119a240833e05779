"""A build on a CUDA device: near that of the processor in every precision, and the same bytes twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from salient_imagenet_data.annotation.files import read_annotations
from salient_imagenet_data.annotation.verdicts import Annotations
from salient_imagenet_data.builder.build import build
from salient_imagenet_data.builder.choices import Precision
from salient_imagenet_data.builder.config import BuildConfig, RunConfig
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.store.reading import Store
from tests.conftest import CONFIG

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

SMALL = replace(CONFIG, shard_rows=8, attacked=0)
"""Five units, so that some are read while others are computed."""


def built(
    images: Path,
    weights: Path,
    out: Path,
    config: BuildConfig = SMALL,
    device: str = "cuda",
    annotations: Annotations | None = None,
    basis: str | None = None,
) -> Store:
    model, sha256 = load_model(weights)
    run = RunConfig(4, device)
    return build(
        FolderSource(images),
        model,
        out,
        weights_sha256=sha256,
        config=config,
        run=run,
        annotations=annotations,
        basis=basis,
    )


def shares(exact: Store, other: Store) -> tuple[float, float]:
    """Of (class, feature) pairs in common, and the mean difference of the maps of these in levels."""
    pairs = [{(f.class_index, f.feature_index): f.slot for f in s.features} for s in (exact, other)]
    common = sorted(pairs[0].keys() & pairs[1].keys())
    labels = exact.rows.labels
    off = [
        np.abs(a.maps[rows, pairs[0][p]].astype(int) - b.maps[rows, pairs[1][p]].astype(int)).mean()
        for p in common
        for rows, a, b in ((np.flatnonzero(labels == p[0]), exact, other),)
    ]
    return len(common) / len(pairs[0]), float(np.mean(off))


@pytest.fixture(scope="module")
def exact(images: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return built(images, weights, tmp_path_factory.mktemp("exact") / "s", device="cpu")


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_every_precision_is_near_the_processor(
    exact: Store, images: Path, weights: Path, tmp_path: Path, precision: Precision, compiled: bool
) -> None:
    config = replace(SMALL, precision=precision, compiled=compiled)
    found = built(images, weights, tmp_path / "s", config)
    assert [r.image_id for r in found.rows] == [r.image_id for r in exact.rows]
    kept, off = shares(exact, found)
    assert (kept, off < 0.02) == (1.0, True) if precision == "fp32" else kept >= 0.9 and off < 1.5, (kept, off)
    again = built(images, weights, tmp_path / "again", config)
    assert np.array_equal(found.maps[:], again.maps[:]) and np.array_equal(found.peaks[:], again.peaks[:])


def test_known_pairs_in_one_pass(exact: Store, images: Path, weights: Path, answers_file: Path, tmp_path: Path) -> None:
    found = built(images, weights, tmp_path / "s", annotations=read_annotations(answers_file))
    assert shares(exact, found)[1] < 0.02


def test_components_are_those_of_the_processor(images: Path, weights: Path, tmp_path: Path) -> None:
    """Their maps are of features that nearly cancel, and are summed in float64."""
    exact = built(images, weights, tmp_path / "cpu", device="cpu", basis="pca")
    found = built(images, weights, tmp_path / "cuda", basis="pca")
    assert exact.maps[:].any() and shares(exact, found)[1] < 1.0


def test_an_image_that_breaks_in_a_later_unit_is_told(weights: Path, images: Path, tmp_path: Path) -> None:
    copy = tmp_path / "images"
    for path in sorted(images.glob("*/*")):
        (copy / path.parent.name).mkdir(parents=True, exist_ok=True)
        (copy / path.parent.name / path.name).write_bytes(path.read_bytes())
    broken = sorted(copy.glob("*/*"))[29]
    broken.write_bytes(broken.read_bytes()[:60])
    found = built(copy, weights, tmp_path / "s")
    assert found.manifest.quarantined == 1 and len(found.rows) == 39
