"""Any network of timm or torchvision as a backbone: with a new linear head for other classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.networks.classifiers import Classifier, Normalised
from salient_imagenet_data.networks.grid import linear_head
from salient_imagenet_data.networks.opening import open_network, spec_of

KINDS = ("timm:", "torchvision:")
"""Whose networks can be made with another number of outputs, and so be read again with a new head."""


def open_backbone(
    weights: str | Path, architecture: str | None, classes: int, *, sha256: str | None = None
) -> Classifier:
    """A network as `open_network` opens it, whose last linear layer is a new one with `classes` outputs.

    It stands where the network's own head stood; where there was none (DINOv2 and v3, towers of CLIP and SigLIP), where
    timm puts it. Its weights are drawn from torch's generator and mean nothing. Raises SalientError for a network of
    another library, or one whose outputs are no linear layer's.
    """
    spec = None if architecture is None else spec_of(architecture)
    opened = open_network(spec, None, weights, sha256=sha256)
    model = opened.model
    if not str(opened.details["spec"]).startswith(KINDS) or not isinstance(model, Normalised):
        raise SalientError(f"{opened.name}: no new head can be put on it", expected="a network of timm or torchvision")
    net = model.net
    if getattr(net, "num_classes", None) == 0:
        net.reset_classifier(classes)  # type: ignore[operator]
    else:
        assert opened.preprocessing is not None
        side = opened.preprocessing.crop
        example = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
        head = linear_head(net, example, opened.name)
        net.set_submodule(head.name, nn.Linear(head.module.in_features, classes, head.module.bias is not None))
    net.eval().requires_grad_(False)
    return replace(opened, class_names=None)
