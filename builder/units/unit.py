"""One unit of a build: a range of images that goes through the network, and the one file that comes of it.

A unit has one owner, needs nothing of other units, and its file appears under its own name only when it is whole.
So any number of workers may do units in any order, and a lost worker costs the unit it was at.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from salient_imagenet_data.builder.config import BuildConfig, RunConfig
from salient_imagenet_data.builder.discovery.ranking import RunningSums
from salient_imagenet_data.builder.units.batching import Failed, batches, grouped, readable, split, waits
from salient_imagenet_data.builder.units.decoding import Batch
from salient_imagenet_data.builder.units.forward import combined, encoded, numerics, run_model
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.images.source import ImageSource, labels_of
from salient_imagenet_data.masks import quantise
from salient_imagenet_data.names import SAE
from salient_imagenet_data.networks.classes import Reading
from salient_imagenet_data.networks.robust import RobustModel
from salient_imagenet_data.places import Folder
from salient_imagenet_data.ranking.left_out import NOTHING, LeftOut
from salient_imagenet_data.store.features import Basis

Arrays = dict[str, NDArray[Any]]
Tick = Callable[[int], object]
T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """What all units of one pass share. Can be pickled.

    key: says which build the units are of, since a unit of another may come late to the same place.
    rows: (M,) source indices. ends: (U,) where each unit's end, ascending to M. pairs: (C, K) features of each class
    whose maps are kept, -1 for none; None while they are not known. keep_features: store the pooled features, which are
    the network's neurons. basis: what the features of pairs are made of, None for neurons.
    must_read: an image that cannot be decoded is an error, since an earlier pass could. left_out: images that count for
    no class.
    """

    folder: Folder
    key: str
    name: str
    source: ImageSource
    model: RobustModel
    config: BuildConfig
    run: RunConfig
    rows: NDArray[np.int64]
    ends: NDArray[np.int64]
    pairs: NDArray[np.int64] | None
    keep_features: bool
    must_read: bool
    basis: Basis | None = None
    left_out: LeftOut = NOTHING

    def counted_for(self, indices: NDArray[np.int64], predictions: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n,) the class that each image counts for in the ranking, -1 for none. indices: (n,) into the source;
        predictions: (n,)."""
        grouped = predictions if self.config.group_by == "prediction" else labels_of(self.source)[indices]
        if not self.left_out:
            return np.asarray(grouped, dtype=np.int64)
        ids = (self.source.entry(index).image_id for index in indices.tolist())
        return np.where(self.left_out.holds(ids), -1, grouped).astype(np.int64)

    @property
    def width(self) -> int:
        """Features whose sums are kept: the latents of an autoencoder, else the neurons."""
        latents = self.basis is not None and self.basis.kind == SAE
        return len(self.basis.numbers) if self.basis is not None and latents else int(self.model.weight.shape[1])

    @property
    def units(self) -> int:
        return len(self.ends)

    def rows_of(self, unit: int) -> NDArray[np.int64]:
        """Source indices of a unit's images."""
        return self.rows[self.ends[unit - 1] if unit else 0 : self.ends[unit]]

    def file(self, unit: int) -> str:
        """Name of a unit's file in the folder."""
        return f"{self.name}-{self.key}-{unit:05d}.npz"

    def missing(self) -> list[int]:
        """Units still to do: those without a file, and those whose file is not what was written."""
        there = self.folder.names()
        return [unit for unit in range(self.units) if self.file(unit) not in there or not self.sound(unit)]

    def sound(self, unit: int) -> bool:
        """Whether every byte of a unit's arrays is as it was written."""
        return is_sound(self.folder, self.file(unit))

    def load(self, unit: int, *keys: str) -> Arrays:
        """Some arrays of a finished unit; others are not read. A unit without a readable image has no maps.

        Raises SalientError for a file that is damaged, naming it.
        """
        return arrays_in(self.folder, self.file(unit), *keys)


def is_sound(folder: Folder, name: str) -> bool:
    """Whether every byte of a file's arrays is as it was written: an .npz is a zip, with a checksum of each."""
    try:
        with folder.open(name) as raw, zipfile.ZipFile(raw) as file:
            return file.testzip() is None
    except FileNotFoundError:
        return False
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError, RuntimeError):
        return False


