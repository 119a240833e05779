"""Samples to batches that keep their types, also through pinned memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data import default_collate
from torch.utils.data._utils.collate import default_collate_fn_map
from torchvision import tv_tensors


class Batch(dict[str, Any]):
    """A batch as a dict. Images and masks keep their tv_tensor types when it is pinned or moved; torch's own
    handling of a dict turns them into plain tensors. `transforms.v2` pipelines go through it as through a dict."""

    def pin_memory(self) -> Batch:
        """The same in pinned memory; `DataLoader(pin_memory=True)` calls this."""
        return Batch({key: _kept(value, "pin_memory") for key, value in self.items()})

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """The same on a device."""
        return Batch({key: _kept(value, "to", device, non_blocking=non_blocking) for key, value in self.items()})


def _batch_of(values: Iterable[Any], keys: Any) -> Batch:
    return Batch(zip(keys, values, strict=True))


# torchvision and torch look a mapping up by its own type alone: a Batch that they do not know would go through every
# transform as it came.
pytree.register_pytree_node(Batch, lambda batch: (list(batch.values()), list(batch)), _batch_of)


def replaced(sample: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A sample or batch with some values in place of its own, or beside them; a `Batch` stays one."""
    return Batch(sample, **values) if isinstance(sample, Batch) else {**sample, **values}


class KeptMask(tv_tensors.Mask):  # type: ignore[misc]
    """A mask whose kinds stay what they are where torch makes plain tensors of all others, stacking samples by
    `default_collate` and pinning: of a plain mask no transform knows that it goes with the image."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        default_collate_fn_map[cls] = _stacked_alike

    def pin_memory(self, *args: Any) -> Any:
        return _kept(self, "pin_memory", *args)


def collate(samples: Sequence[Mapping[str, Any]]) -> Batch:
    """Stack a list of samples of one transform; give it to `DataLoader(collate_fn=collate)`.

    Tensors are stacked and keep the type of the first (Image, SoftMask, MapFrame); arrays, bool, int and float become
    tensors; strings a list; tuples, as of `FiveCrop`, a tuple of what becomes of their parts. Raises ValueError for
    samples whose shapes or keys differ, naming the key, and for what are no dicts.
    """
    others = [type(sample).__name__ for sample in samples if not isinstance(sample, Mapping)]
    if others or not len(samples):
        got = others[0] if others else "none"
        raise ValueError(f"collate: expected samples that are dicts, got {got}; torch's default_collate takes others")
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
        return _stacked_alike(values)
    if isinstance(first, (bool, int, float)):
        return torch.tensor(values)
    if isinstance(first, tuple):
        return tuple(_stacked(key, list(parts)) for parts in zip(*values, strict=True))
    return values


def _stacked_alike(values: Sequence[Tensor], **kwargs: Any) -> Any:
    # torch's own, which in a worker writes to shared memory.
    return _typed(default_collate([value.as_subclass(Tensor) for value in values]), values[0])


def _typed(tensor: Tensor, like: Tensor) -> Any:
    return tv_tensors.wrap(tensor, like=like) if isinstance(like, tv_tensors.TVTensor) else tensor


def _kept(value: Any, method: str, *args: Any, **kwargs: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_kept(part, method, *args, **kwargs) for part in value)
    if not isinstance(value, Tensor):
        return value
    return _typed(getattr(value.as_subclass(Tensor), method)(*args, **kwargs), value)
