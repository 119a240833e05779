"""Batches of crops: by threads for a network on the processor, by processes of their own for one on a CUDA device.

Python runs one thread at a time between calls into libraries. Two cores notice little of it, but 16 threads that decode
give a CUDA device no more images than three; so there workers are processes, torch's, and what they make comes through
shared memory.
"""

from __future__ import annotations

import itertools
import os
import pickle
import shutil
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from salient_imagenet_data.builder.choices import Decoder
from salient_imagenet_data.builder.units import nvjpeg
from salient_imagenet_data.builder.units.decoding import (
    CROPS,
    Batch,
    Crop,
    crops_of_files,
    file_or_crop,
    stacked,
)
from salient_imagenet_data.errors import ImageError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.reading import Ahead, Closable, read_ahead
from salient_imagenet_data.images.source import ImageSource

Failed = list[tuple[int, ImageError]]
T = TypeVar("T")
SHARED = "/dev/shm"
"""Where the memory lies that processes share."""
WAITING = 2
"""Groups that each worker makes ahead."""
USUAL_FILE = 2**17
"""Bytes of a photograph's JPEG: a little more than ImageNet's mean."""


@dataclass(frozen=True)
class Group:
    """What a worker made of the images of one batch, all together in memory that is shared.

    indices: of the readable ones, in order. sizes: width and height of each that is a crop already, None of a file.
    crops: (n, S, S, 3) uint8. files: (N,) uint8, one after another. ends: where each ends.
    """

    indices: list[int]
    sizes: list[tuple[int, int] | None]
    crops: Tensor
    files: Tensor
    ends: list[int]
    failed: Failed = field(default_factory=list)

    def items(self) -> list[tuple[int, Tensor | Crop]]:
        """Each image's file (N,) uint8, or its crop."""
        crops, starts = iter(self.crops.permute(0, 3, 1, 2)), [0, *self.ends]
        files = iter(self.files[a:b] for a, b in itertools.pairwise(starts))
        return [
            (index, next(files) if size is None else (size, next(crops)))
            for index, size in zip(self.indices, self.sizes, strict=True)
        ]


def batches(
    source: ImageSource,
    indices: Sequence[int],
    preprocessing: Preprocessing,
    batch_size: int,
    failed: Failed,
    decoder: Decoder = "pillow",
    *,
    device: str = "cpu",
    threads: int = 2,
) -> Closable[Batch]:
    """Batches of crops in order; images that cannot be decoded are appended to `failed` and left out.

    On a processor each batch is full but the last; for a CUDA device each is of `batch_size` indices, and smaller where
    one of them failed. threads: that decode, or as many processes. Nothing begins before the first batch is asked for.
    Close it where not all batches are taken.
    """
    if not waits(device):
        of = CROPS[decoder]
        window = max(2 * batch_size, 8 * threads)
        crops = read_ahead(indices, lambda index: of(source, index, preprocessing), threads=threads, window=window)
        return _by_threads(crops, batch_size, failed)
    groups = list(split(indices, batch_size))
    return _closed(lambda: grouped(source, groups, preprocessing, decoder, device=device, workers=threads), failed)


def waits(device: str) -> bool:
    """Whether a device has to wait for what threads decode."""
    return torch.device(device).type == "cuda"


def grouped(
    source: ImageSource,
    groups: Sequence[Sequence[int]],
    preprocessing: Preprocessing,
    decoder: Decoder,
    *,
    device: str,
    workers: int,
) -> Closable[tuple[Batch | None, Failed]]:
    """For each group of indices one batch, None where no image could be read, and those that could not.

    Made by processes, which begin now; on a CUDA device the next two are also put together, and decoded there where the
    decoder is nvJPEG. Close it where not all are taken. torch raises RuntimeError for a worker that died.
    """
    if decoder == "nvjpeg":
        nvjpeg.check(device)
    made = _Made(source, groups, preprocessing, decoder)
    workers = _that_fit(min(workers, len(groups)), made.bytes_of_a_group)
    loader = DataLoader(
        made, batch_size=None, collate_fn=_same, num_workers=workers, prefetch_factor=WAITING if workers else None
    )
    return Ahead(_on_device(source, _told(iter(loader)), preprocessing, device), 2)


