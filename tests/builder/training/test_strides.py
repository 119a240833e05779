"""Narrow convolutions with a stride: the same numbers, and no training on a CPU leaves one to oneDNN."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from salient_imagenet_data.builder.train import TrainConfig, train
from salient_imagenet_data.builder.training.recipe import Recipe
from salient_imagenet_data.builder.training.strides import REGISTER, pixels_kept_first
from salient_imagenet_data.geometry import Preprocessing
from tests.builder.training.test_run import trained

RECIPE = Recipe(crop=32, first_crop=32, epochs=1, batch_size=14, epsilon=0.5, warmup=0.0)


class Strided(TorchDispatchMode):
    """Images and strides of all gradients of the weights of 1 x 1 convolutions, and the shapes of those that overrun."""

    def __init__(self) -> None:
        super().__init__()
        self.points, self.overrun = 0, list[tuple[int, ...]]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution_backward.default and args[2].shape[2:] == (1, 1) and args[10][1]:
            images: Tensor = args[1]
            last = images.is_contiguous(memory_format=torch.channels_last)
            self.points += 1
            if max(args[4]) > 1 and images.shape[1] < REGISTER and last:
                self.overrun.append(tuple(images.shape))
        return func(*args, **(kwargs or {}))


def fine_tuned(images: Path, weights: Path, folder: Path) -> None:
    trained(weights, images, folder / "w.safetensors", RECIPE)


def from_nothing(images: Path, weights: Path, folder: Path) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (14, 16, 16, 3)).astype(np.uint8)
    config = replace(TrainConfig(), widths=(8, 8), blocks=1, epochs=1, batch_size=7)
    train(crops, np.arange(14) % 2, ("a", "b"), Preprocessing(16, 16), config)


@pytest.mark.parametrize("training", [fine_tuned, from_nothing])
def test_no_training_leaves_one_to_onednn(training: Any, images: Path, weights: Path, tmp_path: Path) -> None:
    with Strided() as seen:
        training(images, weights, tmp_path)
    assert seen.points > 0 and seen.overrun == []


@pytest.mark.parametrize(
    ("convolution", "changed"),
    [
        (nn.Conv2d(8, 12, 1, 2, bias=False), True),
        (nn.Conv2d(3, 4, 1, (2, 3)), True),
        (nn.Conv2d(15, 4, 1, (1, 2), padding="valid"), True),
        (nn.Conv2d(16, 4, 1, 2), False),
        (nn.Conv2d(8, 4, 1), False),
        (nn.Conv2d(8, 4, 1, 2, padding=1), False),
        (nn.Conv2d(8, 4, 1, 2, groups=2), False),
        (nn.Conv2d(8, 4, 3, 2), False),
    ],
)
@pytest.mark.parametrize("side", [12, 13])
def test_outputs_and_gradients_are_the_same(convolution: nn.Conv2d, changed: bool, side: int) -> None:
    images = torch.randn(3, convolution.in_channels, side, side + 2, generator=torch.Generator().manual_seed(side))
    net, before = copy.deepcopy(convolution).to(memory_format=torch.channels_last), convolution.stride
    exact = copy.deepcopy(convolution).double()  # oneDNN has none of these
    wanted = exact(images.double())
    wanted.square().sum().backward()
    with pixels_kept_first(net):
        assert (net.stride != before) == changed and net.state_dict().keys() == convolution.state_dict().keys()
        output = net(images.contiguous(memory_format=torch.channels_last))
        output.square().sum().backward()
    torch.testing.assert_close(output.double(), wanted, rtol=1e-4, atol=1e-4)
    for mine, its in zip(net.parameters(), exact.parameters(), strict=True):
        assert mine.grad is not None and its.grad is not None
        torch.testing.assert_close(mine.grad.double(), its.grad, rtol=1e-4, atol=1e-4)


def test_a_network_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Conv2d(4, 4, 1, 2), nn.Conv2d(4, 4, 1, 2))
    with pytest.raises(KeyboardInterrupt), pixels_kept_first(net):
        assert [m.stride for m in net] == [(1, 1), (1, 1)] and net(torch.zeros(1, 4, 8, 8)).shape == (1, 4, 2, 2)
        raise KeyboardInterrupt
    assert [m.stride for m in net] == [(2, 2), (2, 2)] and not any(m._forward_pre_hooks for m in net)
    assert net(torch.zeros(1, 4, 8, 8)).shape == (1, 4, 2, 2)
