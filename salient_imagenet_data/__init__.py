"""Core and spurious soft masks for image classification data sets.

Names are loaded on first use, so importing this package loads neither torch nor datasets.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from salient_imagenet_data.annotation.files import read_annotations as read_annotations
    from salient_imagenet_data.dataset import load_dataset as load_dataset
    from salient_imagenet_data.errors import SalientError as SalientError
    from salient_imagenet_data.images.folder import FolderSource as FolderSource
    from salient_imagenet_data.images.memory import MemorySource as MemorySource
    from salient_imagenet_data.looking import show as show
    from salient_imagenet_data.scenes import SceneSource as SceneSource
    from salient_imagenet_data.store.reading import Store as Store
    from salient_imagenet_data.table.plain import to_images as to_images

_HOME = {
    "FolderSource": "images.folder",
    "MemorySource": "images.memory",
    "SalientError": "errors",
    "SceneSource": "scenes",
    "Store": "store.reading",
    "load_dataset": "dataset",
    "read_annotations": "annotation.files",
    "show": "looking",
    "to_images": "table.plain",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
