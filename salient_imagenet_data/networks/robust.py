"""Robust classifiers: what the builder needs of one, and the networks it knows to read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torchvision
from safetensors.torch import save
from torch import Tensor, nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.networks.checkpoint import Checkpoint, fetch, read_checkpoint
from salient_imagenet_data.networks.grid import find_grid
from salient_imagenet_data.networks.smallnet import SmallNet, SmallNetConfig
from salient_imagenet_data.networks.weights import load_into, normaliser, prefix_of
from salient_imagenet_data.whole_file import write_bytes

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

KNOWN = {"resnet50_l2_eps3.ckpt": "resnet50"}
"""Architectures of published robust checkpoints, by file name, where the file does not say."""


class RobustModel(Protocol):
    """A classifier with a linear head on features, and maps that say where each feature is.

    preprocessing: how images are made ready. architecture: a name for the manifest. class_names: where the weights
    know them. weight: (C, F), the head's.
    """

    architecture: str
    preprocessing: Preprocessing
    class_names: tuple[str, ...] | None

    @property
    def weight(self) -> Tensor: ...

    def maps(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) float in [0, 1] -> (B, F, h, w)."""
        ...

    def maps_and_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The maps, and the head's input (B, F): their mean over the grid in a pooled network."""
        ...

    def logits(self, features: Tensor) -> Tensor:
        """Features (B, F) -> (B, C)."""
        ...

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) float in [0, 1] -> logits (B, C)."""
        ...


class SmallNetModel(nn.Module):
    """A `SmallNet` with its preprocessing and class names, as its file holds them."""

    def __init__(self, net: SmallNet, preprocessing: Preprocessing, class_names: tuple[str, ...]) -> None:
        super().__init__()
        self.net, self.preprocessing = net, preprocessing
        self.class_names: tuple[str, ...] | None = class_names
        config = net.config
        self.architecture = f"smallnet-{'-'.join(map(str, config.widths))}-b{config.blocks}-s{config.stem_stride}"

    @property
    def weight(self) -> Tensor:
        return self.net.head.weight

    def maps(self, images: Tensor) -> Tensor:
        return self.net.maps(images)

    def maps_and_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.maps(images)
        return maps, maps.float().mean(dim=(2, 3))

    def logits(self, features: Tensor) -> Tensor:
        result: Tensor = self.net.head(features)
        return result

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.net(images)
        return result


class ImageClassifier(nn.Module):
    """Any torchvision or timm network with a linear head and a grid before it; normalisation inside."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        architecture: str,
        net: nn.Module,
        preprocessing: Preprocessing,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.architecture, self.net, self.preprocessing = architecture, net.eval(), preprocessing
        self.class_names: tuple[str, ...] | None = None
        self.grid = find_grid(net, preprocessing.crop, architecture)
        self.head: nn.Linear = net.get_submodule(self.grid.head)  # type: ignore[assignment]
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])
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
        return self.head.weight

    def maps(self, images: Tensor) -> Tensor:
        return self.maps_and_features(images)[0]

    def maps_and_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        seen: dict[str, Tensor] = {}
        self._seen = seen
        self(images)
        self._seen = None
        maps, features = self.grid.maps(seen["grid"]), seen["features"]
        # In half precision the network's own pooling rounds; the mean of the maps in float32 does not.
        return maps, maps.float().mean(dim=(2, 3)) if self.grid.pooled else features

    def logits(self, features: Tensor) -> Tensor:
        result: Tensor = self.head(features)
        return result

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.net((images - self.mean) / self.std)
        return result


def save_smallnet(model: SmallNetModel, path: Path) -> None:
    """Write a SmallNet to safetensors with all it takes to read it back, under a temporary name first."""
    config = model.net.config
    header = {
        "architecture": "smallnet",
        "widths": list(config.widths),
        "blocks": config.blocks,
        "stem_stride": config.stem_stride,
        "class_names": list(model.class_names or ()),
        "resize": model.preprocessing.resize,
        "crop": model.preprocessing.crop,
    }
    tensors = {k: v.contiguous() for k, v in model.net.state_dict().items()}
    # One metadata entry: safetensors writes several in no fixed order, and equal weights must give equal bytes.
    write_bytes(path, save(tensors, metadata={"smallnet": json.dumps(header, sort_keys=True)}))