def split(indices: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Groups of so many indices, but the last."""
    return (indices[start : start + size] for start in range(0, len(indices), size))


class _Made(Dataset[Group | Exception]):
    """Each group, made; an error is handed back as it is, since what a worker raises comes as a traceback."""

    def __init__(
        self, source: ImageSource, groups: Sequence[Sequence[int]], preprocessing: Preprocessing, decoder: Decoder
    ) -> None:
        self._source, self._groups = source, groups
        self._preprocessing, self._decoder = preprocessing, decoder

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, number: int) -> Group | Exception:
        try:
            return _group(self._source, self._groups[number], self._preprocessing, self._decoder)
        except Exception as error:
            return _that_crosses(error)

    @property
    def bytes_of_a_group(self) -> int:
        """About so many."""
        most = max((len(group) for group in self._groups), default=0)
        return most * (USUAL_FILE if self._decoder == "nvjpeg" else 3 * self._preprocessing.crop**2)


def _group(source: ImageSource, indices: Sequence[int], preprocessing: Preprocessing, decoder: Decoder) -> Group:
    crops, files, kept, failed = list[Tensor](), list[Tensor](), list[tuple[int, tuple[int, int] | None]](), Failed()
    for index in indices:
        try:
            found = (file_or_crop if decoder == "nvjpeg" else CROPS[decoder])(source, index, preprocessing)
        except ImageError as error:
            failed.append((index, error))
            continue
        if isinstance(found, Tensor):
            files.append(found)
            kept.append((index, None))
        else:
            crops.append(found[1].permute(1, 2, 0))
            kept.append((index, found[0]))
    side = preprocessing.crop
    return Group(
        [index for index, _ in kept],
        [size for _, size in kept],
        torch.stack(crops) if crops else torch.empty(0, side, side, 3, dtype=torch.uint8),
        torch.cat(files) if files else torch.empty(0, dtype=torch.uint8),
        np.cumsum([len(file) for file in files]).tolist(),
        failed,
    )


def _that_crosses(error: Exception) -> Exception:
    """An error as another process can be handed it: one that cannot be pickled never comes, and is waited for."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _told(groups: Iterator[Group | Exception]) -> Generator[Group, None, None]:
    """What workers made; the error of one is raised here. They end with it, or when it is closed, and not whenever
    Python collects them."""
    try:
        for group in groups:
            if isinstance(group, Exception):
                raise group
            yield group
    finally:
        if hasattr(groups, "_shutdown_workers"):  # of one that has workers
            groups._shutdown_workers()


def _same(value: T) -> T:
    return value


def _on_device(
    source: ImageSource, groups: Generator[Group, None, None], preprocessing: Preprocessing, device: str
) -> Iterator[tuple[Batch | None, Failed]]:
    """On a CUDA device in a stream of its own: nvJPEG writes to memory that the allocator hands it without waiting for
    what is queued on the caller's stream, so nothing else may be (pytorch/vision issue 9606)."""
    on = torch.device(device)
    side = torch.cuda.Stream(on) if on.type == "cuda" else None  # type: ignore[no-untyped-call]
    with closing(groups):  # at once after an error too, whose traceback holds on to them
        for group in groups:
            failed, files = group.failed, len(group.files)
            if not files:
                yield _pinned(group, pinned=side is not None), failed
                continue
            with nullcontext() if side is None else torch.cuda.stream(side):
                if side is not None:
                    side.synchronize()
                crops = crops_of_files(source, group.items(), preprocessing, failed, device)
                batch = stacked(crops, on) if crops else None
                if side is not None:
                    side.synchronize()
            yield batch, failed


def _pinned(group: Group, *, pinned: bool) -> Batch | None:
    """In memory that a device copies from while the processor goes on."""
    if not group.indices:
        return None
    crops = group.crops.pin_memory() if pinned else group.crops
    return Batch(np.array(group.indices), np.array(group.sizes), crops.permute(0, 3, 1, 2))


def _that_fit(workers: int, size: int) -> int:
    """As many workers as shared memory holds groups of, each `size` bytes, of which each makes some ahead, beside those
    of torchrun's other processes; told where that is fewer. 0, this process, where none fits."""
    try:
        free = shutil.disk_usage(SHARED).free
    except OSError:  # no such place here: torch takes another
        return workers
    mine = free // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    fitting = min(workers, mine // max(1, 2 * WAITING * size))
    if fitting < workers:
        _tell(
            f"only {fitting} of {workers} processes decode: {SHARED} has {free / 2**20:.0f} MiB; "
            "give the container more (--shm-size, --ipc=host)"
        )
    return int(fitting)


@lru_cache
def _tell(line: str) -> None:
    """Once, and not in every pass of a build."""
    print(line, file=sys.stderr)


def readable(groups: Iterable[tuple[Batch | None, Failed]], failed: Failed) -> Iterator[Batch]:
    """The batches; what could not be read is appended to `failed`."""
    for batch, missing in groups:
        failed += missing
        if batch is not None:
            yield batch


def _closed(begin: Callable[[], Closable[tuple[Batch | None, Failed]]], failed: Failed) -> Generator[Batch, None, None]:
    with closing(begin()) as groups:
        yield from readable(groups, failed)


def _by_threads(
    crops: Iterable[tuple[int, Crop | ImageError]], batch_size: int, failed: Failed
) -> Generator[Batch, None, None]:
    some: list[tuple[int, Crop]] = []
    for index, crop in crops:
        if isinstance(crop, ImageError):
            failed.append((index, crop))
            continue
        some.append((index, crop))
        if len(some) == batch_size:
            yield stacked(some, torch.device("cpu"))
            some = []
    if some:
        yield stacked(some, torch.device("cpu"))
