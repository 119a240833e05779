"""Thin loaders: numpy batches (no torch), a torch dataset, and masked corruptions as v2 transforms."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from salient_imagenet_data.loaders.corruptions import MaskedGaussianNoise as MaskedGaussianNoise
    from salient_imagenet_data.loaders.corruptions import gaussian_noise as gaussian_noise
    from salient_imagenet_data.loaders.numpy_loader import NumpyLoader as NumpyLoader
    from salient_imagenet_data.loaders.soft_mask import SoftMask as SoftMask
    from salient_imagenet_data.loaders.torch_dataset import SalientImageNet as SalientImageNet

_HOME = {
    "MaskedGaussianNoise": "corruptions",
    "NumpyLoader": "numpy_loader",
    "SalientImageNet": "torch_dataset",
    "SoftMask": "soft_mask",
    "gaussian_noise": "corruptions",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
