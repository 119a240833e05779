"""The attributions there are, by name. No torch; `attributions` makes them."""

from __future__ import annotations

from typing import Literal, get_args

Method = Literal["grad_cam", "input_x_gradient", "integrated_gradients"]
METHODS: tuple[Method, ...] = get_args(Method)
Depth = Literal["input", "middle", "last"]
DEPTHS: tuple[Depth, ...] = get_args(Depth)
"""How deep in a network: at the image, half of the way, at the last grid."""
