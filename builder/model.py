"""Robust classifiers: what the builder needs of one, adapters, and reading their checkpoints.

Checkpoints are safetensors files, or torch files read with `weights_only=True`; nothing is unpickled.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

import torch
import torchvision
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from salient_imagenet_data.builder.networks import SmallNet, SmallNetConfig
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.manifest import file_sha256

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")


class RobustModel(Protocol):
    """A classifier with maps that are averaged to features, and a linear head on those.

    preprocessing: how images are made ready. architecture: a name for the manifest. weight: (C, F).
    """

    architecture: str
    preprocessing: Preprocessing
    class_names: tuple[str, ...] | None

    @property
    def weight(self) -> Tensor: ...

    def maps(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) float in [0, 1] -> (B, F, h, w)."""
        ...

    def logits(self, features: Tensor) -> Tensor:
        """Pooled features (B, F) -> (B, C)."""
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

    def logits(self, features: Tensor) -> Tensor:
        result: Tensor = self.net.head(features)
        return result

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.net(images)
        return result


class TorchvisionResNet(nn.Module):
    """A torchvision ResNet: maps are layer4's output, normalisation with ImageNet's mean and deviation inside."""

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, net: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.architecture, self.net, self.preprocessing = name, net, preprocessing
        self.class_names: tuple[str, ...] | None = None
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None])
        self.body = nn.Sequential(*(m for n, m in net.named_children() if n not in ("avgpool", "fc")))
        self.head: nn.Linear = net.get_submodule("fc")  # type: ignore[assignment]

    @property
    def weight(self) -> Tensor:
        return self.head.weight

    def maps(self, images: Tensor) -> Tensor:
        result: Tensor = self.body((images - self.mean) / self.std)
        return result

    def logits(self, features: Tensor) -> Tensor:
        result: Tensor = self.head(features)
        return result

    def forward(self, images: Tensor) -> Tensor:
        return self.logits(self.maps(images).mean(dim=(2, 3)))


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
    partial = path.with_name(path.name + ".partial")
    # One metadata entry: safetensors writes several in no fixed order, and equal weights must give equal bytes.
    partial.write_bytes(save(tensors, metadata={"smallnet": json.dumps(header, sort_keys=True)}))
    partial.replace(path)


def load_model(
    path: str | Path, *, architecture: str | None = None, preprocessing: Preprocessing | None = None
) -> tuple[SmallNetModel | TorchvisionResNet, str]:
    """Read a checkpoint; returns the model in evaluation mode and the file's sha256.

    A file of `salient-imagenet train` says what it is. Any other is a state dict in torchvision's names, of
    `architecture` (one of RESNETS), and `preprocessing` defaults to the paper's 256 / 224.
    """
    path = Path(path)
    if not path.is_file():
        raise SalientError(f"{path}: no such file", expected="weights, .safetensors or a torch file")
    state, header = _read_state(path)
    if header is not None:
        model: SmallNetModel | TorchvisionResNet = _smallnet(header, state, path)
    else:
        model = _resnet(architecture, state, preprocessing or Preprocessing(), path)
    return model.eval().requires_grad_(False), file_sha256(path)


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
        )


def _read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise SalientError(f"{path}: not a safetensors file", got=str(error)) from error
        return state, json.loads(metadata["smallnet"]) if "smallnet" in metadata else None
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises several unrelated types for a file it refuses
        raise SalientError(
            f"{path}: not a weights-only torch file", got=str(error).splitlines()[0], then="convert it to safetensors"
        ) from error
    found: Any = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise SalientError(f"{path}: no state dict", expected="tensors by name", got=type(loaded).__name__)
    return found, None


def _smallnet(header: dict[str, Any], state: dict[str, Tensor], path: Path) -> SmallNetModel:
    names = tuple(header["class_names"])
    net = SmallNet(SmallNetConfig(len(names), tuple(header["widths"]), header["blocks"], header["stem_stride"]))
    _load_exactly(net, state, path)
    return SmallNetModel(net, Preprocessing(header["resize"], header["crop"]), names)


def _resnet(
    architecture: str | None, state: dict[str, Tensor], preprocessing: Preprocessing, path: Path
) -> TorchvisionResNet:
    if architecture not in RESNETS:
        raise SalientError(
            f"{path}: weights do not say what network they are for",
            expected=f"--architecture, one of {', '.join(RESNETS)}",
            got=str(architecture),
        )
    if "fc.weight" not in state:
        raise SalientError(f"{path}: no linear head", expected="fc.weight, as torchvision names it")
    net = torchvision.models.get_model(architecture, weights=None, num_classes=state["fc.weight"].shape[0])
    _load_exactly(net, state, path)
    return TorchvisionResNet(architecture, net, preprocessing)


def _load_exactly(net: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    try:
        net.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise SalientError(f"{path}: weights do not fit {type(net).__name__}", got=str(error)[:300]) from error
