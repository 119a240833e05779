"""Selection against the papers' pseudocode, one image at a time in double precision, and where that one goes wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.sufficiency.choices import Choice
from salient_imagenet_data.evaluation.sufficiency.selection import (
    backward_selection,
    composed,
    gradient_selection,
    log_odds,
)
from salient_imagenet_data.evaluation.sufficiency.subsets import sufficient_sizes
from salient_imagenet_data.networks.smallnet import SmallNet, SmallNetConfig
from tests.evaluation.sufficiency.pseudocode import backselect, batched_gradient_backselect, find_sis

FILL = torch.tensor([0.4, 0.5, 0.3], dtype=torch.float64)


def network(seed: int = 0, classes: int = 4) -> nn.Module:
    torch.manual_seed(seed)
    return SmallNet(SmallNetConfig(classes, (6, 8), 1, 1)).double().eval().requires_grad_(False)


def pictures(count: int, side: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("step", "cell"), [(1, 1), (7, 1), (64, 1), (5, 2), (3, 4)])
def test_batched_gradient_sis_as_in_the_pseudocode(step: int, cell: int) -> None:
    net, x, classes = network(), pictures(3, 8), torch.tensor([2, 0, 3])
    found = gradient_selection(net, x, classes, FILL, step=step, cell=cell)
    cells = (8 // cell) ** 2
    assert found.order.shape == (3, cells) and found.confidence.shape == (3, math.ceil(cells / step) + 1)
    for k in range(3):
        order, confidence = batched_gradient_backselect(net, x[k], int(classes[k]), FILL, step, cell)
        assert found.order[k].tolist() == order
        assert np.allclose(found.confidence[k].numpy(), confidence, atol=1e-6)


@pytest.mark.parametrize("cell", [1, 2])
def test_backward_selection_as_in_the_pseudocode(cell: int) -> None:
    net, x, classes = network(1), pictures(2, 6), torch.tensor([1, 3])
    for at_once in (5, 1000):
        found = backward_selection(net, x, classes, FILL, cell=cell, at_once=at_once)
        for k in range(2):
            order, confidence = backselect(net, x[k], int(classes[k]), FILL, cell)
            assert found.order[k].tolist() == order
            assert np.allclose(found.confidence[k].numpy(), confidence, atol=1e-6)


def test_sufficient_subsets_as_find_sis_finds_them() -> None:
    """Popping from the end until the confidence is enough; the classifier is asked anew."""
    net, x = network(2), pictures(6, 8, seed=4)
    classes = net(x).argmax(dim=1)
    for step in (1, 9):
        found = gradient_selection(net, x, classes, FILL, step=step)
        for share in (0.3, 0.9, 1.02):
            for k in range(6):
                tau = share * float(found.confidence[k, 0])
                sizes = sufficient_sizes(found.confidence[k : k + 1].numpy(), 64, step, tau)
                popped = find_sis(net, x[k], int(classes[k]), FILL, found.order[k].tolist(), step, tau)
                assert sizes[0] == (-1 if popped is None else popped)


def test_a_confidence_is_that_before_its_step() -> None:
    """The trap: the first is the whole image's, and the last that of the fill alone."""
    net, x, classes = network(), pictures(2, 8), torch.tensor([0, 1])
    found = gradient_selection(net, x, classes, FILL, step=16)
    p = net(x).softmax(1)[[0, 1], classes]
    empty = net(FILL.view(1, 3, 1, 1).expand(2, 3, 8, 8)).softmax(1)[[0, 1], classes]
    assert np.allclose(found.confidence[:, 0], p, atol=1e-6) and np.allclose(found.confidence[:, -1], empty, atol=1e-6)


def test_an_answer_so_sure_that_p_has_no_gradient_is_ordered_all_the_same() -> None:
    """In float32 the probability is 1 and its gradient 0: the plain form would order such an image by chance."""
    weight = torch.linspace(0.0, 1.0, 64).view(8, 8)

    def certain(x: torch.Tensor) -> torch.Tensor:
        own = (x[:, 0] * weight).flatten(1).sum(1)
        return torch.stack([5.0 * own + 40.0, -own], dim=1)

    x = torch.ones(1, 3, 8, 8)
    logits = certain(x.requires_grad_(True))
    (plain,) = torch.autograd.grad(logits.softmax(1)[0, 0], x)
    assert logits.softmax(1)[0, 0] == 1.0 and not plain.any()
    found = gradient_selection(certain, x, torch.tensor([0]), torch.zeros(3), step=4)
    assert sorted(found.order[0, :4].tolist()) == [0, 1, 2, 3] and sorted(found.order[0, -4:].tolist()) == [
        60,
        61,
        62,
        63,
    ]


def test_an_image_is_ordered_alike_in_any_company_and_layout() -> None:
    net, x, classes = network(3), pictures(5, 8, seed=7), torch.tensor([0, 1, 2, 3, 0])
    together = gradient_selection(net, x, classes, FILL, step=6)
    alone = gradient_selection(net, x[3:4], classes[3:4], FILL, step=6)
    last = gradient_selection(net, x.contiguous(memory_format=torch.channels_last), classes, FILL, step=6)
    assert torch.equal(together.order[3], alone.order[0]) and torch.equal(together.order, last.order)
    masked = torch.zeros(5, 64, dtype=torch.bool)
    layout = composed(x.contiguous(memory_format=torch.channels_last), masked, FILL)
    assert layout.is_contiguous(memory_format=torch.channels_last) and torch.equal(layout, x)


def test_log_odds_are_the_logits_of_the_probability() -> None:
    logits = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    p = logits.softmax(1)[range(5), [0, 1, 2, 0, 1]]
    assert torch.allclose(log_odds(logits, torch.tensor([0, 1, 2, 0, 1])), torch.log(p / (1 - p)))


def test_models_that_will_not_do() -> None:
    x, classes = pictures(1, 4), torch.tensor([0])
    with pytest.raises(SalientError, match="the model has no gradient; use backward selection"):
        gradient_selection(lambda x: torch.zeros(len(x), 2), x, classes, FILL, step=4)
    with pytest.raises(SalientError, match="NaN or infinities; expected finite logits"):
        backward_selection(lambda x: torch.full((len(x), 2), torch.nan), x, classes, FILL)


def test_choices() -> None:
    assert Choice().step_at(299) == 100 and Choice().step_at(224) == 56 and Choice().step_at(32) == 1
    assert Choice(cell=2, step=5000).step_at(64) == 1024 and Choice("backward").step_at(64) == 1
    with pytest.raises(SalientError, match="cell; expected a divisor of the crop of 56 pixels; got 3"):
        Choice(cell=3).step_at(56)
    with pytest.raises(
        SalientError, match="backward selection masks one cell at a time; expected 1; got 4; leave it out"
    ):
        Choice("backward", step=4)
    with pytest.raises(SalientError, match=r"fill; expected three numbers in \[0, 1\]; got 2, 0, 0"):
        Choice(fill=(2.0, 0.0, 0.0))
