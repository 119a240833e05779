"""Feature attacks: change an image until it shows a feature as strongly as it can [Singla & Feizi 2022, section 3.2].

From a seed image, pixels climb the gradient of the pooled feature, or of the combination of neurons that it is, with
steps of fixed l2 length, clamped to [0, 1]. The paper's ball of radius 500 around the seed never binds for 224 x 224
images in [0, 1], so there is none here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from salient_imagenet_data.networks.pixels import unit_images
from salient_imagenet_data.networks.robust import RobustModel
from salient_imagenet_data.store.features import Basis

STEP, ITERATIONS = 10.0, 100


def feature_attack(
    model: RobustModel,
    images: Tensor,
    features: Tensor,
    *,
    basis: Basis | None = None,
    step: float = STEP,
    iterations: int = ITERATIONS,
    stop: Callable[[], bool] = bool,
) -> Tensor:
    """Images (B, 3, S, S) float in [0, 1] that maximise feature features[b] (B,) of each; same shape and range.

    basis: what the features are made of, None for neurons. step: l2 length of a step in pixel units of [0, 1]; the
    paper's 10 is for 224 x 224, so scale it with the side. stop: asked before each iteration; where
    it says so, the images are as far as they have come.
    """
    x = images.clone()
    rows, directions = torch.arange(len(x), device=x.device), None
    if basis is not None:
        directions = torch.from_numpy(basis.directions[basis.places(features.cpu().numpy())]).to(x.device)
    for _ in range(iterations):
        if stop():
            break
        x = x.detach().requires_grad_(True)
        _, pooled = model.maps_and_features(x)
        values = pooled[rows, features] if directions is None else pooled * directions
        (gradient,) = torch.autograd.grad(values.sum(), x)
        x = (x.detach() + step * gradient / norms(gradient)).clamp(0.0, 1.0)
    return x.detach()


def norms(x: Tensor) -> Tensor:
    """l2 norm of each image, (B, 1, 1, 1), never 0."""
    norm: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1)
    return norm.clamp_min(1e-12)[:, None, None, None]


def attacker(
    model: RobustModel,
    basis: Basis | None = None,
    *,
    iterations: int = ITERATIONS,
    device: str = "cpu",
    stop: Callable[[], bool] = bool,
) -> Callable[[list[NDArray[np.uint8]], list[int]], list[NDArray[np.uint8]]]:
    """A function that attacks crops (S, S, 3) uint8, each for a feature index of its own, all of them in one batch.

    basis: of the store (`Store.basis`). The step is the paper's, scaled with the side of the crop. stop: as of
    `feature_attack`.
    """
    step = STEP * model.preprocessing.crop / 224

    def attack(crops: list[NDArray[np.uint8]], features: list[int]) -> list[NDArray[np.uint8]]:
        if not crops:
            return []
        x = unit_images(torch.from_numpy(np.stack(crops)).to(device), torch.channels_last)
        chosen = torch.tensor(features, device=device)
        changed = feature_attack(model, x, chosen, basis=basis, step=step, iterations=iterations, stop=stop)
        return list((changed * 255.0).round().byte().permute(0, 2, 3, 1).cpu().numpy())

    return attack
