"""Editions, stages, one pass or two, locks and engines: all give the bytes of a plain build."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from salient_imagenet_data.annotation.files import read_annotations
from salient_imagenet_data.builder.build import build, build_until
from salient_imagenet_data.builder.config import BuildConfig, RunConfig
from salient_imagenet_data.builder.units.engine import default_threads
from salient_imagenet_data.builder.units.unit import _one_behind
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.networks.devices import device_of
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.places import Folder
from salient_imagenet_data.store.features import features_of
from salient_imagenet_data.store.reading import Store
from tests import s3
from tests.builder.test_build import tree
from tests.conftest import CONFIG
from tests.warm import Warm

ROOT = Path(__file__).parents[3]
OPTIONS = ["--group-by", "label", "--top-features", "4", "--top-images", "2", "--batch-size", "5"]


def made(images: Path, weights: Path, out: Path | str, **options: object) -> Store:
    model, sha256 = load_model(weights)
    return build(FolderSource(images), model, out, weights_sha256=sha256, config=CONFIG, **options)  # type: ignore[arg-type]


def test_the_top_edition_holds_the_top_images_and_nothing_else(
    bare_store: Store, images: Path, weights: Path, tmp_path: Path
) -> None:
    config = BuildConfig(group_by="label", top_features=4, top_images=2, shard_rows=16, batch_size=5, edition="top65")
    model, sha256 = load_model(weights)
    top = build(FolderSource(images), model, tmp_path / "store", weights_sha256=sha256, config=config)
    kept = [i for i, row in enumerate(bare_store.rows) if any(row.in_top)]
    assert 0 < len(kept) < len(bare_store) and top.manifest.edition == "top65"
    assert list(top.rows) == [bare_store.rows[i] for i in kept]
    # Other images share a batch here, so the last bit may differ.
    assert np.abs(np.asarray(top.maps).astype(int) - bare_store.maps[kept].astype(int)).max() <= 1
    assert np.allclose(top.peaks, bare_store.peaks[kept], rtol=1e-5)
    assert np.array_equal(top.activations, bare_store.activations[kept])
    assert top.features == bare_store.features
    top.verify()


@pytest.mark.parametrize("edition", ["full", "top65"])
def test_known_pairs_take_one_pass(
    store: Store, images: Path, weights: Path, answers_file: Path, tmp_path: Path, edition: str
) -> None:
    """Each image goes through the network once, and the store is that of two passes."""
    model, sha256 = load_model(weights)
    seen, plain = [], model.maps
    model.maps = lambda x: (seen.append(len(x)), plain(x))[1]  # type: ignore[method-assign]
    config = BuildConfig(group_by="label", top_features=4, top_images=2, shard_rows=16, batch_size=5, edition=edition)  # type: ignore[arg-type]
    once = build(
        FolderSource(images), model, tmp_path / "store", weights_sha256=sha256, config=config,
        annotations=read_annotations(answers_file),
    )  # fmt: skip
    assert sum(seen) == len(store)
    kept = [i for i, row in enumerate(store.rows) if edition == "full" or any(row.in_top)]
    assert list(once.rows) == [store.rows[i] for i in kept]
    assert np.array_equal(once.maps, store.maps[kept]) and np.array_equal(once.peaks, store.peaks[kept])
    assert once.features == store.features


def test_stages_one_at_a_time(bare_store: Store, images: Path, weights: Path, tmp_path: Path) -> None:
    model, sha256 = load_model(weights)
    out = tmp_path / "store"
    for stage in ("features", "ranking"):
        assert (
            build_until(
                FolderSource(images), model, out, stop_after=stage, weights_sha256=sha256, config=CONFIG, resume=True
            )
            is None
        )  # type: ignore[arg-type]
        assert (out / "features.parquet").exists() == (stage == "ranking")
    assert features_of(pq.read_table(out / "features.parquet")) == bare_store.features
    made(images, weights, out, resume=True)
    assert tree(out) == tree(bare_store.path)


def test_threads_change_no_byte(bare_store: Store, images: Path, weights: Path, tmp_path: Path) -> None:
    made(images, weights, tmp_path / "store", run=RunConfig(threads=7))
    assert tree(tmp_path / "store") == tree(bare_store.path)


def test_a_second_build_is_refused_with_the_first_ones_host_and_pid(
    images: Path, weights: Path, tmp_path: Path, warm: Warm
) -> None:
    out = tmp_path / "store"
    command = ("-m", "tests.builder.units.slow_build", images, weights, out)
    first = warm.start(*command, env={**os.environ, "SLOW": "0.5"})
    try:
        while first.poll() is None and not (out / "claim.json").exists():
            time.sleep(0.01)
        for options in ({"resume": True}, {"overwrite": True}, {}):
            with pytest.raises(
                SalientError, match=rf"another process is writing here; got host \S+, pid {first.pid}; wait"
            ):
                made(images, weights, out, **options)
        assert (out / "claim.json").exists()
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    made(images, weights, out, overwrite=True)


def command_line(images: Path, weights: Path, out: Path, *more: str) -> list[str]:
    arguments = ["build", "--images", str(images), "--weights", str(weights), "--out", str(out)]
    return [*arguments, *OPTIONS, "--device", "cpu", *more]


SMALL_UNITS = """
import functools, importlib
from salient_imagenet_data.cli import main
config = importlib.import_module("salient_imagenet_data.builder.config")
config.BuildConfig = functools.partial(config.BuildConfig, shard_rows=16)
"""
"""The command line with three units of these images, so that each process has one to do."""

TORCHRUN = """
from torch.distributed.launcher.api import elastic_launch
from torch.distributed.run import config_from_args, parse_args

