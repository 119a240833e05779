"""SpuFix [Neuhaus et al. 2023]: what a class's spurious features add to its logit is taken off again.

Nothing is trained. With psi(x) = w * r(x) the contributions of a classifier's pooled neurons to the logit of a class, a
spurious feature of a store has a direction d there: that of unit length whose projection has the largest covariance
with the feature's activation over the class's images, sum of (activation) (psi(x) - mean psi) over its norm. For the
network and images of a store of components this is the component itself. With the directions of a class as columns of
D,

    beta(x) = (1^T D) * (D^T D)^-1 D^T (psi(x) - mean psi),    logit - sum of max(beta, 0).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.mitigation.heads.retrain import head_inputs, head_of
from salient_imagenet_data.evaluation.plan.plan import rows_in
from salient_imagenet_data.evaluation.plan.regions import labels_of
from salient_imagenet_data.evaluation.run.found import images_found
from salient_imagenet_data.evaluation.run.settings import DEFAULT, Settings
from salient_imagenet_data.joining import Images, opened
from salient_imagenet_data.names import SPURIOUS
from salient_imagenet_data.networks.classifiers import Classifier, Reordered, check_output, network_of
from salient_imagenet_data.networks.openers.corrected import Correction, correct
from salient_imagenet_data.networks.opening import inside
from salient_imagenet_data.ranking.spuriosity import check_known
from salient_imagenet_data.store.reading import Store


@dataclass(frozen=True)
class Taken:
    """directions: spurious features that were taken off, of `classes` classes. without: those that have no direction,
    since on these images they, or the class's contributions, do not vary together. images: how many were looked at.
    loss: mean of what is taken off the logit of a class on its own images."""

    directions: int
    classes: int
    without: int
    images: int
    loss: float


def matched_directions(activations: NDArray[np.floating], contributions: NDArray[np.floating]) -> NDArray[np.float64]:
    """(F, M) directions of unit length, of M features with activations (n, M) on images with contributions (n, F):
    those of largest covariance. A column of zeros where there is none."""
    centred = contributions - contributions.mean(axis=0)
    found = centred.T @ (activations - activations.mean(axis=0))
    norm = np.linalg.norm(found, axis=0)
    # What rounding leaves of no covariance is no direction.
    scale = np.linalg.norm(centred) * np.linalg.norm(activations - activations.mean(axis=0), axis=0)
    there = norm > 1e-12 * scale
    return np.asarray(np.where(there, found / np.where(there, norm, 1.0), 0.0))


def affine(
    directions: NDArray[np.float64], weight: NDArray[np.floating], mean: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """beta(x) = A r(x) + b: A (M, F) and b (M,), of directions (F, M) and a class with weight (F,) and mean (F,) of its
    pooled neurons. Directions that hang on one another share what they take."""
    projected = directions.sum(axis=0)[:, None] * np.linalg.pinv(directions)
    matrix = projected * weight
    return matrix, -matrix @ mean


def spufix(
    classifier: Classifier, store: Store | str | Path, images: Images, *, settings: Settings = DEFAULT
) -> tuple[nn.Module, Taken]:
    """Put the correction on the head of a classifier's network, in place; returns the network, on the CPU.

    The directions are found on the store's images of each class, by label, within the settings' fold, in the
    classifier's own preprocessing. Raises SalientError for a store without answers or without a spurious feature, or a
    network without a linear head.
    """
    store, source = opened(store, images)
    spurious = store.kind_table[SPURIOUS]
    if not spurious.any():
        raise SalientError(f"{store.path}: no spurious feature, so nothing to take off")
    network = network_of(classifier).to(settings.device).eval()
    preprocessing = classifier.preprocessing or store.manifest.preprocessing
    rows = rows_in(store, settings.fold, settings.left_out)
    rows = rows[store.has(SPURIOUS)[labels_of(store)[rows]]]
    if not len(rows):
        raise SalientError(f"{store.path}: no image of a class with a spurious feature in fold {settings.fold}")
    joined = images_found(store, source, settings, rows)
    crop = preprocessing.crop
    check_output(network, crop, classifier.outputs(len(store.class_names)), settings.device)
    inner = network.net if isinstance(network, Reordered) else network
    example = torch.rand(2, 3, crop, crop, generator=torch.Generator().manual_seed(0)).to(settings.device)
    name, head = head_of(inner, example)
    pooled = head_inputs(inner, head, joined, preprocessing, settings).double().cpu().numpy()
    weight = head.weight.detach().double().cpu().numpy()
    outputs = list(network.order) if isinstance(network, Reordered) else list(range(len(weight)))
    labels, activations = labels_of(store)[joined.rows], store.activations[joined.rows].astype(np.float64)
    check_known(activations, store.path)
    matrices, biases, numbers, losses, without = [], [], list[int](), [], 0
    for label in np.unique(labels).tolist():
        mine, slots, output = labels == label, spurious[label], outputs[label]
        directions = matched_directions(activations[mine][:, slots], pooled[mine] * weight[output])
        there = directions.any(axis=0)
        without += int((~there).sum())
        matrix, bias = affine(directions[:, there], weight[output], pooled[mine].mean(axis=0))
        losses.append(np.maximum(pooled[mine] @ matrix.T + bias, 0.0).sum(axis=1))
        matrices.append(matrix)
        biases.append(bias)
        numbers += [output] * len(bias)
    if not numbers:
        raise SalientError(
            "no direction was found for any spurious feature",
            expected="images on which activations vary",
            got=f"{len(joined)} images",
        )
    correction = Correction(
        _short(name, inner),
        torch.from_numpy(np.concatenate(matrices)).float(),
        torch.from_numpy(np.concatenate(biases)).float(),
        torch.tensor(numbers),
    )
    network = network.cpu()
    correct(inside(network), correction)
    taken = Taken(len(numbers), len(set(numbers)), without, len(joined), float(np.concatenate(losses).mean()))
    return network.requires_grad_(False), taken


def _short(name: str, inner: nn.Module) -> str:
    """The head's name in the network itself, without what this package put around it."""
    net = inside(inner)
    module = inner.get_submodule(name)
    (found,) = [own for own, layer in net.named_modules() if layer is module]
    return str(found)
