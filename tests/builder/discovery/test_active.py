"""How many latents are positive: what is told of it, and that a build which goes on does not look again."""

from __future__ import annotations

from pathlib import Path

import pytest

from salient_imagenet_data.builder.config import RunConfig
from salient_imagenet_data.builder.discovery import active
from salient_imagenet_data.builder.discovery.active import Active, active_of
from salient_imagenet_data.builder.discovery.nonlinearity import NOBODY
from salient_imagenet_data.builder.discovery.sparse import read_sparse
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.places import Folder
from tests.builder.discovery.test_nonlinearity import written
from tests.builder.discovery.test_sparse import NEURONS, made


def test_what_is_told() -> None:
    few = "s: 20.0% of 50 latents are positive on an image, 12.5% on none of 64 images"
    assert Active(64, 0.2, 0.125).line("s", 50) == few
    many = "warning: s: 20.0% of 50 latents are positive on an image, 12.5% on none of 64 images: many for a sparse, "
    assert Active(64, 0.2001, 0.125).line("s", 50) == many + "rectified one; is it a top-k one, or of another layer?"
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
    images: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "sae", {}, None)
    store = made(images, weights, tmp_path / "s", basis=f"sae:{path}")
    basis = store.manifest.network["basis"]
    first, second, *_ = (line for line in capsys.readouterr().err.splitlines() if path in line)
    assert first.startswith(f"warning: {path}: read as rectified, and {NOBODY}") and basis["because"] == NOBODY
    assert f"{path}: {basis['active']['positive']:.1%} of 20 latents are positive on an image" in second
