"""True missingness for convolutional networks: layer masking [Balasubramanian & Feizi, ICCV 2023, arXiv 2211.14646].

A network is run as if the missing pixels were not there. A map of what is present goes along with every activation:

- before a convolution, absent places within the kernel's reach take the mean of their present neighbours (3 x 3, ring
  after ring), further ones 0; after it, a place is present if any place in its window was (max pooling of the map);
- max pooling takes the largest present value, average pooling the mean of the present ones;
- where branches meet (sum, concatenation), a place is present if it is in any branch, and absent branches add 0;
- functions of one place (batch norm, activations, products with a constant, 1 x 1 convolutions) leave it as it is.

With nothing missing every step is the network's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.loaders.missing.tokens import check_threshold

Handler = Callable[..., Any]


class LayerMasking(nn.Module):
    """A convolutional classifier that is not shown the missing pixels.

    model: any network made of the operations in this file, such as torchvision's and timm's ResNet, VGG, DenseNet,
    MobileNet, EfficientNet and ConvNeXt. threshold: a pixel is missing where the mask reaches it. Call with images as
    the model wants them, (B, 3, H, W), and masks (B, 1, H, W) float in [0, 1]: returns logits (B, C). An image of
    which nothing is present has pooled features of 0. Raises SalientError, naming the operation, where the network
    does something that the map of what is present cannot follow.
    """

    def __init__(self, model: nn.Module, threshold: float = 0.5) -> None:
        super().__init__()
        self.model, self.threshold = model, check_threshold(threshold)

    def forward(self, images: Tensor, masks: Tensor) -> Tensor:
        output = self.model(Partial.of(images, (masks < self.threshold).to(images)))
        output = getattr(output, "logits", output)
        if isinstance(output, Partial):
            raise SalientError("layer masking: the network's output is still a map", expected="logits (B, C)")
        result: Tensor = output
        return result


class Partial(Tensor):
    """Activations (B, C, h, w) of which only some places are present. present: (B, 1, h, w), 0 or 1."""

    present: Tensor

    @staticmethod
    def of(values: Tensor, present: Tensor) -> Partial:
        """Values with their map; what is absent is set to 0."""
        part = (values * present).as_subclass(Partial)
        part.present = present
        return part

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", str(func))
        with torch._C.DisableTorchFunctionSubclass():
            if name in _HANDLERS:
                return _HANDLERS[name](func, *args, **kwargs)
            result = func(*args, **kwargs)
        if isinstance(result, Tensor):
            raise SalientError(
                f"layer masking cannot follow the operation {name}",
                expected=f"a network made of {', '.join(sorted(_HANDLERS))}",
            )
        return result


def _split(value: Tensor) -> tuple[Tensor, Tensor]:
    assert isinstance(value, Partial)
    return value.as_subclass(Tensor), value.present


def _pointwise(func: Handler, *args: Any, **kwargs: Any) -> Partial:
    """Each place by itself; several maps of one size are present where any is."""
    maps = [a for a in args if isinstance(a, Partial)]
    present = maps[0].present
    for other in maps[1:]:
        present = torch.maximum(present, other.present)
    plain = [a.as_subclass(Tensor) if isinstance(a, Partial) else a for a in args]
    # In place, an operation would change the branch that another layer still reads with its own map.
    kwargs = {key: value for key, value in kwargs.items() if key != "inplace"}
    return Partial.of(func(*plain, **kwargs), present)


def _permute(func: Handler, image: Tensor, *dims: Any) -> Partial:
    values, present = _split(image)
    return Partial.of(func(values, *dims), func(present, *dims))


def _last_axis(func: Handler, image: Tensor, *args: Any, **kwargs: Any) -> Partial:
    """Linear layers and layer norm work on the last axis, which must hold the channels: (B, h, w, C)."""
    if _split(image)[1].shape[-1] != 1 or (func is F.layer_norm and len(args[0]) != 1):
        raise SalientError("layer masking: expected the channels on the last axis", got=str(tuple(image.shape)))
    return _pointwise(func, image, *args, **kwargs)


def _cat(func: Handler, tensors: Any, dim: int = 0) -> Partial:
    if dim != 1 or not all(isinstance(t, Partial) for t in tensors):
        raise SalientError("layer masking: only maps can be joined, along the channels", got=f"dimension {dim}")
    present = torch.stack([t.present for t in tensors]).amax(dim=0)
    return Partial.of(torch.cat([t.as_subclass(Tensor) for t in tensors], dim=1), present)


def _conv2d(
    func: Handler,
    image: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Partial:
    values, present = _split(image)
    stride, dilation, kernel = _pair(stride), _pair(dilation), (int(weight.shape[2]), int(weight.shape[3]))
    if isinstance(padding, str):
        raise SalientError("layer masking: expected padding in numbers", got=repr(padding))
    margins = _pair(padding)
    reach = max(d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
    out = func(fill_rings(values, present, reach), weight, bias, stride, margins, dilation, groups)
    # Padding by hand: max pooling allows half a kernel at most. 0 is absent.
    wide = F.pad(present, (margins[1], margins[1], margins[0], margins[0]))
    return Partial.of(out, F.max_pool2d(wide, kernel, stride, 0, dilation))


def fill_rings(values: Tensor, present: Tensor, rings: int) -> Tensor:
    """Give absent places the mean of their present neighbours in 3 x 3, ring after ring.

    values: (B, C, h, w), 0 where absent. present: (B, 1, h, w), 0 or 1. Places further than `rings` stay 0.
    """
    for _ in range(rings):
        if bool(present.all()):
            break
        weight = F.avg_pool2d(present, 3, 1, 1)
        grown = (weight > 0).to(values)
        around = F.avg_pool2d(values, 3, 1, 1) / torch.where(weight > 0, weight, 1.0)
        values, present = torch.where(present > 0, values, around * grown), grown
    return values


def _max_pool2d(
    func: Handler,
    image: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Partial:
    values, present = _split(image)
    options = (kernel_size, stride, padding, dilation, ceil_mode)
    found = F.max_pool2d(present, *options)
    pooled = F.max_pool2d(values.masked_fill(present == 0, -torch.inf), *options)
    return Partial.of(pooled.masked_fill(found == 0, 0.0), found)


def _mean_pool(func: Handler, image: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Average pooling with a window or to a size; a map of one place is no map any more, but features."""
    values, present = _split(image)
    weight = func(present, *args, **kwargs)
    pooled = func(values, *args, **kwargs) / torch.where(weight > 0, weight, 1.0)
    # Nothing missing must give the network's own average, also where a window hangs over the edge.
    pooled = pooled * func(torch.ones_like(present), *args, **kwargs)
    return pooled if weight.shape[2:] == (1, 1) else Partial.of(pooled, (weight > 0).to(values))


