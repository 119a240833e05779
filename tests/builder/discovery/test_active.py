"""How many latents are positive: what is told of it, and that a build which goes on does not look again."""

from __future__ import annotations

from pathlib import Path

import pytest

from salient_imagenet_data.annotation.applying import annotate
from salient_imagenet_data.annotation.files import read_annotations, write_annotations
from salient_imagenet_data.builder.config import RunConfig
from salient_imagenet_data.builder.discovery import active
from salient_imagenet_data.builder.discovery.active import Active, active_of
from salient_imagenet_data.builder.discovery.nonlinearity import NOBODY
from salient_imagenet_data.builder.discovery.sparse import read_sparse
from salient_imagenet_data.hub.card import write_card
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.places import Folder
from salient_imagenet_data.store.reading import Store
from tests.builder.discovery.test_nonlinearity import written
from tests.builder.discovery.test_sparse import NEURONS
from tests.conftest import Run, answers_for


def test_what_is_told() -> None:
    few = "s: 8.0% of 50 latents are positive on an image, 12.5% on none of 64 images"
    assert Active(64, 0.08, 0.125).line("s", 50) == few
    many = "warning: s: 8.0% of 50 latents are positive on an image, 12.5% on none of 64 images: many for a sparse, "
    assert Active(64, 0.0801, 0.125).line("s", 50) == many + "rectified one; is it a top-k one, or of another layer?"
    none = "warning: s: 0.0% of 50 latents are positive on an image, 100.0% on none of 64 images: is it of another "
    assert Active(64, 0.0, 1.0).line("s", 50) == none + "layer, or another network?"


def test_it_is_looked_at_once(images: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces of latents, whose number makes no difference; what a power cut left empty is made again."""
    sparse, (model, _) = read_sparse(written(tmp_path / "sae", {}, None), NEURONS), load_model(weights)
    given, place = (FolderSource(images), model, sparse, RunConfig()), Folder.of(tmp_path / "work")
    monkeypatch.setattr(active, "IMAGES", 10)
    found = active_of(*given, place, "a")
    assert found is not None and found.images == 10 and 0.1 < found.positive < 0.9
    monkeypatch.setattr(active, "AT_ONCE", 7)
    assert active_of(*given, place, "b") == found
    monkeypatch.setattr(active, "sample_of", None)
    assert active_of(*given, place, "a") == found
    monkeypatch.undo()
    (tmp_path / "work" / "latents-a.json").write_text("")
    assert active_of(*given, place, "a") != found  # of 64 images, so of all 40


def test_a_build_tells_as_what_it_read_a_file_and_how_many_latents_are_positive(
    images: Path, weights: Path, tmp_path: Path, run: Run
) -> None:
    """And the store says it, to `info` and on its card."""
    path = written(tmp_path / "sae", {}, None)
    given = ("build", "--images", images, "--weights", weights, "--attacked", 0, "--group-by", "label")
    code, _, err = run(*given, "--top-features", 4, "--basis", f"sae:{path}", "--out", tmp_path / "s")
    assert code == 0
    store = Store(tmp_path / "s")
    basis = store.manifest.network["basis"]
    first, second, *_ = (line for line in err.splitlines() if path in line)
    assert first.startswith(f"warning: {path}: read as rectified, and {NOBODY}") and basis["because"] == NOBODY
    assert f"{path}: {basis['active']['positive']:.1%} of 20 latents are positive on an image" in second
    share = f"share of latents that are positive on an image: {basis['active']['positive']}"
    assert f"sha256 {basis['sha256']}; read as rectified: {NOBODY}; {share}" in run("info", store.path)[1]
    write_annotations(tmp_path / "answers.csv", answers_for(store))
    write_card(
        annotate(store.path, read_annotations(tmp_path / "answers.csv")),
        {"masks/a.parquet": (40, 9, 9)},
        tmp_path,
        "org/name",
    )
    said = (
        f"latents of a sparse autoencoder, read as `rectified` (`{NOBODY}`), by the mean of what each adds to its logit"
    )
    assert said in " ".join((tmp_path / "README.md").read_text().split())
