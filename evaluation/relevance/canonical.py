"""A network as layers that relevance can be propagated through, up to the grid that its head stands on.

Rules of relevance stand at modules. A network that adds two branches with `+`, rectifies by a function, or normalises
after a convolution hides steps from them, and what goes through unseen is counted twice or not at all. Here a network
is traced, and each of its steps becomes a module of its own: batch normalisation is merged into the convolution before
it, a sum is a module that adds what is stacked, and what no rule fits is refused by name.
"""

from __future__ import annotations

import copy
import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.networks.robust import ImageClassifier
from salient_imagenet_data.networks.smallnet import SmallNetModel

RECTIFIERS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU)
POOLS = (nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.MaxPool2d)
UNCHANGED = (nn.Identity, nn.Dropout, nn.Dropout2d)
WITHOUT_RULE = (nn.LayerNorm, nn.GroupNorm, nn.MultiheadAttention, nn.GELU, nn.SiLU, nn.Hardswish, nn.Sigmoid)
"""Layers of networks that are refused for another reason before a step of them is met."""
SUMS = (operator.add, operator.iadd, torch.add, "add", "add_")
SCALES = (*SUMS, operator.sub, operator.truediv, operator.mul, torch.sub, torch.div, torch.mul)
"""Of the image by constants, before any layer."""
FUNCTIONS: dict[Any, type[nn.Module]] = {
    torch.relu: nn.ReLU,
    torch.relu_: nn.ReLU,
    F.relu: nn.ReLU,
    "relu": nn.ReLU,
    "relu_": nn.ReLU,
    F.relu6: nn.ReLU6,
}
"""Steps by a function, and the modules in their place."""


class Sum(nn.Module):
    """Adds two branches that are stacked in the last place, (B, F, h, w, 2)."""

    def forward(self, branches: Tensor) -> Tensor:
        return branches.sum(dim=-1)


class Start(nn.Module):
    """Behind the normalisation of the image: what the first layer is given, kept as the place where relevance ends."""

    seen: Tensor | None = None

    def forward(self, images: Tensor) -> Tensor:
        self.seen = images.detach().requires_grad_(True)
        return self.seen


@dataclass(frozen=True)
class Body:
    """layers: (B, 3, S, S) in [0, 1] -> the grid (B, F, h, w), not negative; its submodules are the steps, in their
    order. start: the one among them behind the image's normalisation."""

    layers: fx.GraphModule
    start: Start


def body_of(model: SmallNetModel | ImageClassifier) -> Body:
    """The steps of a network from the image to its last grid, as a copy.

    Raises SalientError, naming it, for a network whose head does not stand on the mean of a rectified grid, that cannot
    be traced, or with a step that no rule of relevance is known for.
    """
    name = model.architecture
    net: nn.Module = _apart(copy.deepcopy(model.net).eval())
    if isinstance(model, SmallNetModel):
        at, rectified = "body", False
    else:
        at, rectified = model.grid.module, model.grid.relu
        if not (model.grid.pooled and model.grid.layout == "channels_first"):
            raise _refused(name, f"its head does not stand on the mean of its last maps{_without_rule(net)}")
    tracer = _Tracer(net.get_submodule(at))
    try:
        graph = tracer.trace(net)
    except Exception as error:  # whatever a stranger's code does with what stands for a tensor
        raise _refused(name, f"it cannot be traced: {' '.join(str(error).split())[:160]}") from error
    if tracer.grid is None:
        raise _refused(name, f"{at} does not run in it")
    body = _Steps(net, graph, tracer.grid, rectified, name).made()
    body.layers.eval().requires_grad_(False)
    if isinstance(model, ImageClassifier):
        mean, std = model.mean, model.std
        body.layers.register_forward_pre_hook(
            lambda module, inputs: ((inputs[0] - mean.to(inputs[0].device)) / std.to(inputs[0].device),)
        )
    return body


def _refused(name: str, why: str) -> SalientError:
    return SalientError(
        f"{name}: relevance cannot be propagated through it: {why}",
        expected="a network of convolutions, batch normalisation, rectifiers, sums and pooling",
        then="take another network, such as a ResNet or an EfficientNet-Lite; where this one looks, "
        "`salient-imagenet align` measures",
    )


def _without_rule(net: nn.Module) -> str:
    """The layers of a network that are the usual reason, in words."""
    names = sorted({kind.__name__ for kind in WITHOUT_RULE for layer in net.modules() if isinstance(layer, kind)})
    return f", and no rule is known for its {', '.join(names)}" if names else ""


def _apart(net: nn.Module) -> nn.Module:
    """Layers of timm that normalise and rectify in one as two."""
    for name, child in list(net.named_children()):
        parts = dict(child.named_children())
        if isinstance(child, nn.BatchNorm2d) and {"drop", "act"} <= set(parts):
            plain = nn.BatchNorm2d(child.num_features, child.eps)
            plain.load_state_dict(child.state_dict())
            setattr(net, name, nn.Sequential(plain.eval(), parts["drop"], parts["act"]))
        else:
            _apart(child)
    return net


