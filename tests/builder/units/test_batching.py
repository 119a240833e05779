"""Batches that processes of their own make, as for a CUDA device, on the processor."""

from __future__ import annotations

import multiprocessing
import os
import signal
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from salient_imagenet_data.builder.build import build
from salient_imagenet_data.builder.choices import Decoder
from salient_imagenet_data.builder.config import RunConfig
from salient_imagenet_data.builder.units import batching, nvjpeg, unit
from salient_imagenet_data.builder.units.batching import batches, grouped, readable, split
from salient_imagenet_data.errors import ImageError, SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.store.reading import Store
from tests.conftest import CONFIG

CROPS = Preprocessing(60, 56)


class Unsendable(Exception):
    """Cannot be pickled."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.why = lambda: what


class Odd(FolderSource):
    """Its 23rd image does something else."""

    def __init__(self, root: Path, what: str) -> None:
        super().__init__(root)
        self._what = what

    def picture(self, index: int) -> Image.Image:
        if index == 22 and self._what == "refuse":
            raise SalientError("the disk is on fire", expected="no fire", then="put it out")
        if index == 22 and self._what == "strange":
            raise Unsendable("the disk is upside down")
        if index == 22 and self._what == "unreadable":
            raise ImageError("this one: not a picture")
        if index == 22 and self._what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().picture(index)


def made(
    source: FolderSource, workers: int = 2, size: int = 6, decoder: Decoder = "pillow"
) -> tuple[list[batching.Batch], list[tuple[int, ImageError]]]:
    failed: list[tuple[int, ImageError]] = []
    groups = list(split(range(len(source)), size))
    with closing(grouped(source, groups, CROPS, decoder, device="cpu", workers=workers)) as found:
        return list(readable(found, failed)), failed


@pytest.mark.parametrize("workers", [0, 2])
def test_processes_make_the_batches_that_threads_make(images: Path, workers: int) -> None:
    source = FolderSource(images)
    found, failed = made(source, workers)
    exact = list(batches(source, range(len(source)), CROPS, 6, failed, "pillow"))
    assert len(found) == len(exact) == 7 and not failed
    for a, b in zip(exact, found, strict=True):
        assert np.array_equal(a.indices, b.indices) and np.array_equal(a.sizes, b.sizes)
        assert torch.equal(a.images, b.images) and b.images.is_contiguous(memory_format=torch.channels_last)
    assert not multiprocessing.active_children()


def test_a_group_is_short_by_what_cannot_be_read(images: Path, tmp_path: Path) -> None:
    for path in sorted(images.glob("*/*")):
        (tmp_path / path.parent.name).mkdir(exist_ok=True)
        (tmp_path / path.parent.name / path.name).write_bytes(path.read_bytes())
    for number in (1, *range(6, 12)):  # one of a group, and all of another
        sorted(tmp_path.glob("*/*"))[number].write_bytes(b"no picture")
    source = FolderSource(tmp_path)
    found, failed = made(source)
    assert [index for index, _ in failed] == [1, *range(6, 12)]
    assert [len(batch.indices) for batch in found] == [5, 6, 6, 6, 6, 4]
    assert all("no picture" in str(error) or "cannot" in str(error) for _, error in failed)


def test_an_error_of_a_worker_is_the_line_that_it_would_be_here(images: Path) -> None:
    with pytest.raises(SalientError) as told:
        made(Odd(images, "refuse"))
    assert str(told.value) == "the disk is on fire; expected no fire; put it out"


def test_an_error_that_cannot_be_sent_comes_in_words(images: Path) -> None:
    with pytest.raises(RuntimeError, match=r"^Unsendable: the disk is upside down$"):
        made(Odd(images, "strange"))


@pytest.fixture(scope="module")
def jpegs(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jpegs")
    for path in sorted(images.glob("*/*")):
        (folder / path.parent.name).mkdir(exist_ok=True)
        Image.open(path).convert("RGB").save(folder / path.parent.name / f"{path.stem}.jpg")
    return folder


def test_processes_end_with_an_error_of_the_device(jpegs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("of the device")

    monkeypatch.setattr(nvjpeg, "check", lambda device: None)
    monkeypatch.setattr(batching, "crops_of_files", fail)
    with pytest.raises(MemoryError, match="of the device") as told:
        made(FolderSource(jpegs), decoder="nvjpeg")
    assert told.tb and not multiprocessing.active_children()  # although its traceback is held


def test_what_neither_the_device_nor_pillow_reads_is_told_once(jpegs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvjpeg, "check", lambda device: None)
    monkeypatch.setattr(nvjpeg, "decoded", lambda files, device: [None] * len(files))
    found, failed = made(Odd(jpegs, "unreadable"), decoder="nvjpeg")
    assert [(index, str(error)) for index, error in failed] == [(22, "this one: not a picture")]
    assert np.concatenate([batch.indices for batch in found]).tolist() == [*range(22), *range(23, 40)]
    assert [len(batch.indices) for batch in found] == [6, 6, 6, 5, 6, 6, 4]


def test_no_more_processes_than_groups(images: Path) -> None:
    for groups, most in (([], 0), ([[3, 4]], 1)):
        with closing(grouped(FolderSource(images), groups, CROPS, "pillow", device="cpu", workers=4)) as found:
            assert len(multiprocessing.active_children()) <= most
            assert [batch.indices.tolist() for batch, _ in found if batch is not None] == groups


def test_a_stream_that_nobody_began_holds_no_process(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "waits", lambda device: True)
    stream = batches(FolderSource(images), range(40), CROPS, 4, [])
    assert not multiprocessing.active_children()
    stream.close()
    stream = batches(FolderSource(images), range(40), CROPS, 4, [])
    assert next(stream).indices.tolist() == [0, 1, 2, 3] and len(multiprocessing.active_children()) == 2
    stream.close()
    assert not multiprocessing.active_children()


def test_a_worker_that_dies_ends_the_stream(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Torch waits for what has died as often as it has workers, five seconds each.
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.5)
    monkeypatch.setattr("torch.utils.data.dataloader._MultiProcessingDataLoaderIter._try_get_data.__defaults__", (0.5,))
    with pytest.raises(RuntimeError, match="DataLoader worker .*(is killed by signal|exited unexpectedly)"):
        made(Odd(images, "die"))
    # Torch raises it from its signal handler, maybe while the thread that takes what processes make still ends them.
    for process in multiprocessing.active_children():
        process.join(10)
    assert not multiprocessing.active_children()


def test_what_is_not_taken_is_let_go(images: Path) -> None:
    source = FolderSource(images)
    with closing(grouped(source, list(split(range(40), 4)), CROPS, "pillow", device="cpu", workers=2)) as found:
        next(found)
    assert not multiprocessing.active_children()


def test_little_shared_memory_takes_fewer_processes_and_says_so(
    images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    size = 6 * 3 * 56**2
    exact, _ = made(FolderSource(images))
    assert capsys.readouterr().err == ""
    for free, fitting, processes in ((8 * size, 1, "2"), (4 * size + 1, 1, "1"), (size, 0, "1")):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)  # of torchrun, which share it
        monkeypatch.setattr(batching.shutil, "disk_usage", lambda place, free=free: (0, 0, free) and _Free(free))
        batching._tell.cache_clear()
        found, _ = made(FolderSource(images))
        told = capsys.readouterr().err
        assert f"only {fitting} of 2 processes decode: /dev/shm has {free / 2**20:.0f} MiB; give the" in told
        assert all(torch.equal(a.images, b.images) for a, b in zip(exact, found, strict=True))
    made(FolderSource(images))
    assert capsys.readouterr().err == ""  # a build says it once, not in each pass


class _Free:
    def __init__(self, free: int) -> None:
        self.free = free


def test_a_build_by_processes_is_that_by_threads(
    bare_store: Store, images: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All the way of a CUDA device but the device: units in one stream, each written beside the next."""
    monkeypatch.setattr(unit, "waits", lambda device: True)
    model, sha256 = load_model(weights)
    config = replace(CONFIG, shard_rows=bare_store.manifest.shard_rows)
    found = build(
        FolderSource(images), model, tmp_path / "s", weights_sha256=sha256, config=config, run=RunConfig(threads=2)
    )
    assert found.rows.image_ids == bare_store.rows.image_ids and found.features == bare_store.features
    assert np.array_equal(found.maps[:], bare_store.maps[:]) and np.array_equal(found.peaks[:], bare_store.peaks[:])
