"""The tensors of a checkpoint and the network that they belong to."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.whole_file import write_bytes

if TYPE_CHECKING:
    from torch import Tensor, nn
from salient_imagenet_data.networks.checkpoint import Checkpoint

BESIDE = ("normalizer.", "attacker.")
"""Modules of the robustness library that may stand beside the network's own tensors."""
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


def load_into(net: nn.Module, checkpoint: Checkpoint, architecture: str, *, prefix: str | None = None) -> None:
    """Load every tensor of a network, whatever stands before their names, and check that there are no others there.

    prefix: before the names; by default found. Raises SalientError naming the first that is missing, misshapen or over.
    """
    own = net.state_dict()
    if prefix is None and not own:
        raise SalientError(f"{architecture}: nothing to load into", expected="a network with weights")
    if prefix is None:
        prefix = prefix_of(own, next(name for name in reversed(own) if not name.endswith(COUNTER)), checkpoint)
    tensors = {key.removeprefix(prefix): value for key, value in checkpoint.tensors.items() if key.startswith(prefix)}
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
    unknown = sorted(name for name in tensors if name not in own and not name.startswith(BESIDE))
    if unknown:
        raise SalientError(
            f"{checkpoint.path}: weights do not fit {architecture}",
            expected="no other tensors than the network's",
            got=", ".join(prefix + name for name in unknown[:3]),
            then="are they of another architecture?",
        )
    net.load_state_dict({name: tensors[name] for name in own if name in tensors}, strict=False)


def save_network(net: nn.Module, path: Path, mean: Tensor | None = None, std: Tensor | None = None) -> None:
    """Write a network's tensors to safetensors, whole or not at all, so that `load_into` reads them back.

    mean, std: three numbers each, of the normalisation in front of it, kept as `normaliser` reads them.
    """
    from safetensors.torch import save

    # Clones, because safetensors refuses tensors that share memory, as tied weights do.
    tensors = {k: v.detach().cpu().clone().contiguous() for k, v in net.state_dict().items()}
    if mean is not None and std is not None:
        tensors |= {
            "normalizer.new_mean": mean.cpu().flatten().double(),
            "normalizer.new_std": std.cpu().flatten().double(),
        }
    write_bytes(path, save(tensors))


def normaliser(checkpoint: Checkpoint) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and deviation of the robustness library's normaliser, three numbers each, where the file has them."""
    found = []
    for name in ("new_mean", "new_std"):
        keys = sorted((k for k in checkpoint.tensors if k.endswith(f"normalizer.{name}")), key=len)
        if not keys or checkpoint.tensors[keys[0]].numel() != 3:
            return None
        found.append(tuple(checkpoint.tensors[keys[0]].flatten().double().tolist()))
    return found[0], found[1]
