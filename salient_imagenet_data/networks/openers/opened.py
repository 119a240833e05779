"""What an opener gives, and what openers share."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from salient_imagenet_data.errors import SalientError, not_installed
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.hub_errors import cached_where_offline
from salient_imagenet_data.networks.classifiers import Model, Normalised
from salient_imagenet_data.networks.normalisers import Normaliser


@dataclass(frozen=True)
class Opened:
    """A network as its library and its weights have it.

    preprocessing: None: as the store's crop. details: what is recorded of it, JSON-ready. classes: how many outputs it
    has, None where it does not say. class_names: of the outputs, where the network names them. assumed: of as many
    outputs as these, where it names none: a library's ImageNet network has ImageNet's classes in their order.
    """

    model: Model
    preprocessing: Preprocessing | None
    details: dict[str, Any] = field(default_factory=dict)
    classes: int | None = None
    class_names: tuple[str, ...] | None = None
    assumed: tuple[str, ...] | None = None


def normalised(
    net: Any, own: Normaliser | None, mean: Sequence[float], std: Sequence[float], whose: str
) -> tuple[Normalised, dict[str, Any]]:
    """A network behind its normalisation, the weights' `own` where they have one, and what is recorded of that."""
    chosen = own or Normaliser(tuple(map(float, mean)), tuple(map(float, std)), whose)
    return Normalised(net, chosen.mean, chosen.std), {"normalisation": chosen.to_json()}


def needed(package: str) -> Any:
    """A package of an extra. Raises SalientError where it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise not_installed(package) from error


def is_folder(name: str, what: str) -> bool:
    """Whether a name is that of a folder, and not of a repository. Raises SalientError for a folder that is not there:
    a repository's name has no more than its owner before it."""
    if Path(name).is_dir():
        return True
    if name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise SalientError(f"{what}: no such folder", expected="a folder, or a repository such as owner/name")
    return False


@contextmanager
def opening(what: str, then: str = "", *, local: bool = False) -> Iterator[None]:
    """Turn what a library raises of a name, a folder or a repository that it cannot open into one line. what: the spec.
    then: what may be done about it. local: nothing of it is at the Hub, so that a missing connection is not the
    reason."""
    try:
        with nullcontext() if local else cached_where_offline(f"{what}: cannot be opened"):
            yield
    except SalientError:
        raise
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError) as error:
        said = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise SalientError(f"{what}: cannot be opened", got=said[0][:300], then=then) from error
