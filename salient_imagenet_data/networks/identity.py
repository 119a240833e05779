"""Which network it is: a hash of its state, and whether that state is made of numbers."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

from salient_imagenet_data.errors import SalientError


def state_sha256(net: nn.Module) -> str:
    """Hex sha256 over a network's state: of each tensor, by name in order, its name, dtype, shape and bytes.

    Equal states have equal hashes whatever file, library or device they are of.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        if not isinstance(tensor, Tensor):  # a module's extra state
            continue
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
    return digest.hexdigest()


def check_finite(net: nn.Module, name: str) -> None:
    """Raise SalientError, naming the first tensor, if a network's weights or buffers hold NaN or infinities.

    A buffer may hold minus infinity, as masks of attention do.
    """
    parameters = {key for key, _ in net.named_parameters()}
    for key, tensor in net.state_dict().items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or bool(torch.isfinite(tensor).all()):
            continue
        got = "NaN" if bool(tensor.isnan().any()) else "infinities"
        if key in parameters or got == "NaN" or bool(tensor.isposinf().any()):
            raise SalientError(
                f"{name}: weights are not finite",
                expected="numbers",
                got=f"{got} in {key}",
                then="the file is damaged, or its training diverged",
            )
