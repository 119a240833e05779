"""Who does the units of a job: this process, several processes of `torchrun`, or a Ray cluster.

All write the same bytes; the files say what is left to do, so an engine needs no state of its own.
"""

from __future__ import annotations

import os
from typing import Literal, Protocol

import torch
from torch import distributed

from salient_imagenet_data.builder.work import Job, do_unit
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.progress import progress

EngineName = Literal["local", "ray"]


class Engine(Protocol):
    """leader: this process prepares, ranks and finishes; others only do units."""

    @property
    def leader(self) -> bool: ...

    def run(self, job: Job) -> None:
        """Return when every unit of the job is written."""
        ...

    def wait(self) -> None:
        """Return when all processes have come here."""
        ...


class LocalEngine:
    """This process alone."""

    leader = True

    def run(self, job: Job) -> None:
        job.model.to(job.run.device)  # type: ignore[attr-defined]
        missing = job.missing()
        with progress((), total=len(job.rows), what=job.name) as bar:
            bar.update(len(job.rows) - sum(_size(job, unit) for unit in missing))
            for unit in missing:
                do_unit(job, unit, bar.update)

    def wait(self) -> None: ...


class TorchrunEngine:
    """One of the processes that `torchrun` started: each takes every n-th unit that is missing."""

    def __init__(self) -> None:
        self.rank, self.world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        if not distributed.is_initialized():
            distributed.init_process_group("gloo")

    @property
    def leader(self) -> bool:
        return self.rank == 0

    def run(self, job: Job) -> None:
        missing = job.missing()
        self.wait()  # all have seen the same list before anyone adds to it
        job.model.to(job.run.device)  # type: ignore[attr-defined]
        mine = missing[self.rank :: self.world]
        with progress((), total=sum(_size(job, unit) for unit in mine), what=f"{job.name} {self.rank}") as bar:
            for unit in mine:
                do_unit(job, unit, bar.update)
        self.wait()

    def wait(self) -> None:
        distributed.barrier()


def make_engine(name: EngineName, address: str | None = None, workers: int | None = None) -> Engine:
    """`local`, which is torchrun's where that started us, or `ray`. Raises SalientError without Ray."""
    if name == "local":
        return TorchrunEngine() if int(os.environ.get("WORLD_SIZE", "1")) > 1 else LocalEngine()
    try:
        from salient_imagenet_data.builder.ray_engine import RayEngine
    except ModuleNotFoundError as error:
        raise SalientError(
            "--engine ray: Ray is not installed", then="pip install 'salient-imagenet-data[ray]'"
        ) from error
    return RayEngine(address, workers)


def default_device() -> str:
    """A CUDA device of this process where there is one, else the CPU."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"


def default_batch_size(device: str, crop: int) -> int:
    """64 images. On a CPU no more pixels than of 8 crops of 224, which its caches hold better."""
    return 64 if torch.device(device).type != "cpu" else max(8, min(64, 8 * 224**2 // crop**2))


def _size(job: Job, unit: int) -> int:
    start = unit * job.config.shard_rows
    return min(job.config.shard_rows, len(job.rows) - start)
