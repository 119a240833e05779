"""Crops through the network, in a chosen precision, compiled or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from salient_imagenet_data.builder.choices import Precision
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.networks.devices import repeatable
from salient_imagenet_data.networks.pixels import unit_images
from salient_imagenet_data.networks.robust import RobustModel
from salient_imagenet_data.store.features import Basis

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def run_model(
    model: RobustModel, images: Tensor, precision: Precision, device: str, *, compile_for: int | None = None
) -> tuple[Tensor, Tensor]:
    """Maps (B, F, h, w) and features (B, F), float32 on the device, of crops (B, 3, S, S) uint8.

    With bf16 or fp16 the network's layers run in that type where torch's autocast says so. compile_for: the batch size
    to compile the network for; smaller batches are filled up. Raises SalientError where it cannot be compiled.
    """
    if images.is_cuda:
        images.record_stream(torch.cuda.current_stream(images.device))  # it may come from a decoder's stream
    if compile_for is None:
        return _forward(model, images.to(device, non_blocking=True), precision)
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor import config as inductor

    # Always one shape, one layout and one kind of tensor, since anything else is compiled anew.
    count, shape = len(images), (compile_for, *images.shape[1:])
    batch = torch.empty(shape, dtype=torch.uint8, device=device, memory_format=torch.channels_last)
    batch[:count].copy_(images, non_blocking=True)
    batch[count:] = 0
    try:
        # Frozen weights let the compiler fold batch norms into layers; it reads this setting, not the option, when it
        # compiles, and that is at the first call.
        with inductor.patch(freezing=True):
            maps, features = _compiled(model, precision, _version(model))(batch)  # type: ignore[arg-type]
    except (TorchDynamoException, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError) or "CUDA error" in str(error):
            raise
        raise SalientError(
            f"{model.architecture}: cannot be compiled",
            got=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:300],
            then="is there a C++ compiler? Else build without --compile",
        ) from error
    return maps[:count], features[:count]


def _forward(model: RobustModel, images: Tensor, precision: Precision) -> tuple[Tensor, Tensor]:
    x = unit_images(images.permute(0, 2, 3, 1), torch.channels_last)
    with torch.autocast(images.device.type, AUTOCAST.get(precision, torch.bfloat16), enabled=precision in AUTOCAST):
        maps, features = model.maps_and_features(x)
    return maps.float(), features.float()


def combined(maps: Tensor, basis: Basis, features: NDArray[np.int64]) -> Tensor:
    """Maps (B, K, h, w) float32 of features (B, K) that are linear combinations, of maps (B, F, h, w) of the neurons,
    on their device; of any feature for -1. Summed in float64, since what is added up nearly cancels."""
    rows = basis.places(features)
    directions = torch.from_numpy(basis.directions[rows]).to(maps.device).double()  # (B, K, F)
    bias = torch.from_numpy(basis.place_bias[rows]).to(maps.device)  # (B, K)
    found = torch.bmm(directions, maps.flatten(2).double()) + bias[:, :, None]
    return found.float().reshape(*features.shape, *maps.shape[2:])


def encoded(features: Tensor, basis: Basis) -> Tensor:
    """(B, R) float32 latents of pooled neurons (B, F), on their device."""
    directions, bias = _held(basis, features.device)
    return torch.relu(torch.nn.functional.linear(features, directions, bias))


@lru_cache(maxsize=1)
def _held(basis: Basis, device: torch.device) -> tuple[Tensor, Tensor]:
    """An encoder on a device, kept from batch to batch."""
    return torch.from_numpy(basis.directions).to(device), torch.from_numpy(basis.bias).float().to(device)


def _version(model: RobustModel) -> tuple[int, ...]:
    """Changes whenever a weight or buffer is written to."""
    if not isinstance(model, nn.Module):
        return ()
    return tuple(tensor._version for tensor in (*model.parameters(), *model.buffers()))


@lru_cache(maxsize=1)
def _compiled(
    model: RobustModel, precision: Precision, version: tuple[int, ...]
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Kept from unit to unit: compiling takes half a minute. version: of the weights, which are compiled in."""
    torch._dynamo.reset()  # else it would count this as a recompilation, and give up silently after a few
    return torch.compile(partial(_forward, model, precision=precision), dynamic=False)


@contextmanager
def numerics(precision: Precision, device: str) -> Iterator[None]:
    """Set TensorFloat-32 as asked and cuDNN to algorithms that repeat themselves, and put all back: fp32 is fp32
    everywhere. Raises SalientError for tf32 on a CPU."""
    if precision == "tf32" and torch.device(device).type != "cuda":
        raise SalientError(f"{device}: no TensorFloat-32 here", expected="a CUDA device", then="choose fp32 or bf16")
    put_back = _allow_tf32(precision == "tf32")
    try:
        with torch.inference_mode(), repeatable():
            yield
    finally:
        put_back()


def _allow_tf32(allowed: bool) -> Callable[[], None]:
    """For products and convolutions; returns what puts all back.

    Newer torch has a string for each, beside its older flags, which cannot be read once someone has set one of the
    strings alone. So both are set.
    """
    backends = torch.backends
    try:
        flags = torch.get_float32_matmul_precision(), backends.cudnn.allow_tf32
    except RuntimeError:
        flags = None
    parts = [(backends.cuda, "matmul"), *((b, p) for b in (backends.cudnn, backends.mkldnn) for p in ("conv", "rnn"))]
    every: list[Any] = [getattr(backend, part, None) for backend, part in (*parts, (backends.mkldnn, "matmul"))]
    named = [backend for backend in every if hasattr(backend, "fp32_precision")]
    strings = [backend.fp32_precision for backend in named]
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    backends.cudnn.allow_tf32 = allowed
    for backend in named:
        backend.fp32_precision = "tf32" if allowed else "ieee"

    def put_back() -> None:
        if flags is not None:
            torch.set_float32_matmul_precision(flags[0])
            backends.cudnn.allow_tf32 = flags[1]
        for backend, string in zip(named, strings, strict=True):
            backend.fp32_precision = string

    return put_back
