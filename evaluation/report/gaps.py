"""The gaps of single features in words, and those that a page shows. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from salient_imagenet_data.evaluation.score.results import FeatureGap

SHOWN = 10
"""Features of either kind that a page shows."""


@dataclass(frozen=True)
class Gaps:
    """Of a model's features those whose gap is beyond its interval: leaned_on, accuracy is higher with the feature;
    confusing, without it; each the farthest from 0 first. features: all that have a gap."""

    features: int
    leaned_on: tuple[FeatureGap, ...]
    confusing: tuple[FeatureGap, ...]

    @property
    def by_chance(self) -> float:
        """How many features would be beyond their 95 % interval on one side if no gap were other than 0."""
        return 0.025 * self.features

    @property
    def words(self) -> str:
        """In one line."""
        found = f"{len(self.leaned_on)} lift accuracy where they show, {len(self.confusing)} lower it (confusing)"
        line = f"gaps of {self.features} features: {found}; {self.by_chance:.1f} of either by chance"
        ends = [(gaps[0], word) for gaps, word in ((self.leaned_on, "largest"), (self.confusing, "lowest")) if gaps]
        return "; ".join([line, *(f"{word} {gap.gap.words} {named(gap)}" for gap, word in ends)])


def sorted_gaps(gaps: Sequence[FeatureGap]) -> Gaps:
    """Equal gaps in the order that they are given in, by class and rank."""
    ordered = sorted(gaps, key=lambda g: -abs(g.gap.value))
    lifted, lowered = ([g for g in ordered if getattr(g, which)] for which in ("leaned_on", "confusing"))
    return Gaps(len(gaps), tuple(lifted), tuple(lowered))


def named(gap: FeatureGap) -> str:
    """Which feature: its class, number and what people say it is."""
    of = gap.feature
    said = "" if of.kind is None else f", {of.kind}" + (f" ({of.cue})" if of.cue else "")
    return f"{gap.class_name} feature {of.feature_index}{said}"
