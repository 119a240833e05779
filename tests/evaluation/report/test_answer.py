"""The one answer about a model: which claim it is of, what the sentence says, and what stands against it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from salient_imagenet_data.evaluation.numbers.estimates import Estimate
from salient_imagenet_data.evaluation.report.answer import answer, lines, short_names
from salient_imagenet_data.evaluation.score.results import Against, Claim, ModelResult, Summary


def e(value: float, low: float, high: float) -> Estimate:
    return Estimate(value, 100, low, high, 10)


def claim(corruption: str, region: str, drop: float, excess: float | None, shown: bool | None) -> Claim:
    random = None if excess is None else Against(e(0.1, 0.0, 0.2), e(excess, excess - 0.01, excess + 0.01))
    return Claim(f"{corruption}@{region}", corruption, region, e(drop, drop - 0.1, drop + 0.1), random, None, shown, "")


@pytest.fixture
def model(report: Path) -> ModelResult:
    found = Summary.from_json(json.loads((report / "report.json").read_text()), "report.json").models[0]
    return replace(found, clean_accuracy=e(0.9, 0.85, 0.95), ratios={})


def test_it_is_of_the_strongest_noise_on_both_kinds(model: ModelResult) -> None:
    claims = (
        claim("fill_gray", "core", 0.9, 0.9, True),
        claim("noise_0.25", "core", 0.05, 0.01, False),
        claim("noise_0.5", "core", 0.3, 0.25, True),
        claim("noise_0.25", "spurious", 0.01, 0.0, False),
        claim("noise_0.5", "spurious", 0.08, -0.02, False),
    )
    found = answer(replace(model, controls=claims), "m", 10)
    assert found.core is claims[2] and found.spurious is claims[4] and found.notes == ()
    assert found.sentence == (
        "Clean accuracy 0.900. With noise 0.5 on the core pixels it loses 0.300, 0.250 more than on as many pixels "
        "elsewhere. With noise 0.5 on the spurious pixels it loses 0.080, 0.020 less than on as many pixels elsewhere. "
        "So it relies on core pixels. Reliance on spurious pixels is not shown."
    )
    said = lines(found).splitlines()
    assert said[1] == "  without the core       loses 0.300 [0.200, 0.400]   beyond the control 0.250 [0.240, 0.260]"


def test_without_controls_nothing_is_claimed(model: ModelResult) -> None:
    found = answer(replace(model, controls=(claim("noise_0.5", "core", 0.3, None, None),)), "m", 10)
    assert (
        found.sentence
        == "Clean accuracy 0.900. With noise 0.5 on the core pixels it loses 0.300, and no control was run."
    )
    assert found.spurious is None and "beyond" not in lines(found)


def test_guessing_and_saturated_ratios_are_said(model: ModelResult, report: Path) -> None:
    guessing = replace(model, clean_accuracy=e(0.12, 0.09, 0.15), controls=())
    assert answer(guessing, "m", 10).notes == (
        "Its clean accuracy is that of guessing: nothing it loses says what it relies on.",
    )
    (row, *_) = Summary.from_json(json.loads((report / "report.json").read_text()), "r").models[0].ratios["rcs"]
    own = replace(model, controls=(), ratios={"rcs": (replace(row, control="", saturated=True),)})
    assert "A ratio is saturated" in answer(own, "m", 10).notes[0]
    control = replace(model, controls=(), ratios={"rcs": (replace(row, control="random", saturated=True),)})
    assert answer(control, "m", 10).notes == ()


def test_names_are_cut_to_what_tells_them_apart() -> None:
    assert short_names(["runs/a/best.pt", "runs/b/best.pt"]) == ["a/best.pt", "b/best.pt"]
    assert short_names(["/x/one.pt", "timm:resnet50"]) == ["one.pt", "timm:resnet50"]
    assert short_names(["only"]) == ["only"] and short_names([]) == []
