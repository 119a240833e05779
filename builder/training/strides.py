"""Narrow 1 x 1 convolutions with a stride, trained on a CPU without a write beyond what oneDNN has set aside.

For the gradient of such a convolution's weights, oneDNN (3.12 of torch 2.14.1 among others) copies the pixels that the
stride keeps. With channels last it sets memory aside for the channels that there are, and places the pixels as if there
were a whole register of them: 8 with AVX2, 16 with AVX-512. With fewer it may write over what lies behind: 16 images of
8 channels and 56 x 56 pixels do it on one thread, 7 of 16 x 16 on two. The process dies, hangs, or goes on with other
numbers. A convolution without a stride, of the pixels that are kept anyway, is the same and makes no such copy.
https://github.com/uxlfoundation/oneDNN/issues/6035, open in November 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn

REGISTER = 16
"""Floats in the widest register, AVX-512's. A convolution of so many channels or more is as it was."""


@contextmanager
def pixels_kept_first(model: nn.Module) -> Iterator[None]:
    """While it lasts, the narrow convolutions of a model on a CPU take their pixels before they compute, with the same
    outputs and gradients; afterwards they are as before. The names of its tensors stay."""
    with ExitStack() as undone:
        for module in model.modules():
            if isinstance(module, nn.Conv2d) and _narrow(module):
                stride, module.stride = module.stride, (1, 1)
                undone.callback(setattr, module, "stride", stride)
                undone.callback(module.register_forward_pre_hook(_kept(*stride)).remove)
        yield


def _narrow(module: nn.Conv2d) -> bool:
    point = module.kernel_size == (1, 1) and module.padding in ((0, 0), "valid") and module.groups == 1
    return point and max(module.stride) > 1 and module.in_channels < REGISTER and module.weight.device.type == "cpu"


def _kept(down: int, right: int) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
    """A hook that gives a module every so many rows and columns of its images (B, C, H, W)."""
    return lambda _, given: (given[0][..., ::down, ::right], *given[1:])
