"""Figures that need several models: paired tests and effective robustness. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.numbers.lines import LEAST_MODELS, LEAST_SPREAD
from salient_imagenet_data.evaluation.numbers.paired import compare, effective_robustness, spread
from salient_imagenet_data.evaluation.plan.condition import CLEAN, Condition
from salient_imagenet_data.evaluation.run.predictions import PredictionsFile
from salient_imagenet_data.evaluation.score.outcomes import line_up
from salient_imagenet_data.evaluation.score.results import (
    Comparison,
    Failure,
    ModelResult,
    Robustness,
    StoreFacts,
    Summary,
)
from salient_imagenet_data.evaluation.score.scoring import score
from salient_imagenet_data.folds import WHOLE
from salient_imagenet_data.ranking.left_out import NOTHING, LeftOut
from salient_imagenet_data.store.reading import Store


def summarise(
    files: Sequence[PredictionsFile], store: Store, failed: Sequence[Failure] = (), left_out: LeftOut = NOTHING
) -> Summary:
    """Everything about some models on one store: what the report and the leaderboard read.

    failed: models that gave no predictions. left_out: images that no figure is of. Raises SalientError if two files
    name the same model, or are of different folds or readings.
    """
    check_models(files)
    results = tuple(score(file, store, left_out) for file in files)
    folds = sorted({result.fold for result in results})
    if len(folds) > 1:
        raise SalientError("predictions of different folds", expected="one part of the images", got=", ".join(folds))
    readings = [result.reading for result in results]
    manifest = store.manifest
    facts = StoreFacts(
        store.path.name,
        len(store),
        len(store.class_names),
        manifest.weights_sha256,
        manifest.annotations_sha256,
        manifest.split,
        folds[0] if folds else str(WHOLE),
        readings[0] if readings else "all",
        results[0].left_out if results else None,
    )
    return Summary(facts, results, tuple(failed), comparisons(files, store, left_out), robustness(results))


def check_models(files: Sequence[PredictionsFile]) -> None:
    """Raises SalientError for files that cannot stand beside each other: two of one model, or of different readings."""
    names = [file.model for file in files]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SalientError(
            f"two predictions files are of one model, {twice[0]}", then="rename one file or leave it out"
        )
    readings = sorted({file.reading for file in files})
    if len(readings) > 1:
        raise SalientError(
            "predictions among different classes", expected="all models' among all, or the store's", got=str(readings)
        )


def comparisons(files: Sequence[PredictionsFile], store: Store, left_out: LeftOut = NOTHING) -> tuple[Comparison, ...]:
    """Paired tests of every two models, clean and under each condition that is no control, on the images of both."""
    lined = {file.model: line_up(file, store, left_out) for file in files}
    rows = []
    for first, second in combinations(lined, 2):
        for name in lined[first]:
            if name not in lined[second] or (name != CLEAN and not Condition.parse(name).compared):
                continue
            a, b = lined[first][name], lined[second][name]
            common = np.intersect1d(a.rows, b.rows)
            if not len(common):
                continue
            a, b = a.at(common), b.at(common)
            paired = compare(a.hits, b.hits, a.labels)
            counts = (paired.first_only, paired.second_only, paired.p_value)
            rows.append(Comparison(first, second, name, *counts, paired.difference))
    return tuple(rows)


def robustness(results: Sequence[ModelResult]) -> tuple[Robustness, ...]:
    """Effective robustness under each condition that three or more models share; empty where no line can be fitted."""
    rows = []
    for name in dict.fromkeys(c.name for result in results for c in result.conditions if not c.control):
        entries = {r.name: c for r in results if (c := r.condition(name)) is not None}
        clean = [c.clean_accuracy.value for c in entries.values()]
        n = min(c.accuracy.n for c in entries.values())
        if len(entries) < LEAST_MODELS or spread(clean, n) < LEAST_SPREAD:
            continue
        line, residuals = effective_robustness(clean, [c.accuracy.value for c in entries.values()], n)
        rows.append(Robustness(name, line.slope, line.intercept, dict(zip(entries, residuals, strict=True))))
    return tuple(rows)
