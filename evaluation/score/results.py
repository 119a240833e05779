"""What an evaluation finds, as frozen records: scoring fills them; terminal, report, leaderboard and JSON read them.

An accuracy is an `Estimate`: value, n images, 95 % interval, and over how many classes it is averaged (1: pooled).
"""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import Any, Literal

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.numbers.estimates import Estimate
from salient_imagenet_data.evaluation.plan.condition import Condition, Control
from salient_imagenet_data.evaluation.plan.protocols import LEFT_OF
from salient_imagenet_data.evaluation.plan.regions import rank_of
from salient_imagenet_data.evaluation.score.records import from_json, to_json
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.names import OWN_FRAME
from salient_imagenet_data.networks.classes import Reading
from salient_imagenet_data.ranking.left_out import LeftOutFacts

FAMILY = "salient-imagenet-evaluation/"
"""What the format of every version's report.json begins with."""


@dataclass(frozen=True)
class Calibration:
    """ece: expected calibration error, 15 bins. nll, brier: None where only the top k probabilities were kept."""

    ece: float
    nll: float | None
    brier: float | None


@dataclass(frozen=True)
class OfFeature:
    """What the feature of a rank is, in a class. kind, cue: None without answers."""

    feature_index: int
    rank: int
    kind: str | None
    cue: str | None


@dataclass(frozen=True)
class OfClass:
    """One class under a condition. accuracy: pooled, with Wilson's interval. clean: accuracy of the same images without
    corruption. feature: where the region is the feature of one rank."""

    class_index: int
    class_name: str
    accuracy: Estimate
    clean: float
    feature: OfFeature | None = None

    @property
    def loss(self) -> float:
        """Clean minus corrupted accuracy."""
        return self.clean - self.accuracy.value


@dataclass(frozen=True)
class ConditionResult:
    """One condition, `corruption@region`. figure: what its accuracy is called (`plan.vocabulary`). sigma: of Gaussian
    noise, else None.

    accuracy, clean_accuracy: class averages, corrupted and not, of the same images. drop: the latter minus the former.
    pooled: over images. per_class: empty for a control.
    """

    name: str
    figure: str
    corruption: str
    region: str
    control: Control
    trial: int
    sigma: float | None
    accuracy: Estimate
    pooled: Estimate
    clean_accuracy: Estimate
    drop: Estimate
    calibration: Calibration
    clean_calibration: Calibration
    per_class: tuple[OfClass, ...] = ()

    @property
    def condition(self) -> Condition:
        return Condition(self.corruption, self.region, self.control, self.trial)

    @property
    def single_feature(self) -> bool:
        """Whether the region is the feature of one rank."""
        return rank_of(self.region) is not None

    @property
    def claim(self) -> bool:
        """Whether it says something of the model: no control, and no single feature."""
        return not self.control and not self.single_feature


@dataclass(frozen=True)
class Sensitivity:
    """Accuracy with noise outside a region against noise inside it, and their ratio, such as RCS of "corm2022" and RFS
    of "rival2022". control: what stands in place of the masks. saturated: the better side is perfect, so the ratio is 1
    (or -1) whatever the other is."""

    corruption: str
    control: Control
    trials: int
    accuracy_outside: Estimate
    accuracy_inside: Estimate
    ratio: Estimate
    saturated: bool

    @property
    def sides(self) -> str:
        """The two accuracies in words, and whether the ratio says more than that one of them is at an end."""
        outside, inside = self.accuracy_outside.value, self.accuracy_inside.value
        return f"{outside:.3f} outside, {inside:.3f} inside" + (", saturated" if self.saturated else "")


@dataclass(frozen=True)
class Point:
    """Accuracy, class average, at a noise level; 0 is clean."""

    sigma: float
    accuracy: Estimate


@dataclass(frozen=True)
class Curve:
    """Accuracy against noise level, from clean up, and the area under it as a mean accuracy."""

    region: str
    control: Control
    points: tuple[Point, ...]
    area: Estimate


@dataclass(frozen=True)
class Against:
    """A claim's control. drop: accuracy lost under it. excess: how much more the claim's region costs than it does."""

    drop: Estimate
    excess: Estimate


@dataclass(frozen=True)
class Claim:
    """That a model relies on a region, beside its controls, each None where it was not run.

    shown: whether reliance is shown; None without the random control. verdict: the sentence that says so.
    """

    name: str
    corruption: str
    region: str
    drop: Estimate
    random: Against | None
    other: Against | None
    shown: bool | None
    verdict: str


@dataclass(frozen=True)
class OfGroup:
    """The images of one class that show its cue, or do not. accuracy: of clean answers, with Wilson's interval."""

    class_index: int
    class_name: str
    shown: bool
    accuracy: Estimate

    @property
    def words(self) -> str:
        """Which group."""
        return f"{self.class_name}, cue {'shown' if self.shown else 'hidden'}"


@dataclass(frozen=True)
class GroupFigures:
    """Clean accuracy over groups, (class, cue shown or not), of the classes with a spurious feature. rule: which images
    show the cue (`numbers.groups.Rule`). worst_group: the least of the groups' accuracies. groups_alike: their mean,
    each group weighing the same; groups_by_size: as many as its images here; groups_adjusted: as many as its images in
    other data, such as what the model was trained on [Sagawa et al. 2020], None where none were given. absent: the
    share of that data in groups that have no image here, which are left out."""

    rule: str
    groups: tuple[OfGroup, ...]
    worst_group: Estimate
    groups_alike: Estimate
    groups_by_size: Estimate
    groups_adjusted: Estimate | None
    absent: float | None

    @property
    def named(self) -> dict[str, Estimate]:
        """The figures over groups by their keys (`plan.vocabulary`)."""
        keys = ("worst_group", "groups_alike", "groups_by_size", "groups_adjusted")
        return {key: figure for key in keys if (figure := getattr(self, key)) is not None}

    @property
    def lowest(self) -> list[OfGroup]:
        """The groups, the worst first."""
        return sorted(self.groups, key=lambda g: (g.accuracy.value, -g.accuracy.n, g.class_index, g.shown))