def _mean(func: Handler, image: Tensor, dim: Any = None, keepdim: bool = False, **kwargs: Any) -> Tensor:
    values, present = _split(image)
    dims = [dim] if isinstance(dim, int) else list(dim or ())
    if sorted(d % values.ndim for d in dims) != [2, 3]:
        raise SalientError("layer masking: expected a mean over height and width", got=f"dimensions {dim}")
    total = (values * present).sum(dim=dims, keepdim=keepdim)
    result: Tensor = total / present.sum(dim=dims, keepdim=keepdim).clamp_min(1.0)
    return result


def _flatten(func: Handler, image: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Where a network flattens a map, what is absent counts as 0 from here on."""
    return torch.flatten(_split(image)[0], start_dim, end_dim)


def _pair(value: Any) -> tuple[int, int]:
    values = list(value) if isinstance(value, (tuple, list)) else [value]
    return (int(values[0]), int(values[-1]))


_HANDLERS: dict[str, Handler] = {
    "conv2d": _conv2d,
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _mean_pool,
    "adaptive_avg_pool2d": _mean_pool,
    "mean": _mean,
    "flatten": _flatten,
    "cat": _cat,
    "permute": _permute,
    "linear": _last_axis,
    "layer_norm": _last_axis,
}
_HANDLERS |= dict.fromkeys(
    (
        *("batch_norm", "dropout", "add", "__add__", "__radd__", "__iadd__", "add_", "mul", "__mul__", "__rmul__"),
        *("sub", "__sub__", "div", "true_divide", "__truediv__", "float"),
        *("relu", "relu_", "relu6", "hardtanh", "gelu", "silu", "hardswish", "hardsigmoid", "sigmoid", "leaky_relu"),
        *("elu", "contiguous"),
    ),
    _pointwise,
)