class _Tracer(fx.Tracer):
    """Notes the output of the module that holds the grid."""

    def __init__(self, holds_grid: nn.Module) -> None:
        super().__init__()
        self._holds_grid, self.grid = holds_grid, None

    grid: fx.Node | None

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = super().call_module(m, forward, args, kwargs)
        if m is self._holds_grid:
            self.grid = output.node
        return output


class _Steps:
    """The nodes of a trace, one after another, as modules."""

    def __init__(self, net: nn.Module, graph: fx.Graph, grid: fx.Node, rectified: bool, name: str) -> None:
        self.net, self.name, self.rectified = net, name, rectified
        needed, ahead = set[fx.Node](), [grid]
        while ahead:
            node = ahead.pop()
            if node not in needed:
                needed.add(node)
                ahead += node.all_input_nodes
        self.nodes, self.last = [node for node in graph.nodes if node in needed], grid
        self.made_graph, self.modules = fx.Graph(), dict[str, nn.Module]()
        self.new: dict[fx.Node, fx.Node] = {}
        self.start: Start | None = None

    def made(self) -> Body:
        merged: set[fx.Node] = set()
        for node in self.nodes:
            if node.op == "placeholder":
                self.new[node] = self.made_graph.placeholder("images")
            elif node.op == "get_attr":
                continue
            elif node not in merged:
                norm = self._norm_behind(node)
                if norm is not None:
                    merged.add(norm)
                self.new[norm or node] = self._step(node, norm)
        end = self.new[self.last]
        if self.rectified:
            end = self._call(nn.ReLU(), end)
        self.made_graph.output(end)
        if self.start is None:
            raise self._no_rule("a network without a convolution")
        return Body(fx.GraphModule(self.modules, self.made_graph), self.start)

    def _norm_behind(self, node: fx.Node) -> fx.Node | None:
        """The batch normalisation that alone takes a convolution's output."""
        users = [user for user in node.users if user in self.nodes]
        conv = node.op == "call_module" and isinstance(self._module(node), nn.Conv2d)
        if conv and len(users) == 1 and users[0].op == "call_module":
            return users[0] if isinstance(self._module(users[0]), nn.BatchNorm2d) else None
        return None

    def _step(self, node: fx.Node, norm: fx.Node | None) -> fx.Node:
        before = [a for a in node.args if isinstance(a, fx.Node) and a.op != "get_attr"]
        given = [self.new[a] for a in before]
        if node.op == "call_module":
            module = self._module(node)
            if isinstance(module, nn.Conv2d) and len(given) == 1:
                copied = copy.deepcopy(module)
                if norm is not None:
                    batch_norm = self._module(norm)
                    assert isinstance(batch_norm, nn.BatchNorm2d)
                    copied = fuse_conv_bn_eval(copied, copy.deepcopy(batch_norm))
                return self._call(copied, self._behind_image(given[0]))
            if isinstance(module, UNCHANGED) and len(given) == 1:
                return given[0]
            if isinstance(module, (*RECTIFIERS, *POOLS)) and len(given) == 1 and self.start is not None:
                fresh = copy.deepcopy(module)
                if hasattr(fresh, "inplace"):
                    fresh.inplace = False
                return self._call(fresh, given[0])
            raise self._no_rule(f"{node.target}, {type(module).__name__}")
        if node.target in FUNCTIONS and len(given) == 1:
            return self._call(FUNCTIONS[node.target](), given[0])
        if node.target in SUMS and len(given) == 2 and self.start is not None and not node.kwargs:
            stacked = self.made_graph.call_function(torch.stack, (given,), {"dim": -1})
            return self._call(Sum(), stacked)
        if node.target in SCALES and len(given) == 1 and self.start is None:
            return self.made_graph.node_copy(node, self._constant)
        raise self._no_rule(f"the function {getattr(node.target, '__name__', node.target)}")

    def _constant(self, node: fx.Node) -> fx.Node:
        """A node of the first steps in the new graph; constants come along as modules do."""
        if node.op != "get_attr":
            return self.new[node]
        value = self.net
        for part in str(node.target).split("."):
            value = getattr(value, part)
        place = f"constant_{len(self.modules)}"
        self.modules[place] = value
        return self.made_graph.get_attr(place)

    def _behind_image(self, given: fx.Node) -> fx.Node:
        if self.start is not None:
            return given
        self.start = Start()
        return self._call(self.start, given)

    def _call(self, module: nn.Module, given: fx.Node) -> fx.Node:
        place = f"step_{len(self.modules)}"
        self.modules[place] = module
        return self.made_graph.call_module(place, (given,))

    def _module(self, node: fx.Node) -> nn.Module:
        return self.net.get_submodule(str(node.target))

    def _no_rule(self, step: str) -> SalientError:
        return _refused(self.name, f"no rule for {step}")