@dataclass(frozen=True)
class FeatureGap:
    """A class's images that show one of its features most, and least. most, least: accuracies of clean answers, with
    Wilson's intervals; gap: the first minus the second, with Newcombe's."""

    class_index: int
    class_name: str
    feature: OfFeature
    most: Estimate
    least: Estimate
    gap: Estimate

    @property
    def confusing(self) -> bool:
        """Whether accuracy is higher without the feature, beyond the interval."""
        return self.gap.high < 0.0

    @property
    def leaned_on(self) -> bool:
        """Whether accuracy is higher with the feature, beyond the interval."""
        return self.gap.low > 0.0


@dataclass(frozen=True)
class ModelResult:
    """All that one model's predictions say.

    model: what is recorded of it (name, weights, preprocessing, ...). images: clean answers. clean_accuracy: class
    average of all of them; clean_pooled over images. ratios: by name (rcs, rfs). They, curves and controls
    are empty, and spurious_gap and groups None, where the predictions lack what they need, and feature_gaps lack those
    features. outputs: how many classes the model
    knows. classes: of the store. reading: among what its answers are, all these or the store's classes. by_reading:
    clean accuracy under both readings, and outside: clean answers among all outputs that are no class of the store;
    empty and None where the model knows the store's classes only. left_out: what no figure is of, of the fold's images;
    None where nothing was to be left out.
    """

    name: str
    model: dict[str, Any]
    seed: int | None
    fold: str
    images: int
    clean_accuracy: Estimate
    clean_pooled: Estimate
    clean_calibration: Calibration
    conditions: tuple[ConditionResult, ...]
    ratios: dict[str, tuple[Sensitivity, ...]]
    curves: tuple[Curve, ...]
    controls: tuple[Claim, ...]
    spurious_gap: Estimate | None
    groups: GroupFigures | None
    feature_gaps: tuple[FeatureGap, ...]
    outputs: int
    classes: int
    reading: Reading
    by_reading: dict[str, Estimate]
    outside: int | None
    left_out: LeftOutFacts | None = None

    @property
    def frame(self) -> str:
        """That images were not in the network's own frame, in words; empty where they were, or nothing says it."""
        try:
            seen, own = (Preprocessing(**self.model[key]) for key in ("preprocessing", OWN_FRAME))
        except (KeyError, TypeError, SalientError):  # of a file of other people
            return ""
        return f"{seen}, not its own frame: {own}"

    def __str__(self) -> str:
        """As `evaluate` prints it."""
        from salient_imagenet_data.evaluation.report.table import table  # which is made of these records

        return table((self,), self.classes)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def condition(self, name: str) -> ConditionResult | None:
        """The condition of a name, such as "noise_0.25@spurious"."""
        return next((c for c in self.conditions if c.name == name), None)

    def left(self, accuracy: str, sigma: float) -> ConditionResult | None:
        """The condition whose accuracy is `core_accuracy` or `spurious_accuracy` of "iclr2022", at a noise level."""
        return next(
            (c for c in self.conditions if c.claim and c.sigma == sigma and LEFT_OF.get(c.region) == accuracy),
            None,
        )

    def to_json(self) -> dict[str, Any]:
        """All of it, JSON-ready."""
        found: dict[str, Any] = to_json(self)
        return found


@dataclass(frozen=True)
class Failure:
    """A model that gave no predictions, and why, in one line."""

    name: str
    reason: str


@dataclass(frozen=True)
class StoreFacts:
    """Which store, and which part of its images, an evaluation is of. reading: among what answers are: all outputs of a
    network, or the store's classes. left_out: as of a `ModelResult`."""

    name: str
    images: int
    classes: int
    weights_sha256: str
    annotations_sha256: str | None
    split: str
    fold: str
    reading: Reading
    left_out: LeftOutFacts | None = None

    @property
    def identity(self) -> tuple[object, ...]:
        """What two evaluations share whose models may stand in one table."""
        parts = (self.weights_sha256, self.annotations_sha256, self.split, self.images, self.fold, self.reading)
        return (*parts, self.left_out)


@dataclass(frozen=True)
class Comparison:
    """Two models under a condition, on the images of both. first_only, second_only: right by one of them only.
    p_value: McNemar's exact test. difference: class-averaged accuracy of the first minus the second."""

    first: str
    second: str
    condition: str
    first_only: int
    second_only: int
    p_value: float
    difference: Estimate


@dataclass(frozen=True)
class Robustness:
    """logit(corrupted) = slope * logit(clean) + intercept over models, and each model's residual."""

    condition: str
    slope: float
    intercept: float
    residuals: dict[str, float]


@dataclass(frozen=True)
class Summary:
    """Everything about some models on one store: report.json."""

    store: StoreFacts
    models: tuple[ModelResult, ...]
    failed: tuple[Failure, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    effective_robustness: tuple[Robustness, ...] = ()
    format: Literal["salient-imagenet-evaluation/2"] = field(default="salient-imagenet-evaluation/2")

    def to_json(self) -> dict[str, Any]:
        """All of it, JSON-ready."""
        found: dict[str, Any] = to_json(self)
        return found

    @staticmethod
    def from_json(data: Any, where: str) -> Summary:
        """What `to_json` made. Raises SalientError that names the field for anything else."""
        return from_json(Summary, data, where)
