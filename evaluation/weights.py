"""Reading the weights of other people's models: tensors only, nothing is unpickled."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from salient_imagenet_data.errors import SalientError

WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Keys under which training scripts put the state dict beside other things."""


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a .safetensors file, or in a torch file read with weights_only=True.

    A wrapping entry (`state_dict`, `model`) and the prefix `module.` of data-parallel training are taken off.
    Raises SalientError, naming the file, for anything else.
    """
    if not path.is_file():
        raise SalientError(f"{path}: no such file", expected="weights")
    try:
        loaded = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # torch raises several unrelated types for a file it refuses
        lines = str(error).splitlines() or [type(error).__name__]
        raise SalientError(
            f"{path}: not weights", expected="safetensors or a weights-only torch file", got=lines[0]
        ) from error
    for key in WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise SalientError(f"{path}: no state dict", expected="tensors by name", got=type(loaded).__name__)
    if all(key.startswith("module.") for key in loaded):
        loaded = {key.removeprefix("module."): value for key, value in loaded.items()}
    return dict(loaded)


def load_exactly(net: nn.Module, path: Path) -> None:
    """Load every tensor of a file into a network, and no others. Raises SalientError with the first that differ."""
    try:
        net.load_state_dict(read_state(path), strict=True)
    except RuntimeError as error:
        detail = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise SalientError(f"{path}: weights do not fit {type(net).__name__}", got=detail[:300]) from error
