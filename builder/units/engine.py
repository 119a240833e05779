"""Who does the units of a job: this process, several processes of `torchrun`, or a Ray cluster.

All write the same bytes; the files say what is left to do, so an engine needs no state of its own.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any, Protocol

from torch import distributed

from salient_imagenet_data.builder.choices import EngineName
from salient_imagenet_data.builder.units.unit import Job, do_units
from salient_imagenet_data.errors import not_installed
from salient_imagenet_data.networks.devices import move
from salient_imagenet_data.progress import progress


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
        move(job.model, job.run.device)
        missing = job.missing()
        with progress((), total=len(job.rows), what=job.name) as bar:
            bar.update(len(job.rows) - sum(len(job.rows_of(unit)) for unit in missing))
            do_units(job, missing, bar.update)

    def wait(self) -> None: ...


class TorchrunEngine:
    """One of the processes that `torchrun` started: each takes every n-th unit that is missing."""

    def __init__(self) -> None:
        self.rank, self.world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        if not distributed.is_initialized():
            # The others wait while one writes or uploads the store.
            distributed.init_process_group("gloo", timeout=timedelta(days=7))

    @property
    def leader(self) -> bool:
        return self.rank == 0

    def run(self, job: Job) -> None:
        # Only one looks, since every byte is read; all have the same list before anyone adds to it.
        found: list[Any] = [job.missing()] if self.leader else [None]
        distributed.broadcast_object_list(found)
        missing: list[int] = found[0]
        move(job.model, job.run.device)
        mine = missing[self.rank :: self.world]
        with progress((), total=sum(len(job.rows_of(unit)) for unit in mine), what=f"{job.name} {self.rank}") as bar:
            do_units(job, mine, bar.update)
        self.wait()

    def wait(self) -> None:
        distributed.barrier()


def make_engine(name: EngineName, address: str | None = None, workers: int | None = None) -> Engine:
    """`local`, which is torchrun's where that started us, or `ray`. Raises SalientError without Ray."""
    if name == "local":
        return TorchrunEngine() if int(os.environ.get("WORLD_SIZE", "1")) > 1 else LocalEngine()
    try:
        from salient_imagenet_data.builder.units.ray import RayEngine
    except ModuleNotFoundError as error:
        raise not_installed("ray", "--engine ray") from error
    return RayEngine(address, workers)


def default_threads() -> int:
    """This process's share of the processors it may run on, at most 16."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(here // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 16))
