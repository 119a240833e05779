"""Batch normalisation inside convolutions: the same function, only while it is asked, and not where it would be another."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from salient_imagenet_data.evaluation.sufficiency.folding import folded
from salient_imagenet_data.evaluation.sufficiency.selection import gradient_selection
from tests.evaluation.sufficiency.pseudocode import batched_gradient_backselect

FILL = torch.tensor([0.4, 0.5, 0.3], dtype=torch.float64)


class Net(nn.Module):
    """A convolution, a normalisation with statistics of its own, and a head; the ways below to use them."""

    def __init__(self, way: str = "plain") -> None:
        super().__init__()
        torch.manual_seed(2)
        self.way, self.conv, self.norm, self.head = way, nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Linear(6, 4)
        self.norm.running_mean, self.norm.running_var = torch.randn(6), torch.rand(6) + 0.2
        self.norm.weight.data, self.norm.bias.data = torch.randn(6), torch.randn(6)
        self.double().eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        z = self.norm(y.clone() if self.way == "apart" else y)
        if self.way == "seen":
            z = z + y
        if self.way == "also alone":
            z = z.relu() + 1e-9 * self.conv(x.flip(3))
        if self.way == "twice":
            z = z[..., :-2, :-2] + self.norm(self.conv(x.flip(3)))[..., 2:, 2:]
        return self.head(z.relu().mean(dim=(2, 3)))


@pytest.mark.parametrize(("way", "count"), [("plain", 1), ("apart", 0), ("seen", 0), ("twice", 1), ("also alone", 0)])
def test_folded_where_it_is_the_same_function_and_only_there(way: str, count: int) -> None:
    net, x = Net(way), torch.rand(3, 3, 8, 8, dtype=torch.float64)
    before, norm, conv = net(x), net.norm, net.conv
    with folded(net, x) as found:
        assert found == count and isinstance(net.norm, nn.Identity) == bool(count)
        assert torch.allclose(net(x), before, rtol=0, atol=1e-12)
    assert net.norm is norm and net.conv is conv and torch.equal(net(x), before)
    assert not conv._forward_hooks and not norm._forward_hooks


def test_what_is_no_fixed_normalisation_stays() -> None:
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    net = Net()
    net.norm.train()
    with folded(net, x) as found:
        assert found == 0
    with folded(lambda x: x.flatten(1), x) as found:
        assert found == 0


def test_a_network_is_whole_again_after_an_error() -> None:
    net, x = Net(), torch.rand(2, 3, 8, 8, dtype=torch.float64)
    norm = net.norm
    with pytest.raises(ZeroDivisionError), folded(net, x):
        1 / 0  # noqa: B018
    assert net.norm is norm


def test_orders_of_a_folded_network_are_those_of_the_pseudocode_on_the_network_itself() -> None:
    """One image at a time and not folded, the very same order of all pixels."""
    net, x, classes = Net(), torch.rand(2, 3, 8, 8, dtype=torch.float64), torch.tensor([1, 3])
    with folded(net, x) as found:
        selected = gradient_selection(net, x, classes, FILL, step=3)
    assert found == 1
    for k in range(2):
        order, _ = batched_gradient_backselect(net, x[k], int(classes[k]), FILL, 3)
        assert selected.order[k].tolist() == order
