"""The tensors of a checkpoint and the network that they belong to."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from salient_imagenet_data.errors import SalientError, some
from salient_imagenet_data.networks.checkpoint import CLASS_NAMES, PROBE, Checkpoint
from salient_imagenet_data.networks.normalisers import Normaliser, find_normaliser
from salient_imagenet_data.whole_file import write_bytes

if TYPE_CHECKING:
    from torch import Tensor, nn

COUNTER = "num_batches_tracked"
"""Of newer batch normalisation, unused in evaluation; older files do not have it."""


def prefix_of(names: Collection[str], anchor: str, checkpoint: Checkpoint) -> str:
    """What stands before a network's own tensor names, such as `module.model.`: that under which fewest are missing.

    names: the network's tensors. anchor: one of them that must be there. Raises SalientError if it is not.
    """
    found = [key.removesuffix(anchor) for key in checkpoint.tensors if key == anchor or key.endswith(f".{anchor}")]
    if not found:
        raise SalientError(
            f"{checkpoint.path}: weights of another network",
            expected=f"a tensor {anchor}",
            got=f"{len(checkpoint.tensors)} tensors such as {next(iter(checkpoint.tensors))}",
            then="is it another architecture, or a backbone without its head?",
        )
    return min(found, key=lambda prefix: (sum(prefix + name not in checkpoint.tensors for name in names), len(prefix)))


def load_into(
    net: nn.Module, checkpoint: Checkpoint, architecture: str, *, normalised: bool = True
) -> Normaliser | None:
    """Load every tensor of a network, whatever stands before their names; returns the normaliser that the file has, or
    that the checkpoint is known to want.

    normalised: a normaliser may stand beside the network. Besides it the file may hold copies of what was loaded, as
    the robustness library's attacker is, and counters. Raises SalientError naming the first tensor that is missing,
    misshapen, or left over and unexplained.
    """
    own = net.state_dict()
    if not own:
        raise SalientError(f"{architecture}: nothing to load into", expected="a network with weights")
    prefix = prefix_of(own, _last(own), checkpoint)
    tensors = {name: checkpoint.tensors[prefix + name] for name in own if prefix + name in checkpoint.tensors}
    for name, value in own.items():
        if name not in tensors and name.endswith(COUNTER):
            continue
        got = tuple(tensors[name].shape) if name in tensors else "nothing"
        if got != tuple(value.shape):
            raise SalientError(
                f"{checkpoint.path}: weights do not fit {architecture}",
                expected=f"{prefix}{name} of shape {tuple(value.shape)}",
                got=str(got),
                then="are they of another architecture, or of other classes?",
            )
    mine = {prefix + name for name in own}
    rest = {key: value for key, value in checkpoint.tensors.items() if key not in mine}
    normaliser, pairs = find_normaliser(rest, checkpoint.path) if normalised else (None, set())
    left = [k for k, v in rest.items() if k not in pairs and not _copied(k, v, tensors) and not _counts(v)]
    if left:
        raise SalientError(
            f"{checkpoint.path}: weights do not fit {architecture}",
            expected="no other tensors than the network's",
            got=some(left, 3),
            then="are they of another architecture?",
        )
    net.load_state_dict(tensors, strict=False)
    return normaliser or checkpoint.normaliser


def sized(create: Callable[[int | None], nn.Module], classes: int, checkpoint: Checkpoint) -> tuple[nn.Module, int]:
    """A network with as many outputs as a checkpoint's has, and how many these are.

    create: makes one with so many outputs, None: its own number, `classes`. A tensor that begins with that number in
    the network and with another in the file, and is else of the same shape, tells.
    """
    net = create(None)
    own = net.state_dict()
    prefix = prefix_of(own, _last(own), checkpoint)
    told = set()
    for name, value in own.items():
        got = checkpoint.tensors.get(prefix + name)
        resized = got is not None and value.ndim and value.shape[0] == classes and got.shape != value.shape
        if got is not None and resized and got.ndim == value.ndim and got.shape[1:] == value.shape[1:]:
            told.add(int(got.shape[0]))
    if len(told) != 1:
        return net, classes
    (found,) = told
    return create(found), found


def _last(own: Mapping[str, Tensor]) -> str:
    """A tensor near a network's end, where names tell most."""
    return next(name for name in reversed(list(own)) if not name.endswith(COUNTER))


def _copied(key: str, value: Tensor, loaded: Mapping[str, Tensor]) -> bool:
    """Whether a tensor is the same as a loaded one whose whole name ends its own."""
    import torch

    parts = key.split(".")
    names = (".".join(parts[i:]) for i in range(len(parts)))
    same = (loaded[name] for name in names if name in loaded)
    return any(s.shape == value.shape and s.dtype == value.dtype and torch.equal(s, value) for s in same)


def _counts(value: Tensor) -> bool:
    """Whether it is one whole number, such as the count of averaged steps."""
    return value.ndim == 0 and not value.is_floating_point()


def save_network(
    net: nn.Module,
    path: Path,
    mean: Tensor | None = None,
    std: Tensor | None = None,
    class_names: Sequence[str] | None = None,
    probe: dict[str, Any] | None = None,
) -> None:
    """Write a network's tensors to safetensors, whole or not at all, so that `load_into` reads them back.

    mean, std: three numbers each, of the normalisation in front of it, kept as `load_into` reads them. class_names: of
    its outputs, kept as `read_checkpoint` reads them. probe: instead of these, what a `Checkpoint` has of that name.
    """
    from safetensors.torch import save

    # Clones, because safetensors refuses tensors that share memory, as tied weights do.
    tensors = {k: v.detach().cpu().clone().contiguous() for k, v in net.state_dict().items()}
    if mean is not None and std is not None:
        tensors |= {
            "normalizer.new_mean": mean.cpu().flatten().double(),
            "normalizer.new_std": std.cpu().flatten().double(),
        }
    # One entry: safetensors writes several in no fixed order, and equal weights must give equal bytes.
    notes = {CLASS_NAMES: json.dumps(list(class_names))} if class_names else None
    if probe is not None:
        notes = {PROBE: json.dumps(probe, sort_keys=True)}
    write_bytes(path, save(tensors, metadata=notes))
