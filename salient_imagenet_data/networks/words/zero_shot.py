"""An image tower against classes that are given in words [Radford et al. 2021; with sigmoids, Zhai et al. 2023]."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Encode = Callable[[nn.Module, Tensor], Tensor]
"""A network and normalised images (B, 3, S, S) -> embeddings (B, D) of any length."""


class ZeroShot(nn.Module):
    """An image tower and one unit vector (C, D) a class: logits are scaled cosines, plus the bias of a network that was
    trained with sigmoids, which is the same for all classes.

    clip: both towers, with `logit_scale`, the logarithm of the scale, and `logit_bias` where there is one.
    """

    weight: Tensor

    def __init__(self, clip: nn.Module, weight: Tensor, encode: Encode) -> None:
        super().__init__()
        self.clip, self.encode = clip, encode
        self.register_buffer("weight", weight, persistent=False)

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied with."""
        scale: Tensor = self.clip.logit_scale.exp()  # type: ignore[operator]
        return scale

    @property
    def bias(self) -> Tensor:
        """What is added to them; 0 for a network trained with a softmax."""
        bias = getattr(self.clip, "logit_bias", None)
        return torch.zeros_like(self.scale) if bias is None else bias

    @property
    def sigmoid(self) -> bool:
        """Whether the network was trained to say of each class by itself whether it fits."""
        return getattr(self.clip, "logit_bias", None) is not None

    def forward(self, images: Tensor) -> Tensor:
        embedded = torch.nn.functional.normalize(self.encode(self.clip, images), dim=-1)
        logits: Tensor = self.scale * embedded @ self.weight.T + self.bias
        return logits

    def cosines(self, logits: Tensor) -> Tensor:
        """The cosines that logits of this network were made of."""
        return (logits - self.bias) / self.scale
