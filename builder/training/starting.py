"""The network that a fine-tuning starts from: opened as everywhere, with a head for the classes at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from salient_imagenet_data.builder.choices import HeadOf
from salient_imagenet_data.errors import SalientError, some
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.networks.classes import outputs_by_name
from salient_imagenet_data.networks.classifiers import network_of
from salient_imagenet_data.networks.grid import find_grid
from salient_imagenet_data.networks.opening import inside, open_network
from salient_imagenet_data.networks.smallnet import SmallNet, SmallNetConfig, SmallNetModel


@dataclass(frozen=True)
class Start:
    """name: what it is called. model: over images in [0, 1], one output for each class, in their order. preprocessing:
    how it wants test images. spec: what it was opened as, None for a file of `salient-imagenet train`. head: what was
    done to it, in words. network: sha256 of the state that it was opened with."""

    name: str
    model: nn.Module
    preprocessing: Preprocessing
    spec: str | None
    head: str
    network: str


def start_from(
    spec: str | None,
    weights: str | None,
    class_names: tuple[str, ...],
    *,
    head: HeadOf | None = None,
    outputs: Sequence[str] | None = None,
    resize: int | None = None,
    crop: int | None = None,
) -> Start:
    """Open a network and give it a head for the classes.

    spec, weights, outputs: as of `open_network`. head: `cut`: the outputs of the classes, found by name; `new`: a fresh
    one, all zeros; None: cut where all classes are found, new where none is. resize, crop: sides other than the
    network's own; of one alone the other is the same. Raises SalientError for a class that is not found, or a network
    without a linear head on a grid.
    """
    opened = open_network(spec, None, weights, outputs=outputs)
    model, wanted = network_of(opened), opened.preprocessing
    if wanted is None:
        raise SalientError(f"{opened.name}: does not say how it wants images", expected="a network of a library")
    if resize or crop:
        wanted = replace(wanted, resize=resize or crop or 0, crop=crop or resize or 0)
    net = inside(model)
    name = "head" if isinstance(net, SmallNet) else find_grid(net, wanted.crop, opened.name).head
    layer = net.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    names = opened.class_names
    if names is None and opened.assumed is not None and len(opened.assumed) == layer.out_features:
        names = opened.assumed
    order = None if head == "new" else _outputs(names, class_names, opened.name, head)
    fresh = nn.Linear(layer.in_features, len(class_names), bias=layer.bias is not None)
    with torch.no_grad():
        if order is None:
            # Zeros: all classes alike at first, so that no random direction disturbs what was learned before.
            fresh.weight.zero_()
        else:
            fresh.weight.copy_(layer.weight[order])
        if fresh.bias is not None:
            fresh.bias.copy_(layer.bias[order]) if order is not None else fresh.bias.zero_()
    net.set_submodule(name, fresh)
    if isinstance(net, SmallNet):
        config = net.config
        net.config = SmallNetConfig(len(class_names), config.widths, config.blocks, config.stem_stride)
        model = SmallNetModel(net, wanted, class_names)
    told = f"{len(class_names)} of {layer.out_features} outputs, by name"
    if order is None:
        told = "new, zeros at first" + (", as its outputs have no names" if names is None and head is None else "")
    spec = None if isinstance(net, SmallNet) else str(opened.details["spec"])
    return Start(opened.name, model, wanted, spec, told, str(opened.details["network_sha256"]))


def asked(given: str, weights: str | None) -> tuple[str | None, str | None]:
    """Spec and weights of `open_network` for what a person gives: a spec, perhaps with weights, or a file alone."""
    if not Path(given).is_file():
        return given, weights
    if weights is not None:
        raise SalientError(
            f"{given}: a file, and weights beside it", expected="a spec such as timm:NAME with --weights, or one file"
        )
    return None, given


def _outputs(
    names: tuple[str, ...] | None, class_names: tuple[str, ...], what: str, head: HeadOf | None
) -> list[int] | None:
    """The network's output of each class; None where a new head is due."""
    found = {} if names is None else outputs_by_name(names, class_names)
    if len(found) == len(class_names):
        return [found[i] for i in range(len(class_names))]
    missing = [name for i, name in enumerate(class_names) if i not in found]
    if found or head == "cut":
        raise SalientError(
            f"{what}: has no output for {len(missing)} of {len(class_names)} classes",
            expected="outputs named as the classes, or none",
            got="no names of its outputs" if names is None else some(missing),
            then="name its outputs with --class-names FILE, or --class-names imagenet, or use --head new",
        )
    return None
