"""Several networks at once, from specs and files, each opened when its turn comes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from torch import nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.networks.classifiers import OPENERS, Classifier, Normalised, open_model
from salient_imagenet_data.networks.robust import (
    ImageClassifier,
    SmallNetModel,
    check_classes,
    load_model,
    save_smallnet,
)
from salient_imagenet_data.networks.weights import save_network
from salient_imagenet_data.store.reading import Store

Opener = Callable[[], Classifier]


def open_networks(
    store: Store,
    models: Sequence[str] = (),
    weights: Sequence[str] = (),
    architecture: str | None = None,
    *,
    own_preprocessing: bool = True,
) -> dict[str, Opener]:
    """What opens each network, by its name: nothing is read before it is called, so that one is in memory at a time.

    models: specs of `open_model`. weights: files, one for each spec, or alone, then of `architecture` or of
    `salient-imagenet train`. own_preprocessing: images as the network wants them, else the store's crop. Raises
    SalientError for numbers that do not fit, or a name given twice.
    """
    if not models and not weights:
        raise SalientError("give --model SPEC, --weights FILE, or both")
    if models and weights and len(weights) != len(models):
        raise SalientError(f"give one --weights for each --model, or none; got {len(weights)} for {len(models)}")
    openers: dict[str, Opener] = {}
    for index, spec in enumerate(models or weights):
        file = weights[index] if models and weights else None
        name = f"{spec} ({Path(file).name})" if file else spec
        if name in openers:
            raise SalientError(f"{name} is given twice")
        read = partial(_by_spec, spec, file, name) if models else partial(_by_file, spec, architecture)
        openers[name] = partial(read, store, own_preprocessing)
    return openers


def _by_spec(spec: str, weights: str | None, name: str, store: Store, own_preprocessing: bool) -> Classifier:
    opened = open_model(spec, store.class_names, weights, name=name)
    return opened if own_preprocessing else dataclasses.replace(opened, preprocessing=None)


def _by_file(path: str, architecture: str | None, store: Store, own_preprocessing: bool) -> Classifier:
    """A classifier of `salient-imagenet train`, or a state dict of an architecture."""
    model, sha256 = load_model(path, architecture=architecture, preprocessing=store.manifest.preprocessing)
    check_classes(model, store.class_names, str(store.path))
    preprocessing = model.preprocessing if own_preprocessing else None
    return Classifier(
        path, model, preprocessing, {"spec": model.architecture, "weights_sha256": sha256}, channels_last=True
    )


def save_as_read(network: nn.Module, out: Path, model: str | None = None) -> None:
    """Write a network as the file that it could have been read from, with the same spec `model`, or None for weights
    alone."""
    own = model is not None and model.partition(":")[0] not in OPENERS  # a function's network is read as it is
    if not own and isinstance(network, SmallNetModel):
        save_smallnet(network, out)
    elif not own and isinstance(network, (ImageClassifier, Normalised)):
        save_network(network.net, out, network.mean, network.std)
    else:
        save_network(network, out)
