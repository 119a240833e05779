"""Figures that need several models: paired tests and effective robustness. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.numbers.paired import (
    LEAST_MODELS,
    LEAST_SPREAD,
    compare,
    effective_robustness,
    spread,
)
from salient_imagenet_data.evaluation.plan.condition import CLEAN, Condition
from salient_imagenet_data.evaluation.run.predictions import PredictionsFile
from salient_imagenet_data.evaluation.score.outcomes import line_up
from salient_imagenet_data.evaluation.score.scoring import score
from salient_imagenet_data.folds import WHOLE
from salient_imagenet_data.store.reading import Store

SUMMARY_FORMAT = "salient-imagenet-evaluation/1"


def summarise(files: Sequence[PredictionsFile], store: Store, failed: Sequence[dict[str, str]] = ()) -> dict[str, Any]:
    """Everything about some models on one store, JSON-ready: what the report and the leaderboard read.

    failed: models that gave no predictions, each {"name", "reason"}. Raises SalientError if two files name the same
    model, or are of different folds.
    """
    names = [file.model for file in files]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SalientError(
            f"two predictions files are of one model, {twice[0]}", then="rename one file or leave it out"
        )
    results = [score(file, store) for file in files]
    folds = sorted({result["fold"] for result in results})
    if len(folds) > 1:
        raise SalientError("predictions of different folds", expected="one part of the images", got=", ".join(folds))
    manifest = store.manifest
    return {
        "format": SUMMARY_FORMAT,
        "store": {
            "name": store.path.name,
            "images": len(store),
            "classes": len(store.class_names),
            "weights_sha256": manifest.weights_sha256,
            "annotations_sha256": manifest.annotations_sha256,
            "split": manifest.split,
            "fold": folds[0] if folds else str(WHOLE),
        },
        "models": results,
        "failed": list(failed),
        "comparisons": comparisons(files, store),
        "effective_robustness": robustness(results),
    }


def comparisons(files: Sequence[PredictionsFile], store: Store) -> list[dict[str, Any]]:
    """Paired tests of every two models, clean and under each condition that is no control, on the images of both."""
    lined = {file.model: line_up(file, store) for file in files}
    rows = []
    for first, second in combinations(lined, 2):
        for name in lined[first]:
            if name not in lined[second] or (name != CLEAN and not _claims(Condition.parse(name))):
                continue
            a, b = lined[first][name], lined[second][name]
            common = np.intersect1d(a.rows, b.rows)
            if not len(common):
                continue
            a, b = a.at(common), b.at(common)
            rows.append(
                {"first": first, "second": second, "condition": name, **asdict(compare(a.hits, b.hits, a.labels))}
            )
    return rows


def _claims(condition: Condition) -> bool:
    return not condition.control and condition.trial == 1


def robustness(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Effective robustness under each condition that three or more models share; empty where no line can be fitted."""
    rows = []
    for name in dict.fromkeys(c["name"] for result in results for c in result["conditions"] if not c["control"]):
        entries = {r["name"]: c for r in results for c in r["conditions"] if c["name"] == name}
        clean = [c["clean_accuracy"]["value"] for c in entries.values()]
        n = min(c["accuracy"]["n"] for c in entries.values())
        if len(entries) < LEAST_MODELS or spread(clean, n) < LEAST_SPREAD:
            continue
        line, residuals = effective_robustness(clean, [c["accuracy"]["value"] for c in entries.values()], n)
        rows.append({"condition": name, **asdict(line), "residuals": dict(zip(entries, residuals, strict=True))})
    return rows
