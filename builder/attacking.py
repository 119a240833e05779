"""Attacks on a classifier: images changed inside a ball until it errs, and how often it is right with and without.

Any network that takes images in [0, 1]; projected gradient descent [Madry et al. 2018].
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from salient_imagenet_data.builder.choices import Norm
from salient_imagenet_data.builder.feature_attack import norms
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.networks.pixels import unit_images


def attack(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    epsilon: float,
    steps: int,
    generator: torch.Generator,
    norm: Norm = "l2",
) -> Tensor:
    """Perturb x (B, 3, H, W) in [0, 1] by projected gradient ascent on the loss from a random start, inside a ball of
    radius epsilon and [0, 1]."""
    return climb(net, x, y, random_start(x.shape, epsilon, generator, norm).to(x.device), epsilon, steps, norm)


def random_start(shape: torch.Size, epsilon: float, generator: torch.Generator, norm: Norm = "l2") -> Tensor:
    """Changes of `shape` (B, 3, H, W), drawn on the CPU: for l2 a random direction of random length, at most epsilon;
    for linf uniform in [-epsilon, epsilon]."""
    if norm == "linf":
        return (2.0 * torch.rand(shape, generator=generator) - 1.0) * epsilon
    noise = torch.randn(shape, generator=generator)
    length = torch.rand(shape[0], 1, 1, 1, generator=generator)
    return epsilon * length * noise / norms(noise)


def climb(net: nn.Module, x: Tensor, y: Tensor, start: Tensor, epsilon: float, steps: int, norm: Norm = "l2") -> Tensor:
    """Perturb x from a start, by steps of 1.25 epsilon for one step, else of 2.5 epsilon / steps."""
    delta, length = start, epsilon * (1.25 if steps == 1 else 2.5 / steps)
    for _ in range(steps):
        delta = delta.detach().requires_grad_(True)
        loss = functional.cross_entropy(net(x + delta), y)
        (gradient,) = torch.autograd.grad(loss, delta)
        delta = stepped(x, delta.detach(), gradient, length, epsilon, norm)
    return (x + delta).detach()


def stepped(x: Tensor, delta: Tensor, gradient: Tensor, length: float, epsilon: float, norm: Norm = "l2") -> Tensor:
    """A change of x after one step uphill of some length in the norm, back inside the ball and [0, 1]."""
    if norm == "linf":
        delta = (delta + length * gradient.sign()).clamp(-epsilon, epsilon)
    else:
        delta = delta + length * gradient / norms(gradient)
        delta = delta * (epsilon / norms(delta)).clamp(max=1.0)
    return (x + delta).clamp(0.0, 1.0) - x


@torch.inference_mode()
def correct(
    model: nn.Module, images: NDArray[np.uint8], labels: NDArray[np.int64], batch_size: int = 250
) -> NDArray[np.bool_]:
    """Whether each crop of (N, S, S, 3) uint8 is classified right, (N,)."""
    hits, device = np.empty(len(images), dtype=np.bool_), next(model.parameters()).device
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        x = unit_images(torch.from_numpy(images[part]).to(device), torch.channels_last)
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
    norm: Norm = "l2",
) -> float:
    """Share of crops still classified right after an attack of `steps` steps."""
    if not len(images):
        raise SalientError("no image to attack", expected="at least one that decodes")
    generator, hits, device = torch.Generator().manual_seed(seed), 0, next(model.parameters()).device
    for start in range(0, len(images), batch_size):
        x = unit_images(torch.from_numpy(images[start : start + batch_size]).to(device), torch.channels_last)
        y = torch.from_numpy(labels[start : start + batch_size]).to(device)
        hits += int((model(attack(model, x, y, epsilon, steps, generator, norm)).argmax(dim=1) == y).sum())
    return hits / len(images)
