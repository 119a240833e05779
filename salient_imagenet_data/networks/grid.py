"""Find, in any classifier, the linear head, the grid of features before it, and the last grid of all, by watching an
image go through.

Pooled networks (ResNet, DenseNet, EfficientNet, ConvNeXt, ...) and vision transformers differ in names and layout
but share this: a last linear layer makes the logits from a vector r of F numbers, and the last tensor of F channels
over a grid of places, before r, says where each feature was active.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from salient_imagenet_data.errors import SalientError

Layout = Literal["channels_first", "channels_last", "tokens"]


class Layer(NamedTuple):
    """A module that makes one vector of another. shape: of its input, without the batch: (F,), (F, 1, 1)."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Grid:
    """head: name of the last linear layer. module: name of the one whose output holds the grid. layout: of that output.

    prefix: tokens before those of the patches (class token, registers). relu: rectified afterwards, by a function.
    pooled: the head's input is the maps' mean over the grid. after: layers between the pooling and the head, in their
    order, which make the head's input of a vector with the grid's channels.
    """

    head: str
    module: str
    layout: Layout
    prefix: int = 0
    relu: bool = False
    pooled: bool = False
    after: tuple[Layer, ...] = ()

    def maps(self, output: Tensor, net: nn.Module) -> Tensor:
        """The module's output as (B, F, h, w), F the number of the head's inputs.

        Layers after the pooling are applied to each place as if it were the only one, so that a map says where its own
        feature is active. net: the network, whose these layers are.
        """
        if self.layout == "channels_last":
            output = output.permute(0, 3, 1, 2)
        elif self.layout == "tokens":
            patches = output[:, self.prefix :]
            side = math.isqrt(patches.shape[1])
            output = patches.transpose(1, 2).reshape(len(patches), -1, side, side)
        maps = torch.relu(output) if self.relu else output
        if not self.after:
            return maps
        images, _, height, width = maps.shape
        places = maps.permute(0, 2, 3, 1).flatten(0, 2)
        for layer in self.after:
            places = net.get_submodule(layer.name)(places.reshape(-1, *layer.shape)).flatten(1)
        return places.reshape(images, height, width, -1).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Call:
    """A module that ran. name: dotted. given: its first input."""

    name: str
    module: nn.Module
    given: object
    output: object


@dataclass(frozen=True)
class Head:
    """The linear layer whose output is the network's. features: (B, F) that it was given. position: among the calls."""

    name: str
    module: nn.Linear
    features: Tensor
    position: int


def watch(net: nn.Module, images: Tensor) -> tuple[list[Call], object]:
    """The modules of a network as they ran on some images, and its output; without gradients."""
    calls: list[Call] = []
    given: dict[str, list[object]] = {}

    def before(name: str, inputs: tuple[object, ...]) -> None:
        given.setdefault(name, []).append(_kept(inputs[0]) if inputs else None)

    def behind(name: str, module: nn.Module, output: object) -> None:
        calls.append(Call(name, module, given[name].pop(), _kept(output)))

    hooks = []
    for name, module in net.named_modules():
        if name:
            hooks.append(module.register_forward_pre_hook(lambda m, x, name=name: before(name, x)))
            hooks.append(module.register_forward_hook(lambda m, x, y, name=name: behind(name, m, y)))
    try:
        with torch.no_grad():
            output = net(images)
    finally:
        for hook in hooks:
            hook.remove()
    return calls, getattr(output, "logits", output)


def _kept(value: object) -> object:
    """A copy of a tensor, since layers that work in place write over what they were given."""
    return value.detach().clone() if isinstance(value, Tensor) else value


def linear_head(net: nn.Module, images: Tensor, name: str) -> Head:
    """The head of a network; images: some, as it wants them. Raises SalientError where the output is no linear layer's
    on vectors of features: a convolution's, two heads' mean, a zero-shot model's."""
    return _head(*watch(net, images), name)


def find_grid(net: nn.Module, size: int, name: str) -> Grid:
    """Watch one noise image of `size` pixels. `net` must be in evaluation mode. Raises SalientError if it has no
    linear head or no grid before it."""
    calls, logits = watch(net, torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)))
    head = _head(calls, logits, name)
    before = calls[: head.position]
    chain = _before_head(before, head.features)
    for vector, after in chain:
        for call in reversed(before):
            grid = _grid_of(call.name, head.name, call.output, vector)
            if grid is not None and grid.pooled:
                return replace(grid, pooled=not after, after=after)
    # Not the mean of any: the class token, or another pooling.
    vector, after = chain[-1]
    for call in reversed(before):
        grid = _grid_of(call.name, head.name, call.output, vector)
        if grid is not None:
            return replace(grid, after=after)
    raise SalientError(
        f"{name}: no grid of features before its linear head",
        expected=f"a layer with {vector.shape[1]} channels over several places, pooled or with the class token",
        then="choose a network that pools its last maps, or a vision transformer",
    )


