"""The search for masks of one size, against all masks there are."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.certificates.search import searched, seen

SIDE, SIZE = 4, 3


class Linear(nn.Module):
    """Logits that are linear in the pixels."""

    def __init__(self, classes: int, seed: int, side: int = SIDE) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = torch.randn(classes, 3, side, side, generator=generator)

    def forward(self, images: Tensor) -> Tensor:
        return torch.einsum("bchw,kchw->bk", images, self.weight)


def start(seed: int, images: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Images, what hides them, and masks of three pixels in the corner."""
    x = torch.rand(images, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    masks = torch.zeros(images, 1, SIDE, SIDE)
    masks[:, :, 0, :SIZE] = 1.0
    return x, torch.full_like(x, 0.5), masks


def best_of_all(model: nn.Module, image: Tensor, hidden: Tensor, allowed: np.ndarray) -> float:
    """The highest probability of any allowed class over all masks of three pixels."""
    found = 0.0
    for places in combinations(range(SIDE * SIDE), SIZE):
        shown = hidden.clone().flatten(1)
        shown[:, list(places)] = image.flatten(1)[:, list(places)]
        p = model(shown.view(1, 3, SIDE, SIDE)).softmax(dim=1)[0].numpy()
        found = max(found, float(p[allowed].max()))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_of_two_classes_the_best_mask_of_all_is_found(seed: int) -> None:
    """The log odds are linear in the mask, so that its gradient orders the pixels rightly."""
    model, (x, hidden, masks) = Linear(2, seed), start(seed)
    allowed = torch.tensor([[True, False], [False, True], [True, False]])
    found = searched(model, x, hidden, masks, allowed, steps=1, grid=SIDE)
    p = model(seen(x, hidden, found)).softmax(dim=1)
    for k in range(3):
        assert float(p[k][allowed[k]].max()) == pytest.approx(
            best_of_all(model, x[k], hidden[k], allowed[k].numpy()), rel=1e-5
        )


def test_of_many_classes_any_that_is_allowed_is_searched_for() -> None:
    """Near the best of all, above what one step finds on average, and never below the mask that was given."""
    ratios, gained = [], 0
    for seed in range(6):
        model, (x, hidden, masks) = Linear(5, seed), start(seed, images=2)
        allowed = torch.tensor([[False, True, True, True, True], [True, True, False, True, True]])
        p = {}
        for steps in (0, 1, 8):
            found = searched(model, x, hidden, masks, allowed, steps=steps, grid=SIDE)
            assert torch.equal(found.flatten(1).sort().values, masks.flatten(1).sort().values)
            shown = model(seen(x, hidden, found)).softmax(dim=1).masked_fill(~allowed, 0.0)
            p[steps] = shown.amax(dim=1)
        assert (p[8] >= p[1]).all() and (p[1] >= p[0]).all()
        gained += int((p[8] > p[1]).sum())
        ratios += [float(p[8][k]) / best_of_all(model, x[k], hidden[k], allowed[k].numpy()) for k in range(2)]
    assert max(ratios) <= 1.0 + 1e-5 and float(np.mean(ratios)) > 0.95 and gained > 0


def test_masks_are_as_smooth_as_the_grid() -> None:
    """Half of the pixels on a grid of two by two is one block; pixel by pixel it is as rough as the model."""
    torch.manual_seed(0)
    model, x = Linear(2, 3, 16), torch.rand(1, 3, 16, 16)
    masks = torch.zeros(1, 1, 16, 16)
    masks[..., :8, :] = 1.0
    edges = {}
    for grid in (2, 16):
        found = searched(model, x, torch.zeros_like(x), masks, torch.tensor([[True, False]]), steps=1, grid=grid)
        edges[grid] = int((found[..., 1:] != found[..., :-1]).sum() + (found[..., 1:, :] != found[..., :-1, :]).sum())
    assert edges[2] < 40 < 150 < edges[16]


def test_what_cannot_be_searched() -> None:
    x, hidden, masks = start(0)
    allowed = torch.tensor([[True, False]] * 3)
    model = Linear(2, 0)
    with pytest.raises(SalientError, match="no gradient; search with 0 steps"):
        searched(lambda z: model(z.detach()), x, hidden, masks, allowed, steps=1, grid=2)
    assert torch.equal(searched(lambda z: model(z.detach()), x, hidden, masks, allowed, steps=0, grid=2), masks)
    with pytest.raises(SalientError, match="NaN or infinities"):
        searched(lambda z: model(z) * torch.nan, x, hidden, masks, allowed, steps=1, grid=2)
