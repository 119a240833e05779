"""Soft masks as a tv_tensor, so that any `transforms.v2` pipeline moves an image and its masks together.

torchvision's own `Mask` is resized by nearest neighbour, and an `Image` would have its colours changed. A
SoftMask goes through every geometric kernel bilinearly, is 0 where a transform uncovers nothing known, and
is left alone by colour transforms. It is a `Mask` to torchvision, so transforms that would move the image alone
(RandAugment and its kin, CutMix, MixUp) refuse a sample with one instead of tearing the two apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from salient_imagenet_data.loaders.batches import KeptMask


class SoftMask(KeptMask):
    """(..., H, W) float mask in [0, 1]."""

    def __new__(cls, data: Any) -> SoftMask:
        tensor = torch.as_tensor(data)
        if not tensor.is_floating_point():
            raise TypeError(f"SoftMask: expected a float tensor in [0, 1], got {tensor.dtype}")
        result: SoftMask = tensor.as_subclass(cls)
        return result


# Functional -> (image kernel, takes interpolation, takes fill). Fill and interpolation of the image's
# transform are not the mask's: outside the image nothing is known, which is 0.
_KERNELS: tuple[tuple[Callable[..., Any], Callable[..., Any], bool, bool], ...] = (
    (F.resize, F.resize_image, True, False),
    (F.horizontal_flip, F.horizontal_flip_image, False, False),
    (F.vertical_flip, F.vertical_flip_image, False, False),
    (F.crop, F.crop_image, False, False),
    (F.center_crop, F.center_crop_image, False, False),
    (F.resized_crop, F.resized_crop_image, True, False),
    (F.five_crop, F.five_crop_image, False, False),
    (F.ten_crop, F.ten_crop_image, False, False),
    (F.affine, F.affine_image, True, True),
    (F.rotate, F.rotate_image, True, True),
    (F.perspective, F.perspective_image, True, True),
    (F.elastic, F.elastic_image, True, True),
)


def _register(functional: Callable[..., Any], kernel: Callable[..., Any], interpolated: bool, filled: bool) -> None:
    def soft_mask_kernel(mask: SoftMask, *args: Any, **kwargs: Any) -> Any:
        if interpolated:
            kwargs["interpolation"] = InterpolationMode.BILINEAR
        if filled:
            kwargs["fill"] = 0.0
        return _wrap(kernel(_planes(mask), *args, **kwargs), mask)

    F.register_kernel(functional, SoftMask)(soft_mask_kernel)


def _pad(mask: SoftMask, padding: list[int], fill: Any = None, padding_mode: str = "constant") -> Any:
    return _wrap(F.pad_image(_planes(mask), padding, fill=0.0, padding_mode=padding_mode), mask)


def _planes(mask: Tensor) -> Tensor:
    """Plain tensor with a channel axis: (..., C, H, W), as the image kernels want."""
    plain = mask.as_subclass(Tensor)
    return plain[None] if plain.ndim == 2 else plain


def _wrap(output: Any, mask: Tensor) -> Any:
    if isinstance(output, (tuple, list)):
        return type(output)(_wrap(part, mask) for part in output)
    # Bilinear antialiasing may leave [0, 1] by a rounding error.
    output = output.clamp(0.0, 1.0)
    return (output[0] if mask.ndim == 2 else output).as_subclass(SoftMask)


for _functional, _kernel, _interpolated, _filled in _KERNELS:
    _register(_functional, _kernel, _interpolated, _filled)
F.register_kernel(F.pad, SoftMask)(_pad)
