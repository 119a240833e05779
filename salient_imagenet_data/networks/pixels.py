"""Crops as networks take them: the one place where their bytes become numbers in [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor


def unit_images(crops: Tensor, layout: torch.memory_format = torch.contiguous_format) -> Tensor:
    """(B, S, S, 3) uint8 -> (B, 3, S, S) float32 in [0, 1], on the same device.

    layout: of its memory. The last digits of what a network says, and what random numbers that fill a tensor are, hang
    on it, so it never comes of how the crops happened to lie.
    """
    return crops.permute(0, 3, 1, 2).contiguous(memory_format=layout).float().div_(255.0)