def _before_head(calls: list[Call], vector: Tensor) -> list[tuple[Tensor, tuple[Layer, ...]]]:
    """The head's input and the vectors before it, and the layers that make that input of each, from the head backwards.

    What only passes a vector on (dropout, flattening) is no layer.
    """
    after: tuple[Layer, ...] = ()
    found = [(vector, after)]
    for call in reversed(calls):
        given, output = call.given, call.output
        if not isinstance(given, Tensor) or not isinstance(output, Tensor):
            continue
        if given.ndim < 2 or given.shape[0] != 1 or given.numel() != max(given.shape):
            continue
        if torch.equal(output.flatten(), vector.flatten()) and not torch.equal(given.flatten(), vector.flatten()):
            vector, after = given.reshape(1, -1), (Layer(call.name, tuple(given.shape[1:])), *after)
            found.append((vector, after))
    return found


def last_grid(net: nn.Module, size: int = 224) -> str:
    """Name of the last module called whose output is a grid. size: of the images, in pixels.

    Raises SalientError where there is none in the later half of the layers with weights: the patches of a vision
    transformer are a grid, but its first and not its last.
    """
    return _grids(net, size)[-1].name


def middle_grid(net: nn.Module, size: int = 224) -> str:
    """Name of the last module called whose grid is of the middle one of the sizes that a network's grids have, up to
    its last: 28 x 28 of 112, 56, 28, 14 and 7 in a ResNet-50, which is its second stage; the smaller of two in the
    middle.

    Raises SalientError as `last_grid` does, and for grids of fewer than three sizes, which have no middle.
    """
    by_side: dict[int, str] = {}
    for call in _grids(net, size):
        assert isinstance(call.output, Tensor)
        by_side[call.output.shape[2]] = call.name  # of (B, F, h, w) and (B, h, w, F) the second place is a side in both
    sides = sorted(by_side, reverse=True)
    if len(sides) < 3:
        raise SalientError(
            f"{type(net).__name__}: no middle grid",
            expected="grids of three or more sizes",
            got=", ".join(f"{side} x {side}" for side in sides),
            then="name a layer",
        )
    return by_side[sides[len(sides) // 2]]


def _grids(net: nn.Module, size: int) -> list[Call]:
    """The modules whose output is a grid, in the order of running; the last is that of `last_grid`."""
    first = next(net.parameters(), torch.empty(0))
    calls, _ = watch(net, torch.zeros(1, 3, size, size, device=first.device, dtype=first.dtype))
    weighs = [bool(list(call.module.parameters(recurse=False))) for call in calls]
    found = [i for i, call in enumerate(calls) if channels_last(call.output) is not None]
    if not found or sum(weighs[: found[-1] + 1]) < sum(weighs) / 2:
        raise SalientError(
            f"{type(net).__name__}: no grid of features among its last layers",
            expected="a convolutional network",
            then="name a layer, or look at the image with another method",
        )
    return [calls[i] for i in found]


def channels_last(output: object) -> bool | None:
    """Whether a layer's output is a grid as (B, h, w, F), rather than (B, F, h, w); None if it is no grid of square
    images: of more than one place and as high as wide. Both at once is taken for (B, F, h, w)."""
    if not isinstance(output, Tensor) or output.ndim != 4:
        return None
    _, a, b, c = output.shape
    if b == c > 1:
        return False
    return True if a == b > 1 else None


def _head(calls: list[Call], logits: object, name: str) -> Head:
    for position, call in reversed(list(enumerate(calls))):
        if not (isinstance(call.module, nn.Linear) and isinstance(call.output, Tensor)):
            continue
        fits = isinstance(logits, Tensor) and call.output.shape == logits.shape and torch.equal(call.output, logits)
        if fits and isinstance(call.given, Tensor) and call.given.ndim == 2:
            return Head(call.name, call.module, call.given, position)
    linear = sum(isinstance(call.module, nn.Linear) for call in calls)
    raise SalientError(
        f"{name}: no linear head",
        expected="a linear layer on pooled features that gives the logits",
        got=f"{linear} linear layers, none of them the last",
    )


def _grid_of(key: str, head: str, output: object, features: Tensor) -> Grid | None:
    """The grid that a layer's output is, if it has a channel a feature. features: (1, F)."""
    if not isinstance(output, Tensor) or output.shape[0] != 1:
        return None
    width = features.shape[1]
    if output.ndim == 4 and output.shape[1] == width and output.shape[2] * output.shape[3] > 1:
        plain, relu = _is_mean(output, features, (2, 3)), _is_mean(output.relu(), features, (2, 3))
        return Grid(head, key, "channels_first", relu=relu and not plain, pooled=plain or relu)
    if output.ndim == 4 and output.shape[3] == width and output.shape[1] * output.shape[2] > 1:
        return Grid(head, key, "channels_last", pooled=_is_mean(output, features, (1, 2)))
    if output.ndim == 3 and output.shape[2] == width and output.shape[1] > 1:
        tokens = output.shape[1]
        prefix = tokens - math.isqrt(tokens) ** 2
        if prefix < 8:
            return Grid(head, key, "tokens", prefix=prefix, pooled=_is_mean(output[:, prefix:], features, (1,)))
    return None


def _is_mean(grid: Tensor, features: Tensor, places: tuple[int, ...]) -> bool:
    """Whether features are a grid's mean over its places, up to rounding."""
    rounding = 1e-4 * float(features.abs().max()) + 1e-6 * float(grid.abs().max())
    return torch.allclose(grid.mean(places), features, rtol=0.0, atol=rounding)
