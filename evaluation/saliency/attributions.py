"""Where a classifier looks: attribution maps at the image or at a layer, plain or differentiable.

Of a class's logit y and activations a (B, F, h, w), those of a layer or the image itself [Rao et al. 2023]:

    grad_cam                sum_f relu(mean_xy(dy/da_f) a_f), rectified after the sum [Selvaraju et al. 2017]
    input_x_gradient        sum_f a_f dy/da_f, signed
    integrated_gradients    sum_f a_f mean_t(dy/da_f at t a), t in (0, 1], signed; the baseline is 0 [Sundararajan 2017]
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.saliency.methods import DEPTHS, Depth, Method
from salient_imagenet_data.networks.grid import channels_last, last_grid, middle_grid

IMAGE = "image"
"""In place of a layer's name: the images as the model is given them, in [0, 1]."""
STEPS = 16
"""Places on the way from the baseline at which "integrated_gradients" looks: the middles of as many equal parts."""


def attributions(
    model: nn.Module,
    images: Tensor,
    classes: Tensor,
    method: Method,
    layer: str,
    *,
    steps: int = STEPS,
    differentiable: bool = False,
) -> tuple[Tensor, Tensor]:
    """Maps (B, S, S), resized bilinearly to the images where the layer's grid is coarser, and the logits (B, C).

    images: (B, 3, S, S) in [0, 1]. classes: (B,), whose logits are explained. layer: "image", or a module's name whose
    output is a grid, (B, F, h, w) or (B, h, w, F), as many cells high as wide. steps: of "integrated_gradients".
    differentiable: the maps and logits have gradients with respect to the model's parameters, for a loss on them; else
    neither has any. The model must treat images apart: evaluation mode. Raises SalientError for a layer that is not
    there, is no grid, or plays no part.
    """
    with torch.enable_grad(), twice_differentiable() if differentiable else nullcontext():
        logits, start, seen = _forward(model, images, layer, 1.0, differentiable)
        if method == "integrated_gradients":
            ways = (_forward(model, images, layer, (k + 0.5) / steps, differentiable) for k in range(steps))
            gradient = torch.stack([_gradient(y, classes, there, differentiable) for y, _, there in ways]).mean(dim=0)
        else:
            gradient = _gradient(logits, classes, seen, differentiable)
        if method == "grad_cam":
            maps = F.relu((gradient.mean(dim=(2, 3), keepdim=True) * start).sum(dim=1, keepdim=True))
        else:
            maps = (gradient * start).sum(dim=1, keepdim=True)
        if maps.shape[2:] != images.shape[2:]:
            maps = F.interpolate(maps, images.shape[2:], mode="bilinear", align_corners=False)
    return (maps[:, 0], logits) if differentiable else (maps[:, 0].detach(), logits.detach())


def default_layer(model: nn.Module, method: Method, size: int = 224) -> str:
    """Where a method looks unless told otherwise: "grad_cam" at the last grid, the others at the image. size: of the
    images, in pixels. Raises SalientError for a network without a grid."""
    return last_grid(model, size) if method == "grad_cam" else IMAGE


def layer_at(model: nn.Module, depth: Depth, size: int = 224) -> str:
    """The layer of a depth [Rao et al. 2023]: "input" the image, "middle" `middle_grid`, "last" `last_grid`. Raises
    SalientError for another word, or a network without such a grid."""
    if depth not in DEPTHS:
        raise SalientError("depth is not known", expected=", ".join(DEPTHS), got=str(depth))
    if depth == "input":
        return IMAGE
    return middle_grid(model, size) if depth == "middle" else last_grid(model, size)


def chosen_layer(model: nn.Module, method: Method, layer: str | None, depth: Depth | None, size: int) -> str:
    """The layer that is named, or of a depth, or the method's `default_layer`. Raises SalientError for both."""
    check_place(layer, depth)
    if depth is not None:
        return layer_at(model, depth, size)
    return layer or default_layer(model, method, size)


def check_place(layer: str | None, depth: Depth | None) -> None:
    """Raises SalientError where a layer and a depth are both given."""
    if layer and depth:
        raise SalientError("where to look is said twice", expected="a layer or a depth", got=f"{layer} and {depth}")


def saliency_of(model: nn.Module, method: Method, layer: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Images (B, 3, S, S) and classes (B,) -> maps (B, S, S) >= 0: what speaks for the class."""
    return lambda images, classes: attributions(model, images, classes, method, layer)[0].clamp_min(0.0)


def twice_differentiable() -> AbstractContextManager[None]:
    """Where a forward pass has a gradient of which another is taken: fused attention has none, plain attention does."""
    return sdpa_kernel(SDPBackend.MATH)


def _gradient(logits: Tensor, classes: Tensor, there: Tensor, differentiable: bool) -> Tensor:
    (gradient,) = torch.autograd.grad(
        logits.gather(1, classes[:, None]).sum(), there, create_graph=differentiable, allow_unused=True
    )
    if gradient is None:
        raise SalientError("the layer plays no part in the logits", then="choose another layer")
    return gradient


def _forward(
    model: nn.Module, images: Tensor, where: str, scale: float, differentiable: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, the activations (B, F, h, w) at a place, and those times `scale`, which the rest of the network saw."""
    kept: list[tuple[Tensor, Tensor]] = []

    def scaled(output: Tensor) -> Tensor:
        if not (differentiable and output.requires_grad):
            # Made the start of the graph, so that networks with frozen weights have a gradient too.
            output = output.detach().requires_grad_(True)
        kept.append((output, output * scale))
        return kept[-1][1].clone()  # what comes next may work in place

    def hook(module: nn.Module, inputs: object, output: object) -> Tensor:
        last = channels_last(output)
        if not isinstance(output, Tensor) or last is None:
            got = str(tuple(output.shape)) if isinstance(output, Tensor) else type(output).__name__
            raise SalientError(f"{where}: not a grid", expected="(B, F, h, w), as high as wide", got=got)
        return scaled(output.permute(0, 3, 1, 2)).permute(0, 2, 3, 1) if last else scaled(output)

    if where == IMAGE:
        logits: Tensor = model(scaled(images))
    else:
        handle = submodule(model, where).register_forward_hook(hook)
        try:
            logits = model(images)
        finally:
            handle.remove()
    if len(kept) != 1:
        raise SalientError(f"{where}: cannot be explained", expected="a layer that runs once", got=f"{len(kept)} times")
    return logits, *kept[0]


def submodule(model: nn.Module, name: str) -> nn.Module:
    """A module by its dotted name, also without the name of a wrapper in front of it. Raises SalientError."""
    names = dict(model.named_modules())
    for candidate in (name, f"net.{name}"):
        if name and candidate in names:
            found: nn.Module = names[candidate]
            return found
    raise SalientError(
        f"{type(model).__name__}: no layer {name!r}", expected=f"a module such as {', '.join(list(names)[1:6])}"
    )
