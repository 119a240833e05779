"""From a predictions file to numbers: what each protocol reports about one model. No torch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.numbers.bootstrap import area, difference, mean_accuracy, saturated, sensitivity
from salient_imagenet_data.evaluation.numbers.estimates import Estimate, class_average, wilson
from salient_imagenet_data.evaluation.numbers.spuriosity import spurious_gap
from salient_imagenet_data.evaluation.plan.condition import CLEAN, CONTROL_WORDS, Condition, Control
from salient_imagenet_data.evaluation.plan.plan import left_out_in, rows_in, spuriosity_ends
from salient_imagenet_data.evaluation.plan.protocols import RATIOS, Ratio
from salient_imagenet_data.evaluation.plan.regions import labels_of, rank_of
from salient_imagenet_data.evaluation.plan.vocabulary import accuracy_words, region_words
from salient_imagenet_data.evaluation.run.predictions import PredictionsFile
from salient_imagenet_data.evaluation.score.grouping import feature_gaps, group_figures, groups_in
from salient_imagenet_data.evaluation.score.outcomes import Outcome, line_up
from salient_imagenet_data.evaluation.score.results import (
    Against,
    Claim,
    ConditionResult,
    Curve,
    GroupFigures,
    ModelResult,
    OfClass,
    OfFeature,
    Point,
    Sensitivity,
)
from salient_imagenet_data.folds import WHOLE, Fold
from salient_imagenet_data.names import SPURIOUS
from salient_imagenet_data.networks.classes import Reading
from salient_imagenet_data.ranking.left_out import NOTHING, LeftOut
from salient_imagenet_data.ranking.spuriosity import known
from salient_imagenet_data.store.reading import Store

Outcomes = dict[Condition, Outcome]


def score(file: PredictionsFile, store: Store, left_out: LeftOut = NOTHING) -> ModelResult:
    """All that one model's predictions say, of images that are not left out. Raises SalientError for conditions or
    images that the store lacks."""
    outcomes = line_up(file, store, left_out)
    fold = Fold.parse(str(file.metadata.get("fold", WHOLE)))
    chosen = rows_in(store, fold, left_out)
    clean = outcomes.pop(CLEAN)
    every = {Condition.parse(name): outcome for name, outcome in outcomes.items()}
    by_condition = {c: outcome for c, outcome in every.items() if c.trial == 1}
    return ModelResult(
        name=file.model,
        model=file.metadata.get("model") or {"name": file.model},
        seed=file.metadata.get("seed"),
        fold=str(fold),
        images=len(clean.rows),
        clean_accuracy=class_average(clean.hits, clean.labels),
        clean_pooled=wilson(int(clean.hits.sum()), len(clean.hits)),
        clean_calibration=clean.calibration(),
        conditions=tuple(_condition(c, o, clean.at(o.rows), store) for c, o in by_condition.items()),
        ratios={name: rows for name, ratio in RATIOS.items() if (rows := _sensitivities(every, ratio))},
        curves=_curves(by_condition, clean),
        controls=tuple(_claim(c, by_condition, clean) for c in by_condition if not c.control and _controlled(c)),
        spurious_gap=_gap(clean, store, chosen),
        groups=_groups(clean, store, chosen),
        feature_gaps=feature_gaps(clean, store, chosen),
        outputs=file.outputs or len(store.class_names),
        classes=len(store.class_names),
        reading=file.reading,
        by_reading=_by_reading(clean, file.reading),
        outside=None if clean.outside is None else int(clean.outside.sum()),
        left_out=left_out_in(store, fold, left_out),
    )


def _by_reading(clean: Outcome, reading: Reading) -> dict[str, Estimate]:
    """Clean accuracy among all outputs and among the store's classes, where they are not the same."""
    if clean.other_hits is None:
        return {}
    found = {reading: class_average(clean.hits, clean.labels)}
    other: Reading = "store" if reading == "all" else "all"
    found[other] = class_average(clean.other_hits, clean.labels)
    return {name: found[name] for name in sorted(found)}


def _condition(condition: Condition, outcome: Outcome, clean: Outcome, store: Store) -> ConditionResult:
    """Accuracy, drop and calibration of one condition, and the clean figures of the same images."""
    return ConditionResult(
        name=condition.name,
        figure=accuracy_words(condition),
        corruption=condition.corruption,
        region=condition.region,
        control=condition.control,
        trial=condition.trial,
        sigma=condition.sigma,
        accuracy=class_average(outcome.hits, outcome.labels),
        pooled=wilson(int(outcome.hits.sum()), len(outcome.hits)),
        clean_accuracy=class_average(clean.hits, clean.labels),
        drop=difference(clean.hits, outcome.hits, outcome.labels),
        calibration=outcome.calibration(),
        clean_calibration=clean.calibration(),
        per_class=() if condition.control else _per_class(condition, outcome, clean, store),
    )


