"""Robust classifiers: what the builder needs of one, and any network with a linear head on a grid as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.networks.classes import ClassMap, match_classes
from salient_imagenet_data.networks.classifiers import Classifier, Normalised, Reordered
from salient_imagenet_data.networks.grid import find_grid
from salient_imagenet_data.networks.opening import open_network, spec_of
from salient_imagenet_data.networks.smallnet import SmallNetModel, rows_of_classes


class RobustModel(Protocol):
    """A classifier with a linear head on features, and maps that say where each feature is.

    preprocessing: how images are made ready. architecture: a name for the manifest. class_names: of the N outputs,
    where the weights know them. class_map: how the outputs were matched with the C classes of the images, which are the
    first of them; None: not yet, and all outputs are classes. weight: (C, F), the head's of these classes. details:
    what is recorded of it, as of a `Classifier`.
    """

    architecture: str
    preprocessing: Preprocessing
    class_names: tuple[str, ...] | None
    class_map: ClassMap | None
    details: dict[str, Any]

    @property
    def weight(self) -> Tensor: ...

    def maps(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) float in [0, 1] -> (B, F, h, w)."""
        ...

    def maps_and_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The maps, and the head's input (B, F): their mean over the grid in a pooled network."""
        ...

    def logits(self, features: Tensor) -> Tensor:
        """Features (B, F) -> (B, N)."""
        ...

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) float in [0, 1] -> logits (B, N)."""
        ...


class ImageClassifier(Normalised):
    """Any network with a linear head and a grid before it, behind its normalisation."""

    def __init__(
        self,
        architecture: str,
        net: nn.Module,
        preprocessing: Preprocessing,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
    ) -> None:
        super().__init__(net.eval(), mean, std)
        self.architecture, self.preprocessing = architecture, preprocessing
        self.class_names: tuple[str, ...] | None = None
        self.class_map: ClassMap | None = None
        self.details: dict[str, Any] = {}
        self.grid = find_grid(net, preprocessing.crop, architecture)
        self.head: nn.Linear = net.get_submodule(self.grid.head)  # type: ignore[assignment]
        self._seen: dict[str, Tensor] | None = None  # what `maps_and_features` asks for, while it runs
        net.get_submodule(self.grid.module).register_forward_hook(self._keep_output)
        self.head.register_forward_pre_hook(self._keep_input)

    def _keep_output(self, module: nn.Module, inputs: object, output: Tensor) -> None:
        if self._seen is not None:
            self._seen["grid"] = output

    def _keep_input(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if self._seen is not None:
            self._seen["features"] = inputs[0]

    @property
    def weight(self) -> Tensor:
        return rows_of_classes(self.head.weight, self.class_map)

    def maps(self, images: Tensor) -> Tensor:
        return self.maps_and_features(images)[0]

    def maps_and_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        seen: dict[str, Tensor] = {}
        self._seen = seen
        self(images)
        self._seen = None
        maps, features = self.grid.maps(seen["grid"], self.net), seen["features"]
        # In half precision the network's own pooling rounds; the mean of the maps in float32 does not.
        return maps, maps.float().mean(dim=(2, 3)) if self.grid.pooled else features

    def logits(self, features: Tensor) -> Tensor:
        result: Tensor = self.head(features)
        return result


def load_model(
    weights: str | Path,
    *,
    architecture: str | None = None,
    preprocessing: Preprocessing | None = None,
    class_names: tuple[str, ...] | None = None,
    outputs: Sequence[str] | None = None,
    revision: str | None = None,
    sha256: str | None = None,
) -> tuple[SmallNetModel | ImageClassifier, str]:
    """The robust model of a checkpoint, opened as `open_network` does, and the file's sha256.

    architecture: a spec, or a bare name of torchvision's; none for a file of `salient-imagenet train`. preprocessing:
    another than the network's own. class_names: of the images: the head is put into their order by name, its other rows
    after them. outputs: names of the network's outputs instead of its own. Raises SalientError for all that does not
    fit, and a network without a linear head on a grid.
    """
    spec = None if architecture is None else spec_of(architecture)
    opened = open_network(spec, class_names, weights, outputs=outputs, revision=revision, sha256=sha256)
    return robust_model(opened, preprocessing), str(opened.details["weights_sha256"])


def robust_model(opened: Classifier, preprocessing: Preprocessing | None = None) -> SmallNetModel | ImageClassifier:
    """A network that was opened, with its head and grid. Raises SalientError where it has none."""
    model, names = opened.model, opened.class_names
    if "spufix" in opened.details:
        raise SalientError(
            f"{opened.name}: its head is corrected by spufix, so no longer linear",
            then="build a store with the network as it was before",
        )
    order = model.order if isinstance(model, Reordered) else None
    if isinstance(model, Reordered):
        model = model.net
    if isinstance(model, SmallNetModel):
        if preprocessing not in (None, model.preprocessing):
            raise SalientError(
                f"{opened.name}: the weights say themselves how they want images",
                expected=f"{model.preprocessing}",
                got=f"{preprocessing}",
                then="leave --resize and --crop out",
            )
        robust: SmallNetModel | ImageClassifier = model
        head = model.net.head
    elif isinstance(model, Normalised):
        wanted = preprocessing or opened.preprocessing
        assert wanted is not None  # of all but functions
        mean, std = (values.flatten().tolist() for values in (model.mean, model.std))
        robust = ImageClassifier(str(opened.details["spec"]).removeprefix("torchvision:"), model.net, wanted, mean, std)
        head = robust.head
    else:
        raise SalientError(
            f"{opened.name}: its head and last grid are not known",
            expected="a network of a library, or of `train`",
            got=type(model).__name__,
        )
    if order is not None:
        with torch.no_grad():
            head.weight.copy_(head.weight[list(order)])
            if head.bias is not None:
                head.bias.copy_(head.bias[list(order)])
        names = None if names is None else tuple(names[k] for k in order)
    robust.class_names, robust.details = names, dict(opened.details)
    robust.class_map = None if opened.class_map is None else replace(opened.class_map, outputs=None)
    return robust.eval().requires_grad_(False)


def check_classes(model: RobustModel, class_names: tuple[str, ...], images: str) -> None:
    """Raise SalientError unless the head fits the classes, and their names, in order, where the weights know them."""
    classes = model.weight.shape[0]
    names = None if model.class_names is None else model.class_names[:classes]
    if classes != len(class_names):
        raise SalientError(
            f"weights and {images} differ in classes",
            expected=f"{len(class_names)} classes, as there",
            got=str(classes),
            then="open the weights with the class names of the images",
        )
    matched = match_classes(names, classes, class_names, "weights", images)
    if matched.outputs is not None:
        first = next(i for i, k in enumerate(matched.outputs) if i != k)
        assert names is not None
        raise SalientError(
            f"weights and {images} name class {first} differently",
            expected=repr(names[first]),
            got=repr(class_names[first]),
            then="open the weights with the class names of the images",
        )
