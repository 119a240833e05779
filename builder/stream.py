"""From a source to the network's maps and features, batch by batch, with decoding ahead on threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from salient_imagenet_data.builder.config import Precision, RunConfig
from salient_imagenet_data.builder.decoding import Decoder, crops
from salient_imagenet_data.builder.model import RobustModel
from salient_imagenet_data.errors import ImageError, SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images import ImageSource

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Batch:
    """Images of one batch. indices: (B,) into the source. sizes: (B, 2) width and height of the originals.

    images: (B, 3, S, S) uint8, channels last in memory; on the device already if they were decoded there.
    """

    indices: NDArray[np.int64]
    sizes: NDArray[np.int64]
    images: Tensor


def batches(
    source: ImageSource,
    indices: Sequence[int],
    preprocessing: Preprocessing,
    batch_size: int,
    failed: list[tuple[int, ImageError]],
    run: RunConfig | None = None,
    decoder: Decoder = "pillow",
) -> Iterator[Batch]:
    """Batches of crops in order; images that cannot be decoded are appended to `failed` and left out."""
    threads, device = (run or RunConfig()).threads, (run or RunConfig()).device
    window = max(2 * batch_size, 8 * threads)
    kept: list[tuple[int, tuple[int, int], Tensor]] = []
    ready = crops(source, indices, preprocessing, decoder, device=device, threads=threads, window=window)
    for index, item in ready:
        if isinstance(item, ImageError):
            failed.append((index, item))
            continue
        kept.append((index, *item))
        if len(kept) == batch_size:
            yield _stack(kept)
            kept = []
    if kept:
        yield _stack(kept)


def _stack(items: list[tuple[int, tuple[int, int], Tensor]]) -> Batch:
    # On the device if one of them is: what a decoder there does not take, Pillow read on the CPU.
    device = next((crop.device for _, _, crop in items if crop.device.type != "cpu"), torch.device("cpu"))
    images = torch.stack([crop.permute(1, 2, 0).to(device) for _, _, crop in items]).permute(0, 3, 1, 2)
    return Batch(np.array([i for i, _, _ in items]), np.array([size for _, size, _ in items]), images)


def run_model(
    model: RobustModel, images: Tensor, precision: Precision, device: str, *, compile_for: int | None = None
) -> tuple[Tensor, Tensor]:
    """Maps (B, F, h, w) and features (B, F), float32 on the device, of crops (B, 3, S, S) uint8.

    With bf16 or fp16 the network's layers run in that type where torch's autocast says so. compile_for: the batch size
    to compile the network for; smaller batches are filled up. Raises SalientError where it cannot be compiled.
    """
    if compile_for is None:
        return _forward(model, images.to(device, non_blocking=True), precision)
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor import config as inductor

    # Always one shape, one layout and one kind of tensor, since anything else is compiled anew.
    count, shape = len(images), (compile_for, *images.shape[1:])
    batch = torch.empty(shape, dtype=torch.uint8, device=device, memory_format=torch.channels_last)
    batch[:count] = images
    batch[count:] = 0
    try:
        # Frozen weights let the compiler fold batch norms into layers; it reads this setting, not the option, when it
        # compiles, and that is at the first call.
        with inductor.patch(freezing=True):
            maps, features = _compiled(model, precision, _version(model))(batch)  # type: ignore[arg-type]
    except torch.OutOfMemoryError:
        raise
    except (TorchDynamoException, RuntimeError) as error:
        raise SalientError(
            f"{model.architecture}: cannot be compiled",
            got=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:300],
            then="is there a C++ compiler? Else build without --compile",
        ) from error
    return maps[:count], features[:count]


def _forward(model: RobustModel, images: Tensor, precision: Precision) -> tuple[Tensor, Tensor]:
    x = images.float().div_(255.0)
    with torch.autocast(images.device.type, AUTOCAST.get(precision, torch.bfloat16), enabled=precision in AUTOCAST):
        maps, features = model.maps_and_features(x)
    return maps.float(), features.float()


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
    """Set TensorFloat-32 as asked, and put it back: fp32 is fp32 everywhere. Raises SalientError for tf32 on a CPU."""
    if precision == "tf32" and torch.device(device).type != "cuda":
        raise SalientError(f"{device}: no TensorFloat-32 here", expected="a CUDA device", then="choose fp32 or bf16")
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
