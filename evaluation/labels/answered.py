"""Out-of-sample probabilities of a file of predictions, of a model that was not trained on its images. No torch."""

from __future__ import annotations

import numpy as np

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.labels.candidates import OutOfSample
from salient_imagenet_data.evaluation.plan.condition import CLEAN
from salient_imagenet_data.evaluation.plan.regions import labels_of
from salient_imagenet_data.evaluation.run.predictions import PredictionsFile
from salient_imagenet_data.evaluation.score.outcomes import rows_of
from salient_imagenet_data.store.reading import Store


def from_predictions(file: PredictionsFile, store: Store) -> OutOfSample:
    """The clean answers, as probabilities of the store's classes: of a model that knows others too, given that it is
    one of these. That the model was not trained on the images is what the caller says; nothing in the file shows it.

    Raises SalientError for a file without clean answers, or one that keeps the most probable classes only.
    """
    classes, answers = len(store.class_names), file.conditions.get(CLEAN)
    if answers is None:
        raise SalientError(f"{file.path}: no clean answers", expected=f"a condition {CLEAN!r}")
    listed, among = answers.classes.shape[1], file.among(classes)
    if listed < among:
        raise SalientError(
            f"{file.path}: the {listed} most probable classes only",
            expected=f"the probabilities of all {among}",
            then="`evaluate --top-k 0` keeps them",
        )
    whole = np.zeros((len(answers.image_ids), among))
    np.put_along_axis(whole, answers.classes.astype(np.int64), answers.probabilities.astype(np.float64), axis=1)
    mine = whole[:, :classes]
    total = mine.sum(axis=1, keepdims=True)
    if not (total > 0).all():
        image_id = answers.image_ids[int(np.argmin(total))]
        raise SalientError(f"{file.path}: {image_id}: no probability for any class of the store")
    rows = rows_of(answers.image_ids, store, file.path)
    source = f"the predictions of {file.model}"
    return OutOfSample(answers.image_ids, labels_of(store)[rows], mine / total, source)
