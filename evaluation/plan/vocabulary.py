"""The names of the figures: one for each, wherever it stands: terminal, report, leaderboard, JSON, Python and docs.

A condition is corruption@region, and what was corrupted is not what is left: noise on the spurious pixels leaves the
core, so the accuracy under it is the core accuracy. docs/evaluation.md has this table; a test holds it to this file.
"""

from __future__ import annotations

from dataclasses import dataclass

from salient_imagenet_data.evaluation.plan.condition import Condition
from salient_imagenet_data.evaluation.plan.protocols import LEFT_OF
from salient_imagenet_data.evaluation.plan.regions import BACKGROUND, FOREGROUND, INSIDE, OUTSIDE, rank_of
from salient_imagenet_data.names import CORE, SPURIOUS


@dataclass(frozen=True)
class Figure:
    """key: in JSON and Python. name: in words. images: which ones. corrupted, left: what of them. better: "higher",
    "lower", "nearer 0", or "" where neither is. compare: what it may be compared across."""

    key: str
    name: str
    images: str
    corrupted: str
    left: str
    better: str
    compare: str


ANY = "any networks"
TWINS = "networks that lose alike on the random control"
TOP = "top images of the {kind} features"
GROUPED = "all of classes with a spurious feature"
FIGURES: tuple[Figure, ...] = (
    Figure("clean_accuracy", "clean accuracy", "all that are evaluated", "nothing", "everything", "higher", ANY),
    Figure(
        "core_accuracy",
        "core accuracy",
        TOP.format(kind=SPURIOUS),
        "the spurious pixels",
        "the core, and all else",
        "higher",
        TWINS,
    ),
    Figure(
        "spurious_accuracy",
        "spurious accuracy",
        TOP.format(kind=CORE),
        "the core pixels",
        "the spurious pixels, and all else",
        "",
        TWINS,
    ),
    Figure(
        "acc(C)",
        "accuracy on the dilated core",
        "all of classes with a core feature",
        "what is outside the dilated core",
        "the dilated core",
        "higher",
        TWINS,
    ),
    Figure(
        "acc(S)",
        "accuracy outside the dilated core",
        "all of classes with a core feature",
        "the dilated core",
        "what is outside it",
        "",
        TWINS,
    ),
    Figure("loss", "loss", "those of the corrupted figure", "the region named", "the rest of it", "", TWINS),
    Figure(
        "excess",
        "loss beyond the control",
        "those of the corrupted figure",
        "the region named, against as many pixels at a random place",
        "the rest of it",
        "",
        ANY,
    ),
    Figure(
        "rcs",
        "RCS",
        "all of classes with a core feature",
        "outside and inside of the dilated core, in turn",
        "acc(C) against acc(S)",
        "higher",
        TWINS,
    ),
    Figure(
        "rfs",
        "RFS",
        "all of classes with a core feature",
        "outside and inside of the core, in turn",
        "as RCS, without dilation",
        "higher",
        TWINS,
    ),
    Figure(
        "spurious_gap",
        "spurious gap",
        "the most and the least spurious of each class",
        "nothing",
        "everything",
        "nearer 0",
        ANY,
    ),
    Figure(
        "feature_gap",
        "feature gap",
        "those of its class that show the feature most, and least",
        "nothing",
        "everything",
        "nearer 0",
        ANY,
    ),
    Figure(
        "worst_group",
        "worst-group accuracy",
        GROUPED + "; the worst of their groups",
        "nothing",
        "everything",
        "higher",
        ANY,
    ),
    Figure("groups_alike", "mean of groups weighed alike", GROUPED, "nothing", "everything", "higher", ANY),
    Figure("groups_by_size", "mean of groups weighed by size", GROUPED, "nothing", "everything", "higher", ANY),
    Figure(
        "groups_adjusted", "mean of groups weighed as in other data", GROUPED, "nothing", "everything", "higher", ANY
    ),
    Figure(
        "effective_robustness",
        "effective robustness",
        "those of a published test set, which is named",
        "nothing",
        "everything",
        "higher",
        "networks in the same tables",
    ),
)
BY_KEY = {figure.key: figure for figure in FIGURES}

_REGIONS = {
    SPURIOUS: "the spurious pixels",
    CORE: "the core pixels",
    INSIDE: "the dilated core",
    OUTSIDE: "all outside the dilated core",
    FOREGROUND: "the foreground",
    BACKGROUND: "the background",
}


def better(words: str) -> str:
    """Which way a figure is better, by its name, whatever stands behind a comma: "higher", "nearer 0", "lower" for what
    is lost on the spurious pixels, or ""."""
    name, _, where = words.partition(",")
    if name in (BY_KEY["loss"].name, BY_KEY["excess"].name):
        return "lower" if where.endswith(region_words(SPURIOUS)) else ""
    return next((figure.better for figure in FIGURES if name in (figure.name, figure.key)), "")


def region_words(region: str) -> str:
    """A region's name in words: "the core pixels", "the box of the foreground", "the feature of rank 2"."""
    rank = rank_of(region)
    if rank is not None:
        return f"the feature of rank {rank}"
    if region.endswith("_box"):
        return f"the box of {region_words(region.removesuffix('_box'))}"
    return _REGIONS.get(region, region)


def corruption_words(corruption: str) -> str:
    """A corruption's name in words: "noise 0.25", "fill gray", "noise l2 30"."""
    return corruption.replace("_", " ")


def corrupted_words(corruption: str, region: str) -> str:
    """What is done where: "noise 0.25 on the core pixels"."""
    return f"{corruption_words(corruption)} on {region_words(region)}"


def accuracy_words(condition: Condition) -> str:
    """What the accuracy under a condition is called: "core accuracy, noise 0.25", or "accuracy, fill gray on the
    background" where the field has no name for what is left."""
    what = corruption_words(condition.corruption)
    left = LEFT_OF.get(condition.region)
    words = (
        f"{left.replace('_', ' ')}, {what}"
        if left
        else f"accuracy, {corrupted_words(condition.corruption, condition.region)}"
    )
    if condition.control:
        at = "a random region as large" if condition.control == "random" else "another image's mask"
        words = f"accuracy, {what} on {at} as {region_words(condition.region)}"
    return words + (f", trial {condition.trial}" if condition.trial > 1 else "")
