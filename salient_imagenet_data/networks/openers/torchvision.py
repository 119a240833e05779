"""torchvision:NAME[:WEIGHTS], resized, cropped and normalised as an entry of the library's weights says."""

from __future__ import annotations

from http.client import HTTPException
from typing import Any

import torchvision

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.networks.checkpoint import Checkpoint
from salient_imagenet_data.networks.openers.opened import Opened, normalised
from salient_imagenet_data.networks.weights import load_into, sized

ORIGINAL = "IMAGENET1K_V1"
"""The entry whose preprocessing other people's weights have: the original recipe's, 256 / 224 for a ResNet-50."""
CLASSES = 1000


def open_torchvision(rest: str, class_names: tuple[str, ...] | None, weights: Checkpoint | None) -> Opened:
    """A classifier of torchvision; weights: instead of the library's download, of as many classes as they have."""
    name, _, which = rest.partition(":")
    if name not in torchvision.models.list_models(module=torchvision.models):
        raise SalientError(
            f"torchvision:{rest}: torchvision has no such classifier",
            expected="a name of torchvision.models.list_models(), such as resnet50",
        )
    entry, own = _entry(name, which, weights is None), None
    known = tuple(entry.meta["categories"])
    if weights is None:
        net, classes = _downloaded(name, entry), len(known)
    else:
        net, classes = sized(
            lambda count: torchvision.models.get_model(name, weights=None, num_classes=count or CLASSES),
            CLASSES,
            weights,
        )
        own = load_into(net, weights, f"torchvision:{rest}")
    made = entry.transforms()
    preprocessing = Preprocessing(made.resize_size[0], made.crop_size[0], made.interpolation.value)
    model, details = normalised(net, own, made.mean, made.std, f"torchvision's {entry}")
    details |= {"library": f"torchvision {torchvision.__version__}", "preprocessing_of": str(entry)}
    return Opened(model, preprocessing, details, classes, known if weights is None else None, known)


def _downloaded(name: str, entry: Any) -> Any:
    try:
        return torchvision.models.get_model(name, weights=entry)
    except (OSError, HTTPException) as error:  # of urllib, which names neither the network nor the address
        raise SalientError(
            f"torchvision:{name}: its weights cannot be downloaded from {entry.url}",
            got=str(getattr(error, "reason", "") or error),
            then="check the connection, or download the file yourself and give it as --weights",
        ) from error


def _entry(name: str, which: str, default: bool) -> Any:
    known = torchvision.models.get_model_weights(name)
    if not which:
        return known.DEFAULT if default or ORIGINAL not in known.__members__ else known[ORIGINAL]
    if which not in known.__members__:
        raise SalientError(
            f"torchvision:{name}:{which}: no such weights", expected=", ".join(known.__members__), got=which
        )
    return known[which]
