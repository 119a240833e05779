"""Class-wise neural PCA [Neuhaus et al. 2023]: what varies in a class's own contributions to its logit.

psi(x) = w * r(x) elementwise, with r the pooled neurons of an image and w the head's row of the class, so that the sum
of psi(x) and the bias is the class's logit. Its principal components v_l over the class's images give

    alpha_l(x) = <1, v_l> <psi(x) - mean psi, v_l>,  sum over l of alpha_l(x) + <1, mean psi> + bias = the logit,

each what a component adds to the logit beyond the class's mean. The sign of v_l, which PCA leaves open, drops out.
Alphas are uncorrelated over the class's images, so their variances <1, v_l>^2 lambda_l sum to the variance of the
logit: by their roots components are ranked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Components:
    """The M most important components of a class, most important first.

    places: (M,) int64, each one's place by variance lambda, from 0. directions: (M, F) float32 and bias: (M,) float64,
    so that alpha(x) = <direction, r(x)> + bias. spread: (M,) float64, standard deviation of alpha over the class's
    images.
    """

    places: NDArray[np.int64]
    directions: NDArray[np.float32]
    bias: NDArray[np.float64]
    spread: NDArray[np.float64]


class Scatter:
    """What a class's PCA needs of its images: the sum of outer products of their centred pooled neurons, in float64.

    mean: (F,) of the images, float64. images: how many there will be. Few images are kept as they come, (n, F) float32,
    which takes less memory than the sum; many are added up at once.
    """

    def __init__(self, mean: NDArray[np.float64], images: int) -> None:
        self._mean, self._images = torch.from_numpy(mean), images
        self._kept: list[Tensor] = []
        self._sum: Tensor | None = None

    @staticmethod
    def size(images: int, neurons: int) -> int:
        """Bytes of memory for so many images."""
        return min(4 * images, 8 * neurons) * neurons

    def add(self, pooled: NDArray[np.float32]) -> None:
        """Images (n, F)."""
        x = torch.from_numpy(pooled)
        if 4 * self._images <= 8 * len(self._mean):
            self._kept.append(x)
        else:
            centred = x.double() - self._mean
            product = centred.T @ centred
            self._sum = product if self._sum is None else self._sum.add_(product)

    def covariance(self) -> Tensor:
        """(F, F) float64, over n and not n - 1."""
        total = self._sum
        if total is None:
            centred = torch.cat(self._kept).double() - self._mean
            total = centred.T @ centred
        return total / self._images


def components(mean: NDArray[np.float64], covariance: Tensor, weight: NDArray[np.floating], top: int) -> Components:
    """The `top` components of a class by the standard deviation of alpha, or as many as there are: n images have at
    most n - 1, and what is left is rounding. Equal ones go by variance.

    mean: (F,) and covariance: (F, F) float64 of the pooled neurons of the class's images; weight: (F,) of its row of
    the head.
    """
    row = torch.from_numpy(np.asarray(weight, dtype=np.float64))
    values, vectors = torch.linalg.eigh(covariance * row[:, None] * row[None, :])
    values, vectors = values.flip(0).clamp_min(0.0), vectors.flip(1)
    total = vectors.sum(dim=0)
    spread = (total.abs() * values.sqrt()).numpy()
    rounding = len(row) * torch.finfo(torch.float64).eps
    there = (values > rounding * values[0]).numpy()
    order = np.argsort(np.where(there, -spread, np.inf), kind="stable")[: min(top, int(there.sum()))].astype(np.int64)
    chosen = torch.from_numpy(order)
    directions = ((total * vectors).T * row)[chosen].float().numpy()
    bias = -np.array([np.sum(direction * mean) for direction in directions.astype(np.float64)], dtype=np.float64)
    return Components(order, directions, bias, spread[order])