def rank():
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"exit status {end.code}") from end

words = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "--nproc-per-node", "2", "program"]
config, _, _ = config_from_args(parse_args(words))
config.start_method = "fork"
elastic_launch(config, rank)()
"""
"""What `torchrun --standalone --nproc-per-node 2` does, but its processes are forks and need not import torch anew."""


def test_torchrun_with_two_processes_and_a_pilot(images: Path, weights: Path, tmp_path: Path, warm: Warm) -> None:
    """The bytes of one process in two passes."""
    alone, together = tmp_path / "alone", tmp_path / "together"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = command_line(images, weights, alone, "--pilot", "0")
    one = warm.run("-c", f"{SMALL_UNITS}main()", *words, env=environment)
    words = command_line(images, weights, together, "--pilot", "1", "--candidates", "5")
    two = warm.run("-c", SMALL_UNITS + TORCHRUN, *words, env=environment)
    for done in (one, two):
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("images go through the network again: no candidates were") == (done is two)
    assert tree(alone) == tree(together)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a bucket of an S3 service on this machine."""
    s3fs = pytest.importorskip("s3fs", reason="s3fs is an optional extra")
    pytest.importorskip("moto", reason="moto comes with the extra dev")
    s3fs.S3FileSystem.clear_instance_cache()  # one of an earlier service knows its address
    with s3.service() as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in {**environment, "HF_ASSETS_CACHE": str(tmp_path_factory.mktemp("assets"))}.items():
            patch.setenv(name, value)
        yield f"s3://{s3.BUCKET}"


def test_an_object_store_killed_in_the_middle_holds_the_same_bytes(
    bare_store: Store, images: Path, weights: Path, bucket: str, warm: Warm
) -> None:
    """The first run is killed when it has put one unit; the second goes on, and is killed while it uploads."""
    out = f"{bucket}/some/store"
    place = Folder.of(out)
    command = ("-m", "tests.builder.units.slow_build", images, weights, out)
    for seen in ({"work"}, {"work", "features.parquet"}):
        run = warm.start(*command, env={**os.environ, "SLOW": "0.2"})
        while run.poll() is None and not (seen <= place.names() and len(place.child("work").names()) > 1):
            time.sleep(0.05)
        run.send_signal(signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL and "manifest.json" not in place.names()
    with pytest.raises(SalientError, match="not a finished store.*got a build that was stopped"):
        Store(out)
    with pytest.raises(SalientError, match="store: exists; expected a new folder"):
        made(images, weights, out)
    store = made(images, weights, out, resume=True)
    assert tree(store.path) == tree(bare_store.path)
    assert "work" not in place.names() and "manifest.json" in place.names()
    made(images, weights, out, overwrite=True).verify()


@pytest.fixture
def cluster(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Ray cluster of two worker processes on this machine, which have the environment of this one."""
    ray = pytest.importorskip("ray", reason="ray is an optional extra")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.usefixtures("cluster")
def test_ray_workers_need_no_disk_in_common_and_may_be_killed(
    bare_store: Store, images: Path, weights: Path, tmp_path: Path, bucket: str
) -> None:
    """An object store, a pilot and a worker that is killed; then a folder and directions, without any of that."""
    from salient_imagenet_data.builder.units.ray import RayEngine
    from tests.builder.units.murder import KillsItsFirstWorker

    model, sha256 = load_model(weights)
    source, pilot = KillsItsFirstWorker(FolderSource(images), tmp_path / "dead"), RunConfig(pilot=1, candidates=5)
    remote = build(
        source, model, f"{bucket}/store", weights_sha256=sha256, config=CONFIG, run=pilot, engine=RayEngine(workers=2)
    )
    assert tree(remote.path) == tree(bare_store.path)
    assert json.loads((tmp_path / "dead").read_text()) != os.getpid()
    there = made(images, weights, tmp_path / "there", basis="pca", engine=RayEngine(workers=2))
    assert tree(there.path) == tree(made(images, weights, tmp_path / "here", basis="pca").path)


@pytest.mark.parametrize(
    ("name", "rank", "devices", "expected"),
    [
        (None, "0", 0, "cpu"),
        (None, "0", 1, "cuda:0"),
        ("cuda", "5", 8, "cuda:5"),
        ("cuda", "5", 1, "cuda:0"),
        ("cuda:3", "5", 8, "cuda:3"),
        ("cpu", "5", 8, "cpu"),
    ],
)
def test_each_process_takes_its_own_device(
    name: str | None, rank: str, devices: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", rank)
    monkeypatch.setattr("torch.cuda.is_available", lambda: devices > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: devices)
    assert device_of(name) == expected


def test_processes_share_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(12)), raising=False)
    assert default_threads() == 12
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert default_threads() == 1


def test_an_item_is_finished_when_the_next_one_has_begun() -> None:
    begun: list[int] = []

    def begin() -> Iterator[int]:
        for item in range(4):
            begun.append(item)
            yield item

    seen = [(item, list(begun)) for item in _one_behind(begin())]
    assert seen == [(0, [0, 1]), (1, [0, 1, 2]), (2, [0, 1, 2, 3]), (3, [0, 1, 2, 3])]
    assert list(_one_behind(iter(()))) == []