def load_model(
    weights: str | Path,
    *,
    architecture: str | None = None,
    preprocessing: Preprocessing | None = None,
    revision: str | None = None,
    sha256: str | None = None,
) -> tuple[SmallNetModel | ImageClassifier, str]:
    """Read a checkpoint; returns the model in evaluation mode and the file's sha256.

    weights: a file, or `hf://owner/name/file[@revision]`. A file of `salient-imagenet train` says what it is. Any
    other is a state dict of `architecture`: `resnet50`, `torchvision:NAME` or `timm:NAME`, alone or inside a
    checkpoint of the robustness library. `preprocessing` defaults to the paper's 256 / 224, or what timm says.
    sha256: refuse any other file. Raises SalientError for all that does not fit.
    """
    path = fetch(str(weights), revision=revision)
    checkpoint = read_checkpoint(path, sha256=sha256)
    if checkpoint.header is not None and architecture is not None:
        raise SalientError(
            f"{path}: weights of `salient-imagenet train` say themselves what network they are for",
            got=f"--architecture {architecture}",
            then="leave it out",
        )
    if checkpoint.header is not None:
        model: SmallNetModel | ImageClassifier = _smallnet(checkpoint.header, checkpoint)
    else:
        model = _classifier(architecture or KNOWN.get(path.name), checkpoint, preprocessing)
    return model.eval().requires_grad_(False), checkpoint.sha256


def check_classes(model: RobustModel, class_names: tuple[str, ...], images: str) -> None:
    """Raise SalientError unless the head fits the classes, and their names where the weights know them."""
    count = model.weight.shape[0]
    if count != len(class_names):
        raise SalientError(
            f"weights and {images} differ in classes",
            expected=f"{count} classes, as the head has",
            got=f"{len(class_names)} class folders",
            then="use the weights of this data set",
        )
    if model.class_names is not None and model.class_names != class_names:
        first = next(i for i, (a, b) in enumerate(zip(model.class_names, class_names, strict=True)) if a != b)
        raise SalientError(
            f"weights and {images} name class {first} differently",
            expected=repr(model.class_names[first]),
            got=repr(class_names[first]),
            then="use weights that were trained on these classes",
        )


def _smallnet(header: dict[str, Any], checkpoint: Checkpoint) -> SmallNetModel:
    names = tuple(header["class_names"])
    net = SmallNet(SmallNetConfig(len(names), tuple(header["widths"]), header["blocks"], header["stem_stride"]))
    load_into(net, checkpoint, "smallnet", prefix="")
    return SmallNetModel(net, Preprocessing(header["resize"], header["crop"]), names)


@dataclass(frozen=True)
class _Default:
    """What a library says of an architecture's input."""

    preprocessing: Preprocessing
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD


def _classifier(
    architecture: str | None, checkpoint: Checkpoint, preprocessing: Preprocessing | None
) -> ImageClassifier:
    if architecture is None:
        raise SalientError(
            f"{checkpoint.path}: weights do not say what network they are for",
            expected="--architecture, such as resnet50, torchvision:densenet121 or timm:resnet50",
        )
    net, default = _create(architecture, None)
    ready = preprocessing or default.preprocessing
    head = find_grid(net.eval(), ready.crop, architecture).head
    prefix = prefix_of(net.state_dict(), f"{head}.weight", checkpoint)
    classes = checkpoint.tensors[f"{prefix}{head}.weight"].shape[0]
    net, _ = _create(architecture, classes)
    load_into(net, checkpoint, architecture, prefix=prefix)
    mean, std = normaliser(checkpoint) or (default.mean, default.std)
    return ImageClassifier(architecture, net, ready, mean, std)


def _create(architecture: str, classes: int | None) -> tuple[nn.Module, _Default]:
    """A network with untrained weights, of the library's own number of classes if None."""
    library, _, name = architecture.rpartition(":")
    options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    if library in ("", "torchvision"):
        if name not in torchvision.models.list_models(module=torchvision.models):
            raise SalientError(
                f"{architecture}: torchvision has no such classifier",
                expected="a name of torchvision.models, such as resnet50, or timm:NAME",
            )
        return torchvision.models.get_model(name, weights=None, **options), _Default(Preprocessing())
    if library != "timm":
        raise SalientError(f"{architecture}: unknown library", expected="torchvision: or timm:", got=library)
    import timm
    from timm.data.config import resolve_model_data_config

    if not timm.is_model(name):
        raise SalientError(f"{architecture}: timm has no such network", then="see timm.list_models()")
    net = timm.create_model(name, pretrained=False, **options)
    config = resolve_model_data_config(net)  # type: ignore[no-untyped-call]
    crop = config["input_size"][1]
    resize = round(crop / config["crop_pct"])
    return net, _Default(Preprocessing(resize, crop), tuple(config["mean"]), tuple(config["std"]))
