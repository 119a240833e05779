"""Find, in any classifier, the linear head and the grid of features before it, by watching one image go through.

Pooled networks (ResNet, DenseNet, EfficientNet, ConvNeXt, ...) and vision transformers differ in names and layout
but share this: a last linear layer makes the logits from a vector r of F numbers, and the last tensor of F channels
over a grid of places, before r, says where each feature was active.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from salient_imagenet_data.errors import SalientError

Layout = Literal["channels_first", "channels_last", "tokens"]


@dataclass(frozen=True)
class Grid:
    """head: name of the last linear layer. module: name of the one whose output holds the grid. layout: of that output.

    prefix: tokens before those of the patches (class token, registers). relu: rectified afterwards, by a function.
    pooled: the head's input is the maps' mean over the grid.
    """

    head: str
    module: str
    layout: Layout
    prefix: int = 0
    relu: bool = False
    pooled: bool = False

    def maps(self, output: Tensor) -> Tensor:
        """The module's output as (B, F, h, w)."""
        if self.layout == "channels_last":
            output = output.permute(0, 3, 1, 2)
        elif self.layout == "tokens":
            patches = output[:, self.prefix :]
            side = math.isqrt(patches.shape[1])
            output = patches.transpose(1, 2).reshape(len(patches), -1, side, side)
        return torch.relu(output) if self.relu else output


@torch.inference_mode()
def find_grid(net: nn.Module, size: int, name: str) -> Grid:
    """Watch one noise image of `size` pixels. `net` must be in evaluation mode. Raises SalientError if it has no
    linear head or no grid before it."""
    seen: list[tuple[str, nn.Module, object, object]] = []
    hooks = [
        module.register_forward_hook(
            lambda m, inputs, output, key=key: seen.append((key, m, inputs[0] if inputs else None, output))
        )
        for key, module in net.named_modules()
        if key
    ]
    try:
        logits = net(torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)))
    finally:
        for hook in hooks:
            hook.remove()
    position, head, features = _head(seen, logits, name)
    for key, _, _, output in reversed(seen[:position]):
        grid = _grid_of(key, head, output, features)
        if grid is not None:
            return grid
    raise SalientError(
        f"{name}: no grid of features before its linear head",
        expected=f"a layer with {features.shape[1]} channels over several places",
        then="choose a network that pools its last maps, or a vision transformer",
    )


def _head(seen: list[tuple[str, nn.Module, object, object]], logits: object, name: str) -> tuple[int, str, Tensor]:
    for position in reversed(range(len(seen))):
        key, module, given, output = seen[position]
        if isinstance(module, nn.Linear) and isinstance(output, Tensor) and isinstance(logits, Tensor):
            if output.shape == logits.shape and torch.equal(output, logits) and isinstance(given, Tensor):
                return position, key, given
            break
    raise SalientError(f"{name}: no linear head", expected="a network whose last layer is linear and makes the logits")


def _grid_of(key: str, head: str, output: object, features: Tensor) -> Grid | None:
    if not isinstance(output, Tensor) or output.shape[0] != 1:
        return None
    width = features.shape[1]
    if output.ndim == 4 and output.shape[1] == width and output.shape[2] * output.shape[3] > 1:
        pooled, rectified = output.mean((2, 3)), output.relu().mean((2, 3))
        plain, relu = (torch.allclose(mean, features, atol=1e-4) for mean in (pooled, rectified))
        return Grid(head, key, "channels_first", relu=relu and not plain, pooled=plain or relu)
    if output.ndim == 4 and output.shape[3] == width and output.shape[1] * output.shape[2] > 1:
        return Grid(head, key, "channels_last")
    if output.ndim == 3 and output.shape[2] == width and output.shape[1] > 1:
        tokens = output.shape[1]
        prefix = tokens - math.isqrt(tokens) ** 2
        return Grid(head, key, "tokens", prefix=prefix) if prefix < 8 else None
    return None
