"""From a predictions file to numbers: what each protocol reports about one model. No torch."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.numbers.bootstrap import area, difference, mean_accuracy, saturated, sensitivity
from salient_imagenet_data.evaluation.numbers.estimates import class_average, wilson
from salient_imagenet_data.evaluation.numbers.spuriosity import spurious_gap
from salient_imagenet_data.evaluation.plan.condition import CLEAN, CONTROL_WORDS, CONTROLS, Condition
from salient_imagenet_data.evaluation.plan.protocols import rows_in, spuriosity_ends
from salient_imagenet_data.evaluation.plan.regions import (
    ACCURACY_OF,
    BACKGROUND,
    FOREGROUND,
    INSIDE,
    OUTSIDE,
    rank_of,
)
from salient_imagenet_data.evaluation.run.predictions import PredictionsFile
from salient_imagenet_data.evaluation.score.outcomes import Outcome, line_up
from salient_imagenet_data.folds import WHOLE, Fold
from salient_imagenet_data.names import KINDS, SPURIOUS
from salient_imagenet_data.store.reading import Store

Outcomes = dict[Condition, Outcome]


def score(file: PredictionsFile, store: Store) -> dict[str, Any]:
    """All that one model's predictions say, JSON-ready.

    Every accuracy is an `Estimate` as a dict: value, n, low, high, classes. `conditions` has one entry a condition;
    `sigma` repeats the protocol "iclr2022" by noise level; `corm2022`, `rival2022`, `curves`, `controls` and
    `spurious_gap` are empty or None where the file lacks what they need.
    """
    outcomes = line_up(file, store)
    fold = Fold.parse(str(file.metadata.get("fold", WHOLE)))
    clean = outcomes.pop(CLEAN)
    every = {Condition.parse(name): outcome for name, outcome in outcomes.items()}
    by_condition = {c: outcome for c, outcome in every.items() if c.trial == 1}
    return {
        "model": file.metadata.get("model") or {"name": file.model},
        "name": file.model,
        "seed": file.metadata.get("seed"),
        "fold": str(fold),
        "images": len(clean.rows),
        "clean_accuracy": asdict(class_average(clean.hits, clean.labels)),
        "clean_pooled": asdict(wilson(int(clean.hits.sum()), len(clean.hits))),
        "clean_calibration": clean.calibration(),
        "conditions": [_condition(c, o, clean.at(o.rows), store) for c, o in by_condition.items()],
        "sigma": _by_sigma(by_condition, clean, store),
        "corm2022": _sensitivities(every, INSIDE, OUTSIDE, "rcs"),
        "rival2022": _sensitivities(every, FOREGROUND, BACKGROUND, "rfs"),
        "curves": _curves(by_condition, clean),
        "controls": [_control(c, by_condition, clean) for c in by_condition if not c.control and _controlled(c)],
        "spurious_gap": _gap(clean, store, fold),
    }


def _condition(condition: Condition, outcome: Outcome, clean: Outcome, store: Store) -> dict[str, Any]:
    """Accuracy, drop and calibration of one condition, and the clean figures of the same images."""
    entry = {
        "name": condition.name,
        **asdict(condition),
        "sigma": condition.sigma,
        "accuracy": asdict(class_average(outcome.hits, outcome.labels)),
        "pooled": asdict(wilson(int(outcome.hits.sum()), len(outcome.hits))),
        "clean_accuracy": asdict(class_average(clean.hits, clean.labels)),
        "drop": asdict(difference(clean.hits, outcome.hits, outcome.labels)),
        "calibration": outcome.calibration(),
        "clean_calibration": clean.calibration(),
    }
    if not condition.control:
        entry["per_class"] = per_class(outcome, clean, store)
    return entry


def per_class(outcome: Outcome, clean: Outcome, store: Store) -> list[dict[str, Any]]:
    """One entry a class: its accuracy with Wilson's interval, and the clean accuracy of the same images."""
    rows = []
    for label in np.unique(outcome.labels).tolist():
        mine = outcome.labels == label
        rows.append(
            {
                "class_index": label,
                "class_name": store.class_names[label],
                **asdict(wilson(int(outcome.hits[mine].sum()), int(mine.sum()))),
                "clean_value": float(clean.hits[mine].mean()),
            }
        )
    return rows


def per_feature(rank: int, outcome: Outcome, clean: Outcome, store: Store) -> list[dict[str, Any]]:
    """`per_class` under noise on the feature of one rank, with what that feature is."""
    feature = {f.class_index: f for f in store.features if f.rank == rank}
    without = [c for c in np.unique(outcome.labels).tolist() if c not in feature]
    if without:
        raise SalientError(
            f"rank_{rank}: {store.class_names[without[0]]} has no feature of this rank",
            expected=f"ranks 1 to {store.manifest.features_per_class}",
        )
    return [
        {**row, **{key: getattr(feature[row["class_index"]], key) for key in ("feature_index", "rank", "kind", "cue")}}
        for row in per_class(outcome, clean, store)
    ]


def _by_sigma(outcomes: Outcomes, clean: Outcome, store: Store) -> dict[str, Any]:
    """Protocol "iclr2022": by noise level, core and spurious accuracy, and accuracies by rank of feature."""
    result: dict[str, Any] = {}
    for condition, outcome in outcomes.items():
        if condition.sigma is None or condition.control:
            continue
        same = clean.at(outcome.rows)
        entry: dict[str, Any] = {
            "accuracy": asdict(class_average(outcome.hits, outcome.labels)),
            "clean_accuracy": asdict(class_average(same.hits, outcome.labels)),
        }
        if condition.region in KINDS:
            name = ACCURACY_OF[condition.region]
            entry["per_class"] = per_class(outcome, same, store)
        elif (rank := rank_of(condition.region)) is not None:
            name = f"noise_on_{condition.region}"
            entry["per_feature"] = per_feature(rank, outcome, same, store)
        else:
            continue
        result.setdefault(f"{condition.sigma:g}", {})[name] = entry
    return result