def arrays_in(folder: Folder, name: str, *keys: str) -> Arrays:
    """Some arrays of a finished file, those that it has. Raises SalientError for one that is damaged, naming it."""
    try:
        with folder.open(name) as raw, np.load(raw) as file:
            return {key: file[key] for key in keys if key in file}
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError, FileNotFoundError) as error:
        raise SalientError(
            f"{folder.place}/{name}: damaged since it was written",
            got=f"{type(error).__name__}: {error}",
            then="run again with --resume, which does this part again",
        ) from error


def even_ends(rows: int, size: int) -> NDArray[np.int64]:
    """`ends` of units that all have `size` rows, but the last."""
    return np.minimum(np.arange(size, rows + size, size), rows)


def do_unit(job: Job, unit: int, tick: Tick) -> None:
    """Run a unit's images through the network and write its file. `tick` is told the images done."""
    do_units(job, [unit], tick)


def do_units(job: Job, units: Sequence[int], tick: Tick) -> None:
    """Several units. For a CUDA device, which would have to wait, the images of all are decoded in one go, and the file
    of each is written while the next one is computed."""
    source, config, run, like = job.source, job.config, job.run, job.model.preprocessing
    rows = [job.rows_of(unit).tolist() for unit in units]
    if not waits(run.device):
        for unit, some in zip(units, rows, strict=True):
            failed: Failed = []
            stream = batches(source, some, like, config.batch_size, failed, config.decoder, threads=run.threads)
            _write(job, _compute(job, unit, stream, failed, tick))
        return
    groups = [list(split(some, config.batch_size)) for some in rows]
    every = [group for some in groups for group in some]
    opened = grouped(source, every, like, config.decoder, device=run.device, workers=run.threads)
    with closing(opened), ThreadPoolExecutor(1) as pool:
        writing: Future[None] | None = None
        for unit, some in zip(units, groups, strict=True):
            failed = []
            computed = _compute(job, unit, readable(islice(opened, len(some)), failed), failed, tick)
            if writing is not None:
                writing.result()
            writing = pool.submit(_write, job, computed)
        if writing is not None:
            writing.result()


@dataclass(frozen=True)
class _Computed:
    """What came of a unit. parts: of each batch. pooled: (n, F) features of its readable images, or of none."""

    unit: int
    parts: list[Arrays]
    sums: RunningSums
    pooled: NDArray[np.float32] | None
    failed: Failed


def _write(job: Job, found: _Computed) -> None:
    arrays = {key: np.concatenate([part[key] for part in found.parts if key in part]) for key in found.parts[-1]}
    arrays |= vars(found.sums.total())
    arrays["failed"] = np.array([index for index, _ in found.failed], dtype=np.int64)
    arrays["reasons"] = np.array([str(error) for _, error in found.failed], dtype=np.str_)
    if found.pooled is not None:
        arrays["features"] = found.pooled
    job.folder.write(job.file(found.unit), lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]


def _compute(job: Job, unit: int, stream: Iterator[Batch], failed: Failed, tick: Tick) -> _Computed:
    """failed: what of the stream could not be read, once it has ended."""
    labels, width = labels_of(job.source), job.model.weight.shape[1]
    parts: list[Arrays] = [_nothing()]
    sums = RunningSums(job.width)
    pooled = np.empty((len(job.rows_of(unit)) if job.keep_features else 0, width), dtype=np.float32)
    done = 0
    with numerics(job.config.precision, job.run.device):
        for found in _one_behind(_launched(job, batch, labels) for batch in stream):
            part, features, summed = found.arrays()
            sums.add(summed, job.counted_for(part["indices"], part["predictions"]))
            if job.keep_features:
                pooled[done : done + len(features)] = features
            parts.append(part)
            done += len(features)
            tick(len(features))
    if failed and job.must_read:
        raise SalientError(
            f"{job.source.entry(failed[0][0]).image_id}: readable in the first pass but not in the second",
            got=str(failed[0][1]),
            then="keep the images unchanged during a build, then run it again with --overwrite",
        )
    return _Computed(unit, parts, sums, pooled[:done] if job.keep_features else None, failed)