def _per_class(condition: Condition, outcome: Outcome, clean: Outcome, store: Store) -> tuple[OfClass, ...]:
    """One entry a class, and what the feature is where the region is that of one rank."""
    rank, rows = rank_of(condition.region), []
    features = {f.class_index: f for f in store.features if f.rank == rank}
    for label in np.unique(outcome.labels).tolist():
        mine = outcome.labels == label
        if rank is not None and label not in features:
            raise SalientError(
                f"{condition.region}: {store.class_names[label]} has no feature of this rank",
                expected=f"ranks 1 to {store.manifest.features_per_class}",
            )
        f = features.get(label)
        rows.append(
            OfClass(
                label,
                store.class_names[label],
                wilson(int(outcome.hits[mine].sum()), int(mine.sum())),
                float(clean.hits[mine].mean()),
                None if f is None else OfFeature(f.feature_index, f.rank, f.kind, f.cue),
            )
        )
    return tuple(rows)


def _sensitivities(outcomes: Outcomes, ratio: Ratio) -> tuple[Sensitivity, ...]:
    """Accuracies under noise inside and outside a region and their ratio, by corruption, of the mean of its trials; and
    the same with controls in place of the masks."""
    rows = []
    for condition, inside in outcomes.items():
        if condition.region != ratio.inside or condition.trial > 1:
            continue
        kept, lost = _trials(condition, ratio.outside, inside, outcomes)
        if not kept:
            continue
        outside_hits, inside_hits = np.stack(kept), np.stack(lost)
        rows.append(
            Sensitivity(
                condition.corruption,
                condition.control,
                len(kept),
                mean_accuracy(outside_hits, inside.labels),
                mean_accuracy(inside_hits, inside.labels),
                sensitivity(outside_hits, inside_hits, inside.labels),
                saturated(outside_hits, inside_hits),
            )
        )
    return tuple(rows)


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


def _curves(outcomes: Outcomes, clean: Outcome) -> tuple[Curve, ...]:
    """Accuracy against noise level for each region and control, from clean (0) up, and the area under it."""
    groups: dict[tuple[str, Control], dict[float, Outcome]] = {}
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
        points = [Point(s, class_average(h, first.labels)) for s, h in zip([0.0, *levels], hits, strict=True)]
        whole = area(np.array([0.0, *levels]), hits, first.labels)
        rows.append(Curve(region, control, tuple(points), whole))
    return tuple(rows)


def _controlled(condition: Condition) -> bool:
    return rank_of(condition.region) is None


def _claim(condition: Condition, outcomes: Outcomes, clean: Outcome) -> Claim:
    """The claim that a model relies on a region, beside its controls, on the same images."""
    claim = outcomes[condition]
    before = clean.at(claim.rows).hits

    def against(control: Control) -> Against | None:
        other = outcomes.get(Condition(condition.corruption, condition.region, control))
        if other is None or not np.array_equal(other.rows, claim.rows):
            return None
        return Against(difference(before, other.hits, claim.labels), difference(other.hits, claim.hits, claim.labels))

    drop, random, other = difference(before, claim.hits, claim.labels), against("random"), against("other")
    shown, words = verdict(condition.region, drop, random, other)
    return Claim(condition.name, condition.corruption, condition.region, drop, random, other, shown, words)


def verdict(region: str, drop: Estimate, random: Against | None, other: Against | None) -> tuple[bool | None, str]:
    """Whether reliance on the region is shown (None: not tested), and the sentence that says so."""
    what = region_words(region)
    if random is None:
        return None, f"No control was run for {what}: the loss may be that of any region of this size."
    if drop.low <= 0.0:
        return False, f"No loss is shown with {what} corrupted: the interval of the loss includes 0."
    words = CONTROL_WORDS["random"]
    if random.excess.low <= 0.0:
        return False, (
            f"It loses as much on the {words} as on {what} (or the difference is within its interval): "
            f"reliance on {what} has not been shown."
        )
    tail = ""
    if other is not None and other.excess.low <= 0.0:
        tail = " It loses as much under another image's mask, so the shape or place of the mask may be what matters."
    return True, f"It loses more on {what} than on the {words}.{tail}"


def _gap(clean: Outcome, store: Store, rows: NDArray[np.int64]) -> Estimate | None:
    """Spurious gap on the clean answers, or None where the ends of the classes were not all answered."""
    if store.manifest.annotations_sha256 is None or not store.has(SPURIOUS).any():
        return None
    found = spuriosity_ends(store, rows)
    if not len(found.top) or not np.isin(np.concatenate([found.top, found.bottom]), clean.rows).all():
        return None
    hit = np.zeros(len(store), dtype=np.bool_)
    hit[clean.rows] = clean.hits
    return spurious_gap(hit[found.top], hit[found.bottom], found.labels)


def _groups(clean: Outcome, store: Store, rows: NDArray[np.int64]) -> GroupFigures | None:
    """Accuracies over the groups of some rows; None where there are none, or not known, or one was not answered."""
    if store.manifest.annotations_sha256 is None:
        return None
    if not known(store.activations[rows]) or not store.has(SPURIOUS)[labels_of(store)[rows]].any():
        return None
    return group_figures(clean, groups_in(store, rows), rows, store)