def _sensitivities(outcomes: Outcomes, within: str, without: str, ratio: str) -> list[dict[str, Any]]:
    """Accuracies under noise inside and outside a region, and the ratio of "corm2022" or "rival2022", by corruption,
    of the mean of its trials; and the same with controls in place of the masks."""
    rows = []
    for condition, inside in outcomes.items():
        if condition.region != within or condition.trial > 1:
            continue
        kept, lost = _trials(condition, without, inside, outcomes)
        if not kept:
            continue
        outside_hits, inside_hits = np.stack(kept), np.stack(lost)
        rows.append(
            {
                "corruption": condition.corruption,
                "control": condition.control,
                "trials": len(kept),
                "accuracy_outside": asdict(mean_accuracy(outside_hits, inside.labels)),
                "accuracy_inside": asdict(mean_accuracy(inside_hits, inside.labels)),
                ratio: asdict(sensitivity(outside_hits, inside_hits, inside.labels)),
                "saturated": saturated(outside_hits, inside_hits),
            }
        )
    return rows


def _trials(
    first: Condition, without: str, same: Outcome, outcomes: Outcomes
) -> tuple[list[NDArray[np.bool_]], list[NDArray[np.bool_]]]:
    """Hits under noise outside, and inside, of the trials that both sides have, on the images of `same`."""
    kept, lost = [], []
    for condition, inside in outcomes.items():
        outside = outcomes.get(replace(condition, region=without))
        if replace(condition, trial=1) != first or outside is None:
            continue
        if np.array_equal(inside.rows, same.rows) and np.array_equal(outside.rows, same.rows):
            kept.append(outside.hits)
            lost.append(inside.hits)
    return kept, lost


def _curves(outcomes: Outcomes, clean: Outcome) -> list[dict[str, Any]]:
    """Accuracy against noise level for each region and control, from clean (0) up, and the area under it."""
    groups: dict[tuple[str, str], dict[float, Outcome]] = {}
    for condition, outcome in outcomes.items():
        if condition.sigma:
            groups.setdefault((condition.region, condition.control), {})[condition.sigma] = outcome
    rows = []
    for (region, control), by_level in groups.items():
        levels = sorted(by_level)
        first = by_level[levels[0]]
        if any(not np.array_equal(by_level[level].rows, first.rows) for level in levels):
            continue
        hits = np.stack([clean.at(first.rows).hits, *(by_level[level].hits for level in levels)])
        points = [
            {"sigma": s, **asdict(class_average(h, first.labels))} for s, h in zip([0.0, *levels], hits, strict=True)
        ]
        whole = area(np.array([0.0, *levels]), hits, first.labels)
        rows.append({"region": region, "control": control, "points": points, "area": asdict(whole)})
    return rows


def _controlled(condition: Condition) -> bool:
    return rank_of(condition.region) is None


def _control(condition: Condition, outcomes: Outcomes, clean: Outcome) -> dict[str, Any]:
    """The claim that a model relies on a region, beside its controls.

    excess: accuracy under the control minus accuracy under the claim, on the same images: how much more the region
    costs than the control does.
    """
    claim = outcomes[condition]
    drop = difference(clean.at(claim.rows).hits, claim.hits, claim.labels)
    entry: dict[str, Any] = {"name": condition.name, "region": condition.region, "drop": asdict(drop)}
    for control in CONTROLS:
        other = outcomes.get(Condition(condition.corruption, condition.region, control))
        if other is None or not np.array_equal(other.rows, claim.rows):
            entry[control] = None
            continue
        entry[control] = {
            "drop": asdict(difference(clean.at(claim.rows).hits, other.hits, claim.labels)),
            "excess": asdict(difference(other.hits, claim.hits, claim.labels)),
        }
    entry["shown"], entry["verdict"] = _verdict(entry)
    return entry


def _verdict(entry: dict[str, Any]) -> tuple[bool | None, str]:
    """Whether reliance on the region is shown (None: not tested), and the sentence that says so."""
    region, random = entry["region"], entry["random"]
    if random is None:
        return None, f"No control was run for {region}: the loss may be that of any region of this size."
    if entry["drop"]["low"] <= 0.0:
        return False, f"No loss is shown when {region} is corrupted: the interval of the drop includes 0."
    words = CONTROL_WORDS["random"]
    if random["excess"]["low"] <= 0.0:
        return False, (
            f"It loses as much on the {words} as on {region} (or the difference is within its interval): "
            f"reliance on {region} has not been shown."
        )
    other = entry["other"]
    tail = ""
    if other is not None and other["excess"]["low"] <= 0.0:
        tail = " It loses as much under another image's mask, so the shape or place of the mask may be what matters."
    return True, f"It loses more on {region} than on the {words}.{tail}"


def _gap(clean: Outcome, store: Store, fold: Fold) -> dict[str, Any] | None:
    """Spurious gap on the clean answers, or None where the ends of the classes were not all answered."""
    if store.manifest.annotations_sha256 is None or not store.has(SPURIOUS).any():
        return None
    found = spuriosity_ends(store, rows_in(store, fold))
    if not len(found.top) or not np.isin(np.concatenate([found.top, found.bottom]), clean.rows).all():
        return None
    hit = np.zeros(len(store), dtype=np.bool_)
    hit[clean.rows] = clean.hits
    return asdict(spurious_gap(hit[found.top], hit[found.bottom], found.labels))
