"""JPEGs decoded on a CUDA device by NVIDIA's nvJPEG, through torchcodec (0.16 or newer), or else through torchvision.

The same decoder is behind both; torchvision's is deprecated since 0.29 in favour of torchcodec's.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module

import torch
from PIL import Image
from torch import Tensor

from salient_imagenet_data.errors import SalientError

Decode = Callable[[list[Tensor], str], list[Tensor]]


def packages() -> tuple[str, ...]:
    """Names of the distributions that decode here, beside torchvision."""
    return ("torchcodec",) if _torchcodec() else ()


def check(device: str) -> None:
    """Decode one small image, since what fails later would be read by Pillow unnoticed. Raises SalientError."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, format="JPEG")
    try:
        _decode()([torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)], device)
    except (ImportError, RuntimeError) as error:
        raise SalientError(
            "decoder nvjpeg: neither torchcodec nor this torchvision decodes on the device",
            got=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}",
            then="pip install torchcodec (0.16 or newer), or choose simplejpeg or pillow+torch",
        ) from error


def decoded(files: list[Tensor], device: str) -> list[Tensor | None]:
    """Pictures (3, H, W) uint8 on a device, of files (N,) uint8 on the processor; None where one is refused."""
    if not files:
        return []
    try:
        return list(_decode()(files, device))
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "CUDA error" in str(error):
            raise
        if len(files) == 1:
            return [None]
        half = len(files) // 2  # it is of one or several; it does not say which
        return decoded(files[:half], device) + decoded(files[half:], device)


def _decode() -> Decode:
    """Raises ImportError where neither has it."""
    found = _torchcodec()
    if found is not None:
        return found
    from torchvision.io import ImageReadMode, decode_jpeg

    def by_torchvision(files: list[Tensor], device: str) -> list[Tensor]:
        pictures: list[Tensor] = decode_jpeg(files, mode=ImageReadMode.RGB, device=device)
        return pictures

    return by_torchvision


@lru_cache(maxsize=1)
def _torchcodec() -> Decode | None:
    """None where it is not installed, too old, or does not load beside this torch. Tried once, as it takes long."""
    try:
        decode_jpeg = import_module("torchcodec.decoders").decode_jpeg
    except (ImportError, AttributeError, OSError, RuntimeError):
        return None

    def by_torchcodec(files: list[Tensor], device: str) -> list[Tensor]:
        pictures: list[Tensor] = decode_jpeg(files, mode="RGB", device=device)
        return pictures

    return by_torchcodec
