"""What `overlaps` found, in lines of text."""

from __future__ import annotations

import math

from salient_imagenet_data.evaluation.failures.overlap import Overlaps, PairOverlap
from salient_imagenet_data.evaluation.numbers.estimates import Estimate
from salient_imagenet_data.evaluation.plan.condition import CLEAN, Condition
from salient_imagenet_data.evaluation.plan.vocabulary import corrupted_words
from salient_imagenet_data.evaluation.report.answer import short_names
from salient_imagenet_data.store.describing import in_columns

FEW = "(few)"


def lines(found: Overlaps) -> str:
    """A table for each condition."""
    names = dict(zip(found.models, short_names(found.models), strict=True))
    rows = []
    for condition in found.conditions:
        pairs = [pair for pair in found.pairs if pair.condition == condition]
        if pairs:
            rows += [_table(condition, pairs, names), ""]
    rows += [
        "by chance: images that two models of so many mistakes with nothing in common would both get wrong;",
        "consistency: Cohen's kappa of right and wrong, 0 by chance, 1 for the same mistakes; at most: if one model's",
        "mistakes were among the other's; in classes: with chance worked out in each class; beyond random: consistency",
        "minus that on as many pixels at a random place;",
        f"broken: consistency on the images that both get right clean; {FEW}: too few mistakes for an interval",
    ]
    if found.not_shared:
        rows.append(f"some pairs lack a condition that only some files have: {', '.join(found.not_shared)}")
    for first, second, condition in found.apart:
        rows.append(f"no image in common: {names[first]}, {names[second]}, {condition_words(condition)}")
    if found.left_out is not None:
        rows.append(found.left_out.words)
    left = sum(pair.one_only for pair in found.pairs)
    if left:
        rows.append(f"passed over, of all pairs and conditions: {left} images that only one of two models answered")
    return "\n".join(rows)


def condition_words(name: str) -> str:
    """A condition's name in words."""
    if name == CLEAN:
        return name
    condition = Condition.parse(name)
    return corrupted_words(condition.corruption, condition.region)


def words(estimate: Estimate | None) -> str:
    """An estimate in words; of none, that nothing can be said."""
    if estimate is None:
        return "-"
    return f"{estimate.value:.3f} {FEW}" if math.isnan(estimate.low) else estimate.words


def _table(condition: str, pairs: list[PairOverlap], names: dict[str, str]) -> str:
    corrupted = condition != CLEAN
    head = ("models", "images", "both wrong", "by chance", "consistency", "at most", "in classes")
    rows: list[tuple[str, ...]] = [(*head, "beyond random", "broken") if corrupted else head]
    for pair in pairs:
        m = pair.mistakes
        row = [f"{names[pair.first]}, {names[pair.second]}", str(m.n), str(m.both), f"{m.expected:.1f}"]
        row += [words(m.kappa), "-" if m.most is None else f"{m.most:.3f}", words(m.kappa_within)]
        if corrupted:
            row += [words(pair.beyond), words(pair.broken.kappa if pair.broken else None)]
        rows.append(tuple(row))
    return f"{condition_words(condition)}\n{in_columns(rows)}"
