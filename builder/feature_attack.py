"""Feature attacks: change an image until it shows a feature as strongly as it can [Singla & Feizi 2022, section 3.2].

From a seed image, pixels climb the gradient of the pooled feature, with steps of fixed l2 length, clamped to [0, 1].
The paper's ball of radius 500 around the seed never binds for 224 x 224 images in [0, 1], so there is none here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from salient_imagenet_data.builder.model import RobustModel

STEP, ITERATIONS = 10.0, 100


def feature_attack(
    model: RobustModel, images: Tensor, features: Tensor, *, step: float = STEP, iterations: int = ITERATIONS
) -> Tensor:
    """Images (B, 3, S, S) float in [0, 1] that maximise feature features[b] (B,) of each; same shape and range.

    step: l2 length of a step in pixel units of [0, 1]; the paper's 10 is for 224 x 224, so scale it with the side.
    """
    x = images.clone()
    rows = torch.arange(len(x), device=x.device)
    for _ in range(iterations):
        x = x.detach().requires_grad_(True)
        _, pooled = model.maps_and_features(x)
        (gradient,) = torch.autograd.grad(pooled[rows, features].sum(), x)
        length = torch.linalg.vector_norm(gradient.flatten(1), dim=1).clamp_min(1e-12)[:, None, None, None]
        x = (x.detach() + step * gradient / length).clamp(0.0, 1.0)
    return x.detach()
