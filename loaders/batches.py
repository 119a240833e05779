"""Samples to batches that keep their types, also through pinned memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate
from torchvision import tv_tensors


class Batch(dict[str, Any]):
    """A batch as a dict. Images and masks keep their tv_tensor types when it is pinned or moved; torch's own
    handling of a dict turns them into plain tensors."""

    def pin_memory(self) -> Batch:
        """The same in pinned memory; `DataLoader(pin_memory=True)` calls this."""
        return Batch({key: _kept(value, "pin_memory") for key, value in self.items()})

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """The same on a device."""
        return Batch({key: _kept(value, "to", device, non_blocking=non_blocking) for key, value in self.items()})


def collate(samples: Sequence[Mapping[str, Any]]) -> Batch:
    """Stack a list of samples of one transform; give it to `DataLoader(collate_fn=collate)`.

    Tensors are stacked and keep the type of the first (Image, SoftMask, MapFrame); arrays, bool, int and float become
    tensors; strings a list. Raises ValueError for samples whose shapes or keys differ, naming the key.
    """
    first = samples[0]
    for sample in samples:
        if sample.keys() != first.keys():
            raise ValueError(f"collate: expected the keys {sorted(first)} in every sample, got {sorted(sample)}")
    return Batch({key: _stacked(key, [sample[key] for sample in samples]) for key in first})


def _stacked(key: str, values: list[Any]) -> Any:
    if isinstance(values[0], np.ndarray):
        values = [torch.from_numpy(value) for value in values]
    first = values[0]
    if isinstance(first, Tensor):
        shapes = sorted({tuple(value.shape) for value in values})
        if len(shapes) > 1:
            raise ValueError(f"collate: expected one shape of {key!r}, got {shapes}; resize or crop in the transform")
        # torch's own, which in a worker writes to shared memory.
        return _typed(default_collate([value.as_subclass(Tensor) for value in values]), first)
    if isinstance(first, (bool, int, float)):
        return torch.tensor(values)
    return values


def _typed(tensor: Tensor, like: Tensor) -> Any:
    return tv_tensors.wrap(tensor, like=like) if isinstance(like, tv_tensors.TVTensor) else tensor


def _kept(value: Any, method: str, *args: Any, **kwargs: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return _typed(getattr(value.as_subclass(Tensor), method)(*args, **kwargs), value)
