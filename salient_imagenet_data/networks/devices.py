"""Devices, and networks on them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from salient_imagenet_data.errors import SalientError

if TYPE_CHECKING:
    from salient_imagenet_data.networks.robust import RobustModel


def device_of(name: str | None) -> str:
    """The device of a name. None: CUDA where there is a device, else the CPU. `cuda` without a number: under torchrun
    one for each process of the host, or the only one that a process sees."""
    device = name or ("cuda" if torch.cuda.is_available() else "cpu")
    if device != "cuda":
        return device
    return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % max(torch.cuda.device_count(), 1)}"


def check_device(name: str | None) -> str:
    """The device that `device_of` gives. Raises SalientError if torch does not know it, or has none here."""
    device = device_of(name)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SalientError(
            f"device {device!r} cannot be used",
            expected="cpu, cuda or cuda:N",
            got=re.sub(r"Expected one of .* device type", "another device type", str(error).splitlines()[0])[:200],
        ) from error
    return device


@contextmanager
def repeatable() -> Iterator[None]:
    """cuDNN takes algorithms that repeat themselves to the bit; afterwards what it took before."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before


def move(model: RobustModel, device: str) -> None:
    """Onto a device; there in the layout that convolutions want, which images have too."""
    on_gpu = torch.device(device).type == "cuda"
    layout = torch.channels_last if on_gpu else torch.preserve_format
    model.to(device, memory_format=layout)  # type: ignore[attr-defined]
    if on_gpu:
        torch.cuda.set_device(device_of(device))  # torch wants the number too


def default_batch_size(device: str, crop: int) -> int:
    """64 images. On a CPU no more pixels than of 8 crops of 224, which its caches hold better."""
    return 64 if torch.device(device).type != "cpu" else max(8, min(64, 8 * 224**2 // crop**2))
