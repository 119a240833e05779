"""Out-of-sample probabilities of a linear head that is fitted on all folds of the images but one, and asked about that.

Only the head is out of sample: where the body of the network was trained on these images and their labels, it has seen
them, and a wrong label that it has learnt by heart is not found.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.labels.candidates import OutOfSample
from salient_imagenet_data.evaluation.labels.choices import DECAY, FOLDS
from salient_imagenet_data.evaluation.mitigation.heads.fitting import fit_head
from salient_imagenet_data.evaluation.mitigation.heads.retrain import body_and_head, head_inputs
from salient_imagenet_data.evaluation.plan.plan import rows_in
from salient_imagenet_data.evaluation.plan.regions import labels_of
from salient_imagenet_data.evaluation.run.found import images_found
from salient_imagenet_data.evaluation.run.settings import DEFAULT, Settings
from salient_imagenet_data.folds import within_classes
from salient_imagenet_data.joining import Images, opened
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.store.reading import Store


def parts_of(image_ids: Sequence[str], labels: NDArray[np.integer], folds: int) -> NDArray[np.int64]:
    """(n,) the part, from 0, of each image: the images of a class in the order of their ids' hashes, dealt out in turn,
    so that every part has as many of each class, and the same images are in the same parts in any order."""
    order, place = within_classes(image_ids, labels)
    parts = np.empty(len(order), dtype=np.int64)
    parts[order] = place % folds
    return parts


def held_out(features: Tensor, labels: Tensor, parts: NDArray[np.int64], classes: int, decay: float) -> Tensor:
    """(n, C) float64 probabilities of each image by a head that was fitted on the other parts, on the CPU.

    features: (n, F) float32. labels: (n,) int64. The head is the minimum of the mean cross entropy and the decay, from
    zero (`fitting.tune`).
    """
    found = torch.zeros(len(labels), classes, dtype=torch.float64)
    start = (
        torch.zeros(classes, features.shape[1], device=features.device),
        torch.zeros(classes, device=features.device),
    )
    for part in np.unique(parts).tolist():
        mine = torch.from_numpy(parts == part)
        here = mine.to(features.device)
        head = fit_head(features[~here], labels[~here], *start, decay=decay)
        assert head.bias is not None
        logits = features[here].double().cpu() @ head.weight.double().T + head.bias.double()
        found[mine] = logits.softmax(dim=1)
    return found


def cross_validated(
    classifier: Classifier,
    store: Store | str | Path,
    images: Images,
    folds: int = FOLDS,
    decay: float = DECAY,
    settings: Settings = DEFAULT,
) -> OutOfSample:
    """Of all images of the settings' fold that these do not leave out, on the inputs of a classifier's linear head, in
    its own preprocessing.

    Images that are missing are left out as the settings say. Raises SalientError for a class with one image, fewer than
    two folds, or a network without a linear head.
    """
    store, source = opened(store, images)
    if folds < 2:
        raise SalientError("folds", expected="2 or more", got=str(folds))
    joined = images_found(store, source, settings, rows_in(store, settings.fold, settings.left_out))
    labels, classes = labels_of(store)[joined.rows], len(store.class_names)
    single = np.flatnonzero(np.bincount(labels, minlength=classes) == 1)
    if len(single):
        raise SalientError(
            f"class {store.class_names[int(single[0])]!r}: one image, so nothing is left to fit on when it is held out",
            expected="two or more of each class",
        )
    preprocessing = classifier.preprocessing or store.manifest.preprocessing
    inner, head, _ = body_and_head(classifier, preprocessing.crop, classes, settings.device)
    features = head_inputs(inner, head, joined, preprocessing, settings).clone()  # not an inference tensor
    ids: list[str] = store.rows.image_ids.take(joined.rows).to_pylist()
    targets = torch.from_numpy(labels).to(features.device)
    p = held_out(features, targets, parts_of(ids, labels, folds), classes, decay)
    source_words = f"a head on {classifier.name}, fitted on the other {folds - 1} of {folds} folds"
    return OutOfSample(tuple(ids), labels, p.numpy(), source_words)
