"""One unit of a build: a range of images that goes through the network, and the one file that comes of it.

A unit has one owner, needs nothing of other units, and its file appears under its own name only when it is whole.
So any number of workers may do units in any order, and a lost worker costs the unit it was at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.builder.config import BuildConfig, RunConfig
from salient_imagenet_data.builder.model import RobustModel
from salient_imagenet_data.builder.ranking import RunningSums
from salient_imagenet_data.builder.stream import batches, numerics, run_model
from salient_imagenet_data.errors import ImageError, SalientError
from salient_imagenet_data.folder import Folder
from salient_imagenet_data.images import ImageSource, labels_of
from salient_imagenet_data.masks import quantise
from salient_imagenet_data.store import shard_count

Arrays = dict[str, NDArray[Any]]
Tick = Callable[[int], object]


@dataclass(frozen=True)
class Job:
    """What all units of one pass share. Can be pickled.

    key: says which build the units are of, since a unit of another may come late to the same place.
    rows: (M,) source indices; unit u is rows[u * shard_rows :][:shard_rows]. pairs: (C, K) features of each class, -1
    for none; None while they are not known. keep_features: store the pooled features. must_read: an image that cannot
    be decoded is an error, since an earlier pass could.
    """

    folder: Folder
    key: str
    name: str
    source: ImageSource
    model: RobustModel
    config: BuildConfig
    run: RunConfig
    rows: NDArray[np.int64]
    pairs: NDArray[np.int64] | None
    keep_features: bool
    must_read: bool

    @property
    def units(self) -> int:
        return shard_count(len(self.rows), self.config.shard_rows)

    def file(self, unit: int) -> str:
        """Name of a unit's file in the folder."""
        return f"{self.name}-{self.key}-{unit:05d}.npz"

    def missing(self) -> list[int]:
        """Units still to do."""
        there = self.folder.names()
        return [unit for unit in range(self.units) if self.file(unit) not in there]

    def load(self, unit: int, *keys: str) -> Arrays:
        """Some arrays of a finished unit; others are not read. A unit without a readable image has no maps."""
        with self.folder.open(self.file(unit)) as raw, np.load(raw) as file:
            return {key: file[key] for key in keys if key in file}


def do_unit(job: Job, unit: int, tick: Tick) -> None:
    """Run a unit's images through the network and write its file. `tick` is told the images done."""
    config, start = job.config, unit * job.config.shard_rows
    rows = job.rows[start : start + config.shard_rows]
    labels, width = labels_of(job.source), job.model.weight.shape[1]
    failed: list[tuple[int, ImageError]] = []
    parts: list[Arrays] = [_nothing()]
    sums = RunningSums(width)
    pooled = np.empty((len(rows) if job.keep_features else 0, width), dtype=np.float32)
    done = 0
    with numerics(config.precision, job.run.device):
        stream = batches(
            job.source, rows.tolist(), job.model.preprocessing, config.batch_size, failed, job.run, config.decoder
        )
        for batch in stream:
            maps, on_device = run_model(
                job.model, batch.images, config.precision, job.run.device,
                compile_for=config.batch_size if config.compiled else None,
            )  # fmt: skip
            features = on_device.cpu().numpy()
            predictions = job.model.logits(on_device).argmax(dim=1).cpu().numpy()
            sums.add(features, predictions if config.group_by == "prediction" else labels[batch.indices])
            part: Arrays = {"indices": batch.indices, "sizes": batch.sizes, "predictions": predictions}
            if job.pairs is not None:
                part |= _chosen_maps(maps, features, job.pairs[labels[batch.indices]])
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
    joined = {key: np.concatenate([part[key] for part in parts if key in part]) for key in parts[-1]}
    joined |= vars(sums.total())
    joined["failed"] = np.array([index for index, _ in failed], dtype=np.int64)
    joined["reasons"] = np.array([str(error) for _, error in failed], dtype=np.str_)
    if job.keep_features:
        joined["features"] = pooled[:done]
    job.folder.write(job.file(unit), lambda file: np.savez(file, **joined))  # type: ignore[arg-type]


def _nothing() -> Arrays:
    """What every unit holds, of no image: a unit may have none that can be decoded."""
    return {
        "indices": np.zeros(0, dtype=np.int64),
        "sizes": np.zeros((0, 2), dtype=np.int64),
        "predictions": np.zeros(0, dtype=np.int64),
    }


def _chosen_maps(maps: Any, features: NDArray[np.float32], wanted: NDArray[np.int64]) -> Arrays:
    """The maps of each image's K wanted features, quantised, with peaks and activations; zeros for -1."""
    import torch

    channels = torch.from_numpy(np.maximum(wanted, 0)).to(maps.device)
    kept = maps[torch.arange(len(channels), device=maps.device)[:, None], channels].cpu().numpy()
    small, peaks = quantise(kept * (wanted >= 0)[:, :, None, None])
    activations = np.take_along_axis(features, np.maximum(wanted, 0), axis=1) * (wanted >= 0)
    return {"maps": small, "peaks": peaks, "activations": activations.astype(np.float32)}
