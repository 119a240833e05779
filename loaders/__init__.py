"""Thin loaders: numpy batches (no torch), a torch dataset, and masked corruptions as v2 transforms."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from salient_imagenet_data.loaders.augment.backgrounds import OtherBackground as OtherBackground
    from salient_imagenet_data.loaders.augment.planting import PlantedCue as PlantedCue
    from salient_imagenet_data.loaders.augment.presets import augmentation as augmentation
    from salient_imagenet_data.loaders.batches import Batch as Batch
    from salient_imagenet_data.loaders.batches import collate as collate
    from salient_imagenet_data.loaders.compact import MapFrame as MapFrame
    from salient_imagenet_data.loaders.compact import masks_from_maps as masks_from_maps
    from salient_imagenet_data.loaders.compact import masks_of_batch as masks_of_batch
    from salient_imagenet_data.loaders.controls import partners as partners
    from salient_imagenet_data.loaders.controls import region_masks as region_masks
    from salient_imagenet_data.loaders.corruption.corruptions import corrupt as corrupt
    from salient_imagenet_data.loaders.corruption.corruptions import gaussian_noise as gaussian_noise
    from salient_imagenet_data.loaders.corruption.corruptions import image_seeds as image_seeds
    from salient_imagenet_data.loaders.corruption.records import Blur as Blur
    from salient_imagenet_data.loaders.corruption.records import Composite as Composite
    from salient_imagenet_data.loaders.corruption.records import Corruption as Corruption
    from salient_imagenet_data.loaders.corruption.records import Fill as Fill
    from salient_imagenet_data.loaders.corruption.records import GaussianNoise as GaussianNoise
    from salient_imagenet_data.loaders.corruption.records import Inpaint as Inpaint
    from salient_imagenet_data.loaders.corruption.records import Shuffle as Shuffle
    from salient_imagenet_data.loaders.corruption.records import Static as Static
    from salient_imagenet_data.loaders.corruption.records import Swap as Swap
    from salient_imagenet_data.loaders.corruption.records import Tile as Tile
    from salient_imagenet_data.loaders.missing.layers import LayerMasking as LayerMasking
    from salient_imagenet_data.loaders.missing.tokens import TokenDropping as TokenDropping
    from salient_imagenet_data.loaders.numpy_loader import NumpyLoader as NumpyLoader
    from salient_imagenet_data.loaders.region import Region as Region
    from salient_imagenet_data.loaders.soft_mask import SoftMask as SoftMask
    from salient_imagenet_data.loaders.torch_dataset import SalientImageNet as SalientImageNet
    from salient_imagenet_data.loaders.torch_dataset import SalientImageNetStream as SalientImageNetStream
    from salient_imagenet_data.loaders.transforms import FiveCrop as FiveCrop
    from salient_imagenet_data.loaders.transforms import MaskedCorruption as MaskedCorruption
    from salient_imagenet_data.loaders.transforms import MaskedGaussianNoise as MaskedGaussianNoise
    from salient_imagenet_data.loaders.transforms import TenCrop as TenCrop

_HOME = {
    "Batch": "batches",
    "Blur": "corruption.records",
    "Composite": "corruption.records",
    "Corruption": "corruption.records",
    "Fill": "corruption.records",
    "FiveCrop": "transforms",
    "GaussianNoise": "corruption.records",
    "Inpaint": "corruption.records",
    "LayerMasking": "missing.layers",
    "MapFrame": "compact",
    "MaskedCorruption": "transforms",
    "MaskedGaussianNoise": "transforms",
    "NumpyLoader": "numpy_loader",
    "OtherBackground": "augment.backgrounds",
    "PlantedCue": "augment.planting",
    "Region": "region",
    "SalientImageNet": "torch_dataset",
    "SalientImageNetStream": "torch_dataset",
    "Shuffle": "corruption.records",
    "SoftMask": "soft_mask",
    "Static": "corruption.records",
    "Swap": "corruption.records",
    "TenCrop": "transforms",
    "Tile": "corruption.records",
    "TokenDropping": "missing.tokens",
    "augmentation": "augment.presets",
    "collate": "batches",
    "corrupt": "corruption.corruptions",
    "gaussian_noise": "corruption.corruptions",
    "image_seeds": "corruption.corruptions",
    "masks_from_maps": "compact",
    "masks_of_batch": "compact",
    "partners": "controls",
    "region_masks": "controls",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
