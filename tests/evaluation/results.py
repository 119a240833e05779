"""Results typed by hand, for what reads them."""

from __future__ import annotations

from typing import Any, cast

from salient_imagenet_data.evaluation.numbers.estimates import Estimate
from salient_imagenet_data.evaluation.plan.condition import Condition
from salient_imagenet_data.evaluation.plan.vocabulary import accuracy_words
from salient_imagenet_data.evaluation.score.results import (
    Against,
    Calibration,
    Claim,
    ConditionResult,
    Curve,
    FeatureGap,
    GroupFigures,
    ModelResult,
    OfClass,
    OfFeature,
    OfGroup,
    Point,
    Sensitivity,
    StoreFacts,
    Summary,
)

CALIBRATION = Calibration(0.1, 0.2, 0.3)
STORE = StoreFacts("a store", 40, 10, "w" * 64, "a" * 64, "train", "1/1", "all")


def estimate(value: float, low: float, high: float, n: int = 100) -> Estimate:
    return Estimate(value, n, low, high, 10)


def near(value: float, n: int = 100) -> Estimate:
    """A value with 0.05 on either side."""
    return estimate(value, value - 0.05, value + 0.05, n)


def of_class(index: int, clean: float, accuracy: float, n: int = 10) -> OfClass:
    return OfClass(index, f"class {index}", near(accuracy, n), clean)


def condition(name: str, accuracy: float, *classes: OfClass) -> ConditionResult:
    """A condition of its name; clean accuracy is 0.9."""
    parsed, one = Condition.parse(name), near(accuracy)
    figure, words = accuracy_words(parsed), (parsed.corruption, parsed.region, parsed.control, parsed.trial)
    rest = (one, one, near(0.9), near(0.9 - accuracy), CALIBRATION, CALIBRATION, tuple(classes))
    return ConditionResult(name, figure, *words, parsed.sigma, *rest)


def claim(name: str, drop: Estimate, random: Against | None = None, other: Against | None = None) -> Claim:
    parsed = Condition.parse(name)
    return Claim(name, parsed.corruption, parsed.region, drop, random, other, None, f"What {name} says.")


def curve(region: str, control: str, *points: tuple[float, Estimate]) -> Curve:
    return Curve(region, cast(Any, control), tuple(Point(*point) for point in points), near(0.5))


def ratio(corruption: str, control: str, value: float, *, saturated: bool = False) -> Sensitivity:
    return Sensitivity(corruption, cast(Any, control), 1, near(0.8), near(0.6), near(value), saturated)


def grouped(*accuracies: float, adjusted: float | None = None) -> GroupFigures:
    """Groups of class 0 on, cue hidden and shown in turn."""
    each = tuple(OfGroup(i // 2, f"class {i // 2}", bool(i % 2), near(a)) for i, a in enumerate(accuracies))
    mean = sum(accuracies) / len(accuracies)
    other = None if adjusted is None else near(adjusted)
    return GroupFigures("0.5", each, near(min(accuracies)), near(mean), near(mean + 0.01), other, None)


def gap(index: int, most: float, least: float, width: float = 0.05, kind: str | None = "spurious") -> FeatureGap:
    """Of feature 10 + index of a class, whose interval is `width` on either side."""
    d, of = most - least, OfFeature(10 + index, 1, kind, "background" if kind == "spurious" else None)
    return FeatureGap(index, f"class {index}", of, near(most), near(least), estimate(d, d - width, d + width))


def model(name: str, **parts: Any) -> ModelResult:
    """A model of ten classes without conditions, whose clean accuracy is 0.9, on 40 images."""
    plain: dict[str, Any] = dict.fromkeys(("conditions", "curves", "controls"), ())
    plain |= {"model": {}, "seed": 0, "fold": "1/1", "images": 40, "ratios": {}, "spurious_gap": None}
    plain |= {"groups": None, "feature_gaps": ()}
    plain |= {"outputs": 10, "classes": 10, "reading": "all", "by_reading": {}, "outside": None}
    plain |= {"clean_accuracy": near(0.9), "clean_pooled": near(0.9), "clean_calibration": CALIBRATION}
    return ModelResult(name, **{**plain, **parts})


def summary(*models: ModelResult, **facts: Any) -> Summary:
    return Summary(StoreFacts(**{**vars(STORE), **facts}), models)
