"""Units on a Ray cluster. Workers are stateless and write to a folder that all of them share."""

from __future__ import annotations

import logging
import os
from collections import deque
from dataclasses import replace
from functools import lru_cache
from typing import Any

import ray

from salient_imagenet_data.builder.units.unit import Job, do_unit
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.networks.devices import move
from salient_imagenet_data.progress import progress

RETRIES = 3
"""How often Ray gives a unit to another worker when one is lost."""


class RayEngine:
    """address: of a cluster, None for one on this machine. workers: units at a time; by default all CPUs, or GPUs.

    A worker that is killed costs its unit, which is done again elsewhere; a mistake in the input is raised here.
    """

    leader = True

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        if not ray.is_initialized():
            ray.init(
                address=address,
                num_cpus=workers if address is None else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        self.workers = workers

    def run(self, job: Job) -> None:
        missing = job.missing()
        if not missing:
            return
        on_gpu = job.run.device.startswith("cuda")
        # max_calls: else Ray takes a new process for every task on a GPU, and with it the model and what was compiled.
        task = ray.remote(max_retries=RETRIES, num_cpus=1, num_gpus=int(on_gpu), max_calls=0)(_remote)
        # The model goes through the object store once, not once a unit. In a list Ray hands over the reference itself.
        shared = [ray.put(job)]
        limit = self.workers or int(_resources().get("GPU" if on_gpu else "CPU", 1))
        waiting, left = deque[Any](), deque(missing)
        with progress((), total=len(missing), what=job.name, unit="unit") as bar:
            while left or waiting:
                while left and len(waiting) < 2 * limit:
                    waiting.append(task.remote(shared, left.popleft()))
                done, _ = ray.wait(list(waiting), num_returns=1)
                for reference in done:
                    waiting.remove(reference)
                    _result(reference)
                    bar.update(1)

    def wait(self) -> None: ...


def _resources() -> dict[str, float]:
    found: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return found


@lru_cache(maxsize=1)
def _held(shared: Any) -> Job:
    """A worker's copy of the job, its model on the device: fetched for the first of its units."""
    job: Job = ray.get(shared)
    if job.run.device.startswith("cuda"):  # Ray shows a worker its own device only
        job = replace(job, run=replace(job.run, device="cuda:0"))
    move(job.model, job.run.device)
    return job


def _remote(shared: list[Any], unit: int) -> None:
    job = _held(shared[0])
    if not (job.file(unit) in job.folder.names() and job.sound(unit)):
        do_unit(job, unit, lambda count: None)


def _result(reference: Any) -> None:
    try:
        ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        raise SalientError(
            f"ray: a unit failed {RETRIES + 1} times",
            got=f"{type(error).__name__}: {str(error).splitlines()[0]}",
            then=f"look at the cluster's logs ({os.environ.get('RAY_TMPDIR', '/tmp/ray')}) and run again with --resume",
        ) from error
