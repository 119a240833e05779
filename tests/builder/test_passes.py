"""A pilot, one full pass, and what must go again: the bytes of two passes, from fewer images through the network."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from salient_imagenet_data.builder.build import build, build_until
from salient_imagenet_data.builder.config import BuildConfig, RunConfig
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.store.reading import Store
from tests.builder.test_build import tree
from tests.conftest import CONFIG as WITH_ATTACK
from tests.warm import Warm

CONFIG = dataclasses.replace(WITH_ATTACK, attacked=0)
TWO_PASSES = RunConfig(pilot=0)
ALL, FEW = RunConfig(pilot=1, candidates=12), RunConfig(pilot=1, candidates=5)
"""All features of the network are candidates, so none can be missed; or a few, of which some are."""


def made(
    images: Path, weights: Path, out: Path, run: RunConfig, config: BuildConfig = CONFIG, **options: object
) -> tuple[Store, list[int]]:
    """The store, and the sizes of the batches that went through the network."""
    model, sha256 = load_model(weights)
    seen, plain = [], model.maps
    model.maps = lambda x: (torch.is_inference_mode_enabled() and seen.append(len(x)), plain(x))[1]  # type: ignore[method-assign]
    store = build(FolderSource(images), model, out, weights_sha256=sha256, config=config, run=run, **options)  # type: ignore[arg-type]
    return store, seen


@pytest.fixture(scope="module")
def twice(images: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of two passes."""
    return tree(made(images, weights, tmp_path_factory.mktemp("twice") / "store", TWO_PASSES)[0].path)


@pytest.mark.parametrize("group_by", ["label", "prediction"])
@pytest.mark.parametrize("edition", ["full", "top65"])
@pytest.mark.parametrize("candidates", [4, 5, 12])
def test_the_bytes_are_those_of_two_passes(
    images: Path, weights: Path, tmp_path: Path, group_by: str, edition: str, candidates: int
) -> None:
    config = dataclasses.replace(CONFIG, group_by=group_by, edition=edition)
    both, _ = made(images, weights, tmp_path / "both", TWO_PASSES, config)
    run = RunConfig(pilot=1, candidates=candidates)
    assert tree(made(images, weights, tmp_path / "once", run, config)[0].path) == tree(both.path)


def test_where_no_candidate_is_missed_each_image_goes_once(
    twice: dict[str, bytes], images: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """40 images in units of 16 and batches of 5, after a pilot of one image of each of 10 classes."""
    once, seen = made(images, weights, tmp_path / "once", ALL)
    assert seen == [5, 5] + [5, 5, 5, 1] * 2 + [5, 3]
    assert tree(once.path) == twice and capsys.readouterr().err == ""


def test_what_the_pilot_missed_goes_again_and_is_told(
    twice: dict[str, bytes], images: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    once, seen = made(images, weights, tmp_path / "once", FEW)
    again = sum(seen) - 50
    assert 0 < again < 40 and tree(once.path) == twice
    assert capsys.readouterr().err.startswith(
        f"{again} of 40 images go through the network again: no candidates were features of "
    )


@pytest.mark.parametrize(("edition", "most"), [("full", 40), ("top65", 20)])
def test_few_images_take_two_passes_and_no_pilot(
    images: Path, weights: Path, tmp_path: Path, edition: str, most: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pilot of more than half of what it may save costs more than it is worth."""
    config = dataclasses.replace(CONFIG, edition=edition, top_features=2, top_images=1)
    pilot = most // 10
    store, seen = made(images, weights, tmp_path / "store", RunConfig(pilot=pilot), config)
    assert sum(seen) == 40 + len(store)
    said = f"that are kept go again, as a pilot of {10 * pilot} would save {most} from it at most"
    assert said in capsys.readouterr().err
    _, seen = made(images, weights, tmp_path / "other", RunConfig(pilot=most // 20, candidates=12), config)
    assert sum(seen) >= 40 + 10 * (most // 20) and capsys.readouterr().err[:10] != "few images"


@pytest.mark.parametrize("run", [ALL, FEW], ids=["all", "few"])
@pytest.mark.parametrize("edition", ["full", "top65"])
def test_a_broken_image_moves_the_batches_of_a_second_pass(
    images: Path, weights: Path, tmp_path: Path, run: RunConfig, edition: str
) -> None:
    """It is left out of the second pass, so images come into batches of other sizes, and those must go again."""
    copy = Path(shutil.copytree(images, tmp_path / "images"))
    victim = sorted((copy / "disk").iterdir())[1]
    victim.write_bytes(victim.read_bytes()[:100])
    config = dataclasses.replace(CONFIG, edition=edition)
    both, _ = made(copy, weights, tmp_path / "both", TWO_PASSES, config)
    once, _ = made(copy, weights, tmp_path / "once", run, config)
    assert once.manifest.quarantined == 1 and tree(once.path) == tree(both.path)


def test_killed_and_resumed_gives_the_same_bytes(
    bare_store: Store, images: Path, weights: Path, tmp_path: Path, warm: Warm
) -> None:
    """SIGKILL in the pilot, the full pass, what goes again, and while the store is written."""
    out = tmp_path / "store"
    command = ("-m", "tests.builder.units.slow_build", images, weights, out)
    environment = {**os.environ, "SLOW": "0.15", "PILOT": str(FEW.pilot), "CANDIDATES": str(FEW.candidates)}
    for marker in ("claim.json", "work/pilot-*", "work/features-*-00001.npz", "work/maps-*-00000.npz"):
        process = warm.start(*command, env=environment)
        while process.poll() is None and not list(out.glob(marker)):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL and not (out / "manifest.json").exists()
    before = {path.name: path.stat().st_mtime_ns for path in (out / "work").glob("[pf]*.npz")}
    assert len(before) == 4
    _, seen = made(images, weights, out, FEW, WITH_ATTACK, resume=True)
    assert sum(seen) < 40 and tree(out) == tree(bare_store.path), "else finished units were done again"


def test_units_are_taken_for_what_they_are_whatever_the_pilot_was(
    twice: dict[str, bytes], images: Path, weights: Path, tmp_path: Path
) -> None:
    """A stopped build may go on with another pilot, which changes no byte: maps of other candidates are not taken."""
    out = tmp_path / "store"
    model, sha256 = load_model(weights)
    build_until(FolderSource(images), model, out, stop_after="features", weights_sha256=sha256, config=CONFIG, run=FEW)
    _, seen = made(images, weights, out, dataclasses.replace(FEW, candidates=6), resume=True)
    assert sum(seen) >= 40, "the pilot's units are the same, the full pass's are not"
    assert tree(out) == twice


def test_more_features_than_candidates(images: Path, weights: Path, tmp_path: Path) -> None:
    """As many candidates are taken as there are features to choose."""
    config = dataclasses.replace(CONFIG, top_features=7)
    both, _ = made(images, weights, tmp_path / "both", TWO_PASSES, config)
    once, _ = made(images, weights, tmp_path / "once", RunConfig(pilot=1, candidates=2), config)
    assert tree(once.path) == tree(both.path)
