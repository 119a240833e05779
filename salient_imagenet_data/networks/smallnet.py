"""The small residual network: what `salient-imagenet train` trains, and its files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.networks.checkpoint import Checkpoint
from salient_imagenet_data.networks.classes import ClassMap
from salient_imagenet_data.networks.weights import load_into
from salient_imagenet_data.whole_file import write_bytes


@dataclass(frozen=True)
class SmallNetConfig:
    """Shape of a `SmallNet`.

    widths: channels of the stages; the last one is the number of features. blocks: residual blocks in each
    stage. stem_stride: 1 keeps the input's resolution in the first stage, 2 halves it. Every later stage
    halves the grid, so 32 pixels, three stages and stem_stride 1 give 8 x 8 maps.
    """

    classes: int
    widths: tuple[int, ...] = (32, 64, 128)
    blocks: int = 1
    stem_stride: int = 1


class _Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut; the last rectifier makes the maps non-negative."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class SmallNet(nn.Module):
    """Residual network over images in [0, 1]: normalisation inside, average pooling, one linear head."""

    def __init__(self, config: SmallNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        stem: list[nn.Module] = [
            nn.Conv2d(3, widths[0], 3, config.stem_stride, 1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        ]
        stages: list[nn.Module] = []
        for stage, width in enumerate(widths):
            for block in range(config.blocks):
                inputs = width if block else widths[max(stage - 1, 0)]
                stages.append(_Block(inputs, width, 2 if stage and not block else 1))
        self.body = nn.Sequential(*stem, *stages)
        self.head = nn.Linear(widths[-1], config.classes)

    def maps(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, F, h, w), non-negative."""
        result: Tensor = self.body((images - 0.5) / 0.25)
        return result

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> logits (B, C)."""
        result: Tensor = self.head(self.maps(images).mean(dim=(2, 3)))
        return result


class SmallNetModel(nn.Module):
    """A `SmallNet` with its preprocessing and class names, as its file holds them."""

    def __init__(self, net: SmallNet, preprocessing: Preprocessing, class_names: tuple[str, ...]) -> None:
        super().__init__()
        self.net, self.preprocessing = net, preprocessing
        self.class_names: tuple[str, ...] | None = class_names
        self.class_map: ClassMap | None = None
        self.details: dict[str, Any] = {}
        config = net.config
        self.architecture = f"smallnet-{'-'.join(map(str, config.widths))}-b{config.blocks}-s{config.stem_stride}"

    @property
    def weight(self) -> Tensor:
        return rows_of_classes(self.net.head.weight, self.class_map)

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


def rows_of_classes(weight: Tensor, class_map: ClassMap | None) -> Tensor:
    """(C, F) of a head's weight (N, F) whose first rows are those of the classes."""
    return weight if class_map is None else weight[: class_map.classes]


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


def read_smallnet(checkpoint: Checkpoint) -> SmallNetModel:
    """The network of a file with a header."""
    header = checkpoint.header
    assert header is not None
    names = tuple(header["class_names"])
    net = SmallNet(SmallNetConfig(len(names), tuple(header["widths"]), header["blocks"], header["stem_stride"]))
    load_into(net, checkpoint, "smallnet", normalised=False)
    return SmallNetModel(net, Preprocessing(header["resize"], header["crop"]), names)
