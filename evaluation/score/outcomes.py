"""A model's answers lined up with the rows of a store: what scoring reads. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.numbers.calibration import (
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
)
from salient_imagenet_data.evaluation.plan.condition import CLEAN
from salient_imagenet_data.evaluation.plan.regions import labels_of
from salient_imagenet_data.evaluation.run.predictions import Answers, PredictionsFile
from salient_imagenet_data.evaluation.score.results import Calibration
from salient_imagenet_data.ranking.left_out import NOTHING, LeftOut
from salient_imagenet_data.store.reading import Store


@dataclass(frozen=True)
class Outcome:
    """Answers under one condition. rows: (n,) store rows, ascending. labels, hits: (n,). confidence: (n,) probability
    of the answer. label_probability, square_sum: (n,), or None where only the top k were kept. other_hits: (n,) under
    the other reading of the answers; outside: (n,) answers among all outputs that are no class of the store. Both None
    where the model knows the store's classes only."""

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    hits: NDArray[np.bool_]
    confidence: NDArray[np.float32]
    label_probability: NDArray[np.float32] | None
    square_sum: NDArray[np.float32] | None
    other_hits: NDArray[np.bool_] | None = None
    outside: NDArray[np.bool_] | None = None

    def at(self, rows: NDArray[np.int64]) -> Outcome:
        """The outcome on some of its rows. Raises SalientError if one is not among them."""
        place = np.searchsorted(self.rows, rows)
        if len(rows) and (place.max() >= len(self.rows) or (self.rows[place] != rows).any()):
            raise SalientError(
                "images under a condition lack their clean answers", expected=f"every image under {CLEAN!r} too"
            )
        return self.take(place)

    def take(self, place: NDArray[np.int64]) -> Outcome:
        """The outcome at some places of it."""
        lp, squares = (None if v is None else v[place] for v in (self.label_probability, self.square_sum))
        other, outside = (None if v is None else v[place] for v in (self.other_hits, self.outside))
        known = self.rows[place], self.labels[place], self.hits[place], self.confidence[place]
        return Outcome(*known, lp, squares, other, outside)

    def calibration(self) -> Calibration:
        """ECE, NLL and Brier score; the latter two are None where only the top k probabilities were kept."""
        lp, squares = self.label_probability, self.square_sum
        return Calibration(
            expected_calibration_error(self.confidence, self.hits),
            None if lp is None else negative_log_likelihood(lp),
            None if lp is None or squares is None else brier_score(lp, squares),
        )


def line_up(file: PredictionsFile, store: Store, left_out: LeftOut = NOTHING) -> dict[str, Outcome]:
    """Outcomes by condition, without the images that are left out. Raises SalientError for an image that the store
    lacks, a file without clean answers, or a condition of which no image is left."""
    if CLEAN not in file.conditions:
        raise SalientError(
            f"{file.path}: no clean answers", expected=f"a condition {CLEAN!r}", got=", ".join(sorted(file.conditions))
        )
    labels = labels_of(store)
    found = {name: _outcome(answers, labels, store, file) for name, answers in file.conditions.items()}
    if not left_out:
        return found
    out = left_out.holds(store.rows.image_ids.to_pylist())
    kept = {name: outcome.take(np.flatnonzero(~out[outcome.rows])) for name, outcome in found.items()}
    for name, outcome in kept.items():
        if not len(outcome.rows):
            raise SalientError(f"{file.path}, condition {name}: all images are left out", expected="some that are not")
    return kept


def rows_of(image_ids: Sequence[str], store: Store, path: Path) -> NDArray[np.int64]:
    """(n,) store rows of images in a file of predictions. Raises SalientError, naming the file, for one that the store
    lacks."""
    ids = pa.array(image_ids, pa.string())
    rows: NDArray[np.int64] = (
        pc.fill_null(pc.index_in(ids, value_set=store.rows.image_ids), -1).to_numpy().astype(np.int64)
    )
    unknown = np.flatnonzero(rows < 0)
    if len(unknown):
        raise SalientError(
            f"{path}: {len(unknown)} images are not in {store.path}",
            expected=f"ids such as {store.rows[0].image_id}",
            got=image_ids[int(unknown[0])],
        )
    return rows


def _outcome(answers: Answers, labels: NDArray[np.int64], store: Store, file: PredictionsFile) -> Outcome:
    rows = rows_of(answers.image_ids, store, file.path)
    classes, other = len(store.class_names), answers.other_reading
    whole = answers.with_label(labels[rows], file.among(classes))
    over_all = answers.predicted if file.reading == "all" else other
    unsorted = Outcome(
        rows,
        labels[rows],
        whole.predicted == labels[rows],
        whole.confidence,
        whole.label_probability,
        whole.square_sum,
        None if other is None else other == labels[rows],
        None if other is None or over_all is None else over_all >= classes,
    )
    return unsorted.take(np.argsort(rows))