@dataclass(frozen=True)
class _Launched:
    """What a device is computing of a batch, on its way to the processor. wanted: (B, K) features of each image, -1 for
    none; maps (B, K, h, w) are theirs, None where no pairs are known. latents: (B, R), where features are these."""

    batch: Batch
    basis: Basis | None
    wanted: NDArray[np.int64] | None
    features: Tensor
    latents: Tensor | None
    predictions: Tensor
    maps: Tensor | None
    arrived: Any

    def arrays(self) -> tuple[Arrays, NDArray[np.float32], NDArray[np.float32]]:
        """What is kept of the batch, its pooled neurons (B, F), and what is summed, these or the latents, when they
        have arrived."""
        if self.arrived is not None:
            self.arrived.synchronize()
        features = self.features.numpy()
        part: Arrays = {
            "indices": self.batch.indices,
            "together": np.full(len(features), len(features), dtype=np.int32),
            "sizes": self.batch.sizes,
            "predictions": self.predictions.numpy().copy(),
        }
        if self.wanted is not None and self.maps is not None:
            there = self.wanted >= 0
            small, peaks = quantise(self.maps.numpy() * there[:, :, None, None])
            if self.basis is None:
                activations = np.take_along_axis(features, np.maximum(self.wanted, 0), axis=1) * there
            else:
                activations = self.basis.activations(features, self.wanted)
            part |= {"maps": small, "peaks": peaks, "activations": activations.astype(np.float32)}
        return part, features, features if self.latents is None else self.latents.numpy()


def _launched(job: Job, batch: Batch, labels: NDArray[np.int32]) -> _Launched:
    config = job.config
    maps, features = run_model(
        job.model,
        batch.images,
        config.precision,
        job.run.device,
        compile_for=config.batch_size if config.compiled else None,
    )
    predictions = predicted(job.model.logits(features), len(job.model.weight), config.classes)
    wanted, chosen = None, None
    if job.pairs is not None:
        wanted = job.pairs[labels[batch.indices]]
        if job.basis is None:
            channels = _to_device(torch.from_numpy(np.maximum(wanted, 0)), maps.device)
            chosen = maps[torch.arange(len(maps), device=maps.device)[:, None], channels]
        else:
            chosen = combined(maps, job.basis, wanted)
    arrived = torch.cuda.Event() if maps.is_cuda else None  # type: ignore[no-untyped-call]
    found = _Launched(
        batch,
        job.basis,
        wanted,
        _to_processor(features),
        _to_processor(encoded(features, job.basis)) if job.basis is not None and job.basis.kind == SAE else None,
        _to_processor(predictions),
        None if chosen is None else _to_processor(chosen),
        arrived,
    )
    if arrived is not None:
        arrived.record(torch.cuda.current_stream(maps.device))
    return found


def predicted(logits: Tensor, classes: int, reading: Reading) -> Tensor:
    """(B,) the most probable of `classes` classes, of logits (B, N) whose first are these; -1 where, among all N, it is
    another."""
    if reading == "store":
        return logits[:, :classes].argmax(dim=1)
    found = logits.argmax(dim=1)
    return torch.where(found < classes, found, -1)


def _one_behind(items: Iterator[T]) -> Iterator[T]:
    """Each item when the next one has been started, so that a device has work while the processor finishes."""
    before = next(items, None)
    for item in items:
        assert before is not None
        yield before
        before = item
    if before is not None:
        yield before


def _to_device(values: Tensor, device: torch.device) -> Tensor:
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values


def _to_processor(values: Tensor) -> Tensor:
    """A copy that is only begun where the values are on a CUDA device."""
    if not values.is_cuda:
        return values
    out = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    return out.copy_(values, non_blocking=True)


def _nothing() -> Arrays:
    """What every unit holds, of no image: a unit may have none that can be decoded."""
    return {
        "indices": np.zeros(0, dtype=np.int64),
        "together": np.zeros(0, dtype=np.int32),
        "sizes": np.zeros((0, 2), dtype=np.int64),
        "predictions": np.zeros(0, dtype=np.int64),
    }
