"""Sufficient input subsets as the papers' pseudocode has them, one image at a time [Carter et al. 2019, 2021].

Written apart from the package: probabilities from softmax, the mask a variable of its own, FindSIS by asking again.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def shown(image: Tensor, masked: list[int], fill: Tensor, cell: int) -> Tensor:
    """(1, 3, S, S) an image with some cells filled."""
    result = image.clone()
    across = image.shape[-1] // cell
    for index in masked:
        top, left = divmod(index, across)
        result[:, top * cell : (top + 1) * cell, left * cell : (left + 1) * cell] = fill[:, None, None]
    return result[None]


def probability(model: nn.Module, image: Tensor, target: int) -> float:
    with torch.no_grad():
        return float(model(image).softmax(dim=1)[0, target])


def backselect(model: nn.Module, image: Tensor, target: int, fill: Tensor, cell: int) -> tuple[list[int], list[float]]:
    """BackSelect: while features are left, the one without which f is highest goes on the stack."""
    cells = (image.shape[-1] // cell) ** 2
    stack: list[int] = []
    confidence = [probability(model, image[None], target)]
    while len(stack) < cells:
        best, value = -1, -1.0
        for index in range(cells):
            if index not in stack:
                here = probability(model, shown(image, [*stack, index], fill, cell), target)
                if here > value:
                    best, value = index, here
        stack.append(best)
        confidence.append(value)
    return stack, confidence


def batched_gradient_backselect(
    model: nn.Module, image: Tensor, target: int, fill: Tensor, step: int, cell: int = 1
) -> tuple[list[int], list[float]]:
    """BatchedGradientBackSelect: M = 0; the k features of largest df/dM that are not masked are masked, again and
    again."""
    across = image.shape[-1] // cell
    mask = torch.zeros(across * across, dtype=image.dtype)
    stack: list[int] = []
    confidence = []
    while len(stack) < len(mask):
        variable = mask.clone().requires_grad_(True)
        large = variable.view(1, across, across).repeat_interleave(cell, 1).repeat_interleave(cell, 2)
        p = model((image * (1 - large) + fill[:, None, None] * large)[None]).softmax(dim=1)[0, target]
        (gradient,) = torch.autograd.grad(p, variable)
        ranked = sorted((i for i in range(len(mask)) if mask[i] == 0), key=lambda i: -float(gradient[i]))
        for index in ranked[:step]:
            stack.append(index)
            mask[index] = 1
        confidence.append(float(p.detach()))
    return stack, [*confidence, probability(model, shown(image, stack, fill, cell), target)]


def find_sis(
    model: nn.Module, image: Tensor, target: int, fill: Tensor, stack: list[int], step: int, tau: float, cell: int = 1
) -> int | None:
    """FindSIS: what was masked last is shown first, a step at a time, until f >= tau; how much that is, or None."""
    starts = [*range(0, len(stack), step), len(stack)]
    for start in reversed(starts):
        if probability(model, shown(image, stack[:start], fill, cell), target) >= tau:
            return len(stack) - start
    return None
