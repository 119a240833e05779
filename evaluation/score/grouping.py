"""What a model's clean answers say by group, (class, its cue shown or not), and by single features. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.numbers.estimates import wilson
from salient_imagenet_data.evaluation.numbers.groups import Groups, Rule, groups_of, weighted_accuracy, worst_group
from salient_imagenet_data.evaluation.numbers.spuriosity import feature_gap
from salient_imagenet_data.evaluation.plan.condition import CLEAN
from salient_imagenet_data.evaluation.plan.regions import labels_of
from salient_imagenet_data.evaluation.run.predictions import PredictionsFile
from salient_imagenet_data.evaluation.score.outcomes import Outcome, line_up
from salient_imagenet_data.evaluation.score.records import to_json
from salient_imagenet_data.evaluation.score.results import FeatureGap, GroupFigures, OfFeature, OfGroup
from salient_imagenet_data.folds import WHOLE, Fold
from salient_imagenet_data.names import SPURIOUS
from salient_imagenet_data.ranking.left_out import LeftOutFacts
from salient_imagenet_data.ranking.spuriosity import check_known, ends, spuriosity
from salient_imagenet_data.store.reading import Store

USUAL = Rule()


def groups_in(store: Store, rows: NDArray[np.int64], rule: Rule = USUAL) -> Groups:
    """The groups of some rows of a store, ranked among each other. Raises SalientError without answers about features,
    or where no class of them has a spurious feature."""
    spurious, labels = store.kind_table[SPURIOUS], labels_of(store)[rows]
    check_known(store.activations[rows], store.path)
    groups = groups_of(spuriosity(store.activations[rows], labels, spurious), labels, store.has(SPURIOUS), rule)
    if not groups.counted.any():
        raise SalientError(f"{store.path}: no groups", expected="a class with a spurious feature", got="none")
    return groups


def fold_in(files: Sequence[PredictionsFile], wanted: Fold | None = None) -> Fold:
    """The part of the images that predictions are of: `wanted`, or all, without any. Raises SalientError for files of
    different parts, or of another than the wanted one."""
    folds = {Fold.parse(str(file.metadata.get("fold", WHOLE))) for file in files} | ({wanted} if wanted else set())
    if len(folds) > 1:
        raise SalientError(
            "predictions of different folds", expected="one part", got=", ".join(sorted(map(str, folds)))
        )
    return next(iter(folds), WHOLE)


def scored(
    files: Sequence[PredictionsFile],
    groups: Groups,
    rows: NDArray[np.int64],
    store: Store,
    like: Mapping[tuple[str, bool], int] | None = None,
) -> dict[str, GroupFigures]:
    """`group_figures` of files of predictions, by model. Raises SalientError for two of one model, or where a file
    lacks an image of a group."""
    result: dict[str, GroupFigures] = {}
    for file in files:
        found = group_figures(line_up(file, store)[CLEAN], groups, rows, store, like)
        if found is None:
            raise SalientError(
                f"{file.path}: not all images of the groups have a clean answer",
                expected="all of classes with a spurious feature",
                then="`evaluate --protocol groups2020` answers them",
            )
        if file.model in result:
            raise SalientError(
                f"two predictions files are of one model, {file.model}", then="rename one file or leave it out"
            )
        result[file.model] = found
    return result


def sizes_in(groups: Groups, store: Store) -> dict[tuple[str, bool], int]:
    """Images of each group, by the name of its class and whether the cue is shown: what another store reads."""
    return {(store.class_names[n // 2], bool(n % 2)): size for n, size in groups.sizes().items()}


def json_of(
    groups: Groups, store: Store, scored: Mapping[str, GroupFigures], left_out: LeftOutFacts | None = None
) -> dict[str, Any]:
    """Groups with their sizes, and figures by model, JSON-ready. left_out: what is in none of them on request."""
    listed = [
        {"class_index": n // 2, "class_name": store.class_names[n // 2], "shown": bool(n % 2), "images": size}
        for n, size in groups.sizes().items()
    ]
    without = int((~groups.counted).sum())
    found = {"rule": str(groups.rule), "groups": listed, "images_without": without, "models": to_json(dict(scored))}
    return found | {"left_out": to_json(left_out)}


def group_figures(
    clean: Outcome,
    groups: Groups,
    rows: NDArray[np.int64],
    store: Store,
    like: Mapping[tuple[str, bool], int] | None = None,
) -> GroupFigures | None:
    """Accuracies over the groups of some rows, or None where a row of a group was not answered. like: sizes of the
    groups of other data (`sizes_in`), the weights of `groups_adjusted`. Raises SalientError if none of those groups is
    here."""
    groups, rows = groups.at(groups.counted), rows[groups.counted]
    if not len(rows) or not np.isin(rows, clean.rows).all():
        return None
    hits, index = clean.at(rows).hits, groups.index
    sizes = groups.sizes()
    each = tuple(
        OfGroup(
            number // 2, store.class_names[number // 2], bool(number % 2), wilson(int(hits[index == number].sum()), n)
        )
        for number, n in sizes.items()
    )
    adjusted = absent = None
    if like is not None:
        wanted = {n: float(like[key]) for n in sizes if (key := (store.class_names[n // 2], bool(n % 2))) in like}
        if not wanted:
            raise SalientError(
                "no group that the figures are adjusted to is here", expected="the same classes with spurious features"
            )
        adjusted, absent = weighted_accuracy(hits, index, wanted), 1.0 - sum(wanted.values()) / sum(like.values())
    return GroupFigures(
        str(groups.rule),
        each,
        worst_group(hits, index),
        weighted_accuracy(hits, index, dict.fromkeys(sizes, 1.0)),
        weighted_accuracy(hits, index, {number: float(size) for number, size in sizes.items()}),
        adjusted,
        absent,
    )


def feature_gaps(clean: Outcome, store: Store, rows: NDArray[np.int64]) -> tuple[FeatureGap, ...]:
    """For each feature of the store the accuracy on the images of its class that show it most, minus that on those that
    show it least, k = min(100, n // 2) of the rows at either end; without those whose ends were not all answered, and
    of classes with one image."""
    labels = labels_of(store)[rows]
    hit = np.zeros(len(store), dtype=np.bool_)
    hit[clean.rows] = clean.hits
    answered = np.zeros(len(store), dtype=np.bool_)
    answered[clean.rows] = True
    found = []
    for slot in range(store.manifest.features_per_class):
        pair = ends(store.activations[rows, slot].astype(np.float64), labels)
        top, bottom = rows[pair.top], rows[pair.bottom]
        for feature in (f for f in store.features if f.slot == slot):
            mine = slice(*np.searchsorted(pair.labels, [feature.class_index, feature.class_index + 1]))
            both = np.concatenate([top[mine], bottom[mine]])
            if not len(both) or not answered[both].all():
                continue
            of = OfFeature(feature.feature_index, feature.rank, feature.kind, feature.cue)
            figures = feature_gap(hit[top[mine]], hit[bottom[mine]])
            found.append(FeatureGap(feature.class_index, feature.class_name, of, *figures))
    return tuple(sorted(found, key=lambda gap: (gap.class_index, gap.feature.rank)))
