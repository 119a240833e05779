"""MODULE:FUNCTION, what a function of the user's returns."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from torch import nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.networks.checkpoint import Checkpoint
from salient_imagenet_data.networks.openers.opened import Opened
from salient_imagenet_data.networks.weights import load_into


def open_function(module: str, function: str, weights: Checkpoint | None, *, others: str) -> Opened:
    """The model over images in [0, 1] that a function without arguments returns, normalisation inside.

    Its attribute `preprocessing`, a `geometry.Preprocessing`, says how it wants images; `class_names`, a list, what its
    outputs are, where they are not the store's classes in order. others: kinds of specs, for the error of a module that
    is not there.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        # A console script does not look in the current folder, where the user's module lies.
        sys.path.insert(0, here)
    try:
        make = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise SalientError(
            f"model {module}:{function} cannot be imported",
            expected=f"{others} and a name, or a module of yours and its function",
            got=str(error),
        ) from error
    model = make()
    if not callable(model):
        raise SalientError(f"{module}:{function} returned no model", expected="a callable", got=type(model).__name__)
    if weights:
        if not isinstance(model, nn.Module):
            raise SalientError(f"{module}:{function}: weights cannot be loaded", expected="an nn.Module")
        load_into(model, weights, f"{module}:{function}", normalised=False)
    ready = getattr(model, "preprocessing", None)
    if ready is not None and not isinstance(ready, Preprocessing):
        raise SalientError(
            f"{module}:{function}: its preprocessing is not understood",
            expected="a Preprocessing or None",
            got=repr(ready),
        )
    names = getattr(model, "class_names", None)
    if names is not None and not (isinstance(names, (list, tuple)) and all(isinstance(n, str) for n in names)):
        raise SalientError(
            f"{module}:{function}: its class_names are not understood", expected="a list of names", got=repr(names)[:80]
        )
    return Opened(model, ready, class_names=tuple(names) if names else None)
