"""Attacks on a classifier: images changed inside an l2 ball until it errs, and how often it is right with and without.

Any network that takes images in [0, 1]; projected gradient descent [Madry et al. 2018].
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from salient_imagenet_data.builder.feature_attack import norms


def attack(net: nn.Module, x: Tensor, y: Tensor, epsilon: float, steps: int, generator: torch.Generator) -> Tensor:
    """Perturb x (B, 3, H, W) in [0, 1] by normalised-gradient ascent on the loss, inside an l2 ball and [0, 1].

    The start is a random direction of random length. Step length 1.25 epsilon for one step, else 2.5 epsilon / steps.
    """
    noise = torch.randn(x.shape, generator=generator).to(x.device)
    length = torch.rand(len(x), 1, 1, 1, generator=generator).to(x.device)
    delta = epsilon * length * noise / norms(noise)
    step = epsilon * (1.25 if steps == 1 else 2.5 / steps)
    for _ in range(steps):
        delta = delta.detach().requires_grad_(True)
        loss = functional.cross_entropy(net(x + delta), y)
        (gradient,) = torch.autograd.grad(loss, delta)
        delta = delta.detach() + step * gradient / norms(gradient)
        delta = delta * (epsilon / norms(delta)).clamp(max=1.0)
        delta = (x + delta).clamp(0.0, 1.0) - x
    return (x + delta).detach()


@torch.inference_mode()
def correct(
    model: nn.Module, images: NDArray[np.uint8], labels: NDArray[np.int64], batch_size: int = 250
) -> NDArray[np.bool_]:
    """Whether each crop of (N, S, S, 3) uint8 is classified right, (N,)."""
    hits, device = np.empty(len(images), dtype=np.bool_), next(model.parameters()).device
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        x = torch.from_numpy(images[part]).to(device).permute(0, 3, 1, 2).float().div_(255.0)
        hits[part] = model(x).argmax(dim=1).cpu().numpy() == labels[part]
    return hits


def robust_accuracy(
    model: nn.Module,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    epsilon: float,
    steps: int = 10,
    seed: int = 0,
    batch_size: int = 250,
) -> float:
    """Share of crops still classified right after an l2 attack of `steps` steps."""
    generator, hits, device = torch.Generator().manual_seed(seed), 0, next(model.parameters()).device
    for start in range(0, len(images), batch_size):
        x = torch.from_numpy(images[start : start + batch_size]).to(device).permute(0, 3, 1, 2).float().div_(255.0)
        y = torch.from_numpy(labels[start : start + batch_size]).to(device)
        hits += int((model(attack(model, x, y, epsilon, steps, generator)).argmax(dim=1) == y).sum())
    return hits / len(images)
