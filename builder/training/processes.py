"""Several processes of one training, started by torchrun: each takes its part of every batch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from salient_imagenet_data.networks.devices import device_of


@dataclass(frozen=True)
class Processes:
    """rank: this one's number. world: how many there are."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this one speaks and writes."""
        return self.rank == 0

    def mean(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors of floats by their mean over the processes, in one message a kind."""
        if self.world == 1:
            return
        kinds: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            kinds.setdefault(tensor.dtype, []).append(tensor)
        for some in kinds.values():
            flat = torch.cat([t.detach().reshape(-1) for t in some])
            distributed.all_reduce(flat)
            flat /= self.world
            for tensor, part in zip(some, torch.split(flat, [t.numel() for t in some]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def sums(self, numbers: list[float], device: str) -> list[float]:
        """Numbers added over the processes."""
        if self.world == 1:
            return numbers
        # Some accelerators have no float64; counts of a batch and losses fit float32.
        added = torch.tensor(numbers, dtype=torch.float32, device=device)
        distributed.all_reduce(added)
        return [float(n) for n in added]

    def wait(self) -> None:
        """For the others."""
        if self.world > 1:
            distributed.barrier()


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """The processes that torchrun started, or this one alone."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Processes()
        return
    if torch.device(device).type == "cuda":
        torch.cuda.set_device(device_of(device))
    distributed.init_process_group("nccl" if torch.device(device).type == "cuda" else "gloo")
    try:
        yield Processes(distributed.get_rank(), world)
    finally:
        distributed.destroy_process_group()
