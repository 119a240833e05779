"""The one answer about a model: which claim it is of, what the sentence says, and what stands against it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from salient_imagenet_data.evaluation.numbers.estimates import Estimate
from salient_imagenet_data.evaluation.report.answer import answer, answers, lines, short_names
from salient_imagenet_data.evaluation.score.results import Against, Claim, ModelResult
from tests.evaluation import results


def e(value: float, low: float, high: float) -> Estimate:
    return Estimate(value, 100, low, high, 10)


def claim(corruption: str, region: str, drop: float, excess: float | None, shown: bool | None) -> Claim:
    random = None if excess is None else Against(e(0.1, 0.0, 0.2), e(excess, excess - 0.01, excess + 0.01))
    return Claim(f"{corruption}@{region}", corruption, region, e(drop, drop - 0.1, drop + 0.1), random, None, shown, "")


@pytest.fixture
def model() -> ModelResult:
    return results.model("m", clean_accuracy=e(0.9, 0.85, 0.95))


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


def test_a_place_that_matters_as_much_and_a_gain_are_said(model: ModelResult) -> None:
    other = Against(e(0.3, 0.2, 0.4), e(0.001, -0.01, 0.01))
    core = replace(claim("noise_0.5", "core", 0.3, 0.25, True), other=other)
    gain = claim("noise_0.5", "spurious", -0.038, -0.025, False)
    assert answer(replace(model, controls=(core, gain)), "m", 10).sentence == (
        "Clean accuracy 0.900. With noise 0.5 on the core pixels it loses 0.300, 0.250 more than on as many pixels "
        "elsewhere. With noise 0.5 on the spurious pixels it gains 0.038, 0.025 more than on as many pixels elsewhere. "
        "So it relies on core pixels. Another image's core mask costs as much, so the shape or place of the mask may be "
        "what matters. Reliance on spurious pixels is not shown."
    )


def test_a_spurious_gap_that_is_shown_is_part_of_the_answer(model: ModelResult) -> None:
    claims = (claim("noise_0.5", "core", 0.3, 0.25, True), claim("noise_0.5", "spurious", 0.0, 0.0, False))

    def last(gap: Estimate, *some: Claim) -> str:
        return answer(replace(model, controls=some, spurious_gap=gap), "m", 10).sentence.rpartition(". ")[2]

    tail = (
        "on the images of each class that show its spurious features least its accuracy is 0.160 lower than on those "
        "that show them most."
    )
    assert last(e(0.16, 0.13, 0.19), *claims) == f"But {tail}"
    assert last(e(0.16, 0.13, 0.19), claims[0]) == f"O{tail[1:]}"
    assert last(e(0.16, -0.01, 0.33), *claims) == "Reliance on spurious pixels is not shown."


def test_without_controls_nothing_is_claimed(model: ModelResult) -> None:
    found = answer(replace(model, controls=(claim("noise_0.5", "core", 0.3, None, None),)), "m", 10)
    assert (
        found.sentence
        == "Clean accuracy 0.900. With noise 0.5 on the core pixels it loses 0.300, and no control was run."
    )
    assert found.spurious is None and "beyond" not in lines(found)


def test_guessing_and_saturated_ratios_are_said(model: ModelResult) -> None:
    guessing = replace(model, clean_accuracy=e(0.12, 0.09, 0.15), controls=())
    assert answer(guessing, "m", 10).notes == (
        "Its clean accuracy is that of guessing: nothing it loses says what it relies on.",
    )
    at, above = (replace(model, clean_accuracy=e(0.2, low, 0.3)) for low in (0.1, 0.101))
    assert (
        answer(at, "m", 10).notes
        and not answer(above, "m", 10).notes
        and not answer(replace(at, outputs=11), "m", 11).notes
    )
    own, control, fine = (
        replace(model, ratios={"rcs": (results.ratio("noise_1", who, 1.0, saturated=is_so),)})
        for who, is_so in (("", True), ("random", True), ("", False))
    )
    assert answer(own, "m", 10).notes == (
        "A ratio is saturated: one of its two accuracies is perfect, so it says nothing of the other.",
    )
    assert answer(control, "m", 10).notes == answer(fine, "m", 10).notes == ()


def test_both_losses_are_under_one_corruption(model: ModelResult) -> None:
    """The strongest on the spurious pixels, and the core's own strongest only where that was not run on them."""
    claims = (
        claim("noise_1", "core", 0.9, 0.1, True),
        claim("noise_0.5", "core", 0.5, 0.1, True),
        claim("noise_0.25", "core", 0.2, 0.1, True),
        claim("noise_0.5", "spurious", 0.1, 0.1, True),
    )
    assert answer(replace(model, controls=claims), "m", 10).core is claims[1]
    assert answer(replace(model, controls=(claims[0], claims[2], claims[3])), "m", 10).core is claims[0]
    assert answer(replace(model, controls=claims[3:]), "m", 10).core is None
    fills = (claim("fill_gray", "core", 0.9, 0.1, True), claim("fill_gray", "spurious", 0.9, 0.1, True))
    assert answer(replace(model, controls=fills), "m", 10).spurious is fills[1]
    weak = claim("noise_0", "spurious", 0.0, 0.0, False)
    assert answer(replace(model, controls=(*fills, weak)), "m", 10).spurious is weak  # any noise goes before a fill


def test_what_is_shown_and_what_is_not_is_said_of_each_kind(model: ModelResult) -> None:
    def said(core: bool | None, spurious: bool | None) -> str:
        claims = claim("fill_gray", "core", 0.9, 0.0, core), claim("fill_gray", "spurious", 0.8, 0.0, spurious)
        return answer(replace(model, controls=claims), "m", 10).sentence.partition("elsewhere. With")[2]

    assert said(True, True).endswith(
        "0.000 more than on as many pixels elsewhere. So it relies on core and spurious pixels."
    )
    assert said(False, False).endswith("elsewhere. Reliance on core and spurious pixels is not shown.")
    assert said(None, None).endswith("than on as many pixels elsewhere.")


def test_a_terminals_lines_are_of_the_name_the_notes_and_both_losses(model: ModelResult) -> None:
    claims = claim("noise_0.5", "core", 0.3, None, None), claim("noise_0.5", "spurious", 0.1, 0.05, True)
    guessing = replace(model, clean_accuracy=e(0.1, 0.05, 0.15), controls=claims)
    found = lines(answer(guessing, "short", 10)).splitlines()
    assert found[0].startswith("short: Clean accuracy 0.100. ")
    assert found[1:] == [
        "  note: Its clean accuracy is that of guessing: nothing it loses says what it relies on.",
        "  without the core       loses 0.300 [0.200, 0.400]",
        "  without the spurious   loses 0.100 [0.000, 0.200]   beyond the control 0.050 [0.040, 0.060]",
    ]
    named = answers([replace(model, name="a/x.pt"), replace(model, name="b/x.pt", clean_accuracy=e(0.5, 0.4, 0.6))], 10)
    assert [(a.name, a.sentence) for a in named] == [
        ("a/x.pt", "Clean accuracy 0.900."),
        ("b/x.pt", "Clean accuracy 0.500."),
    ]


def test_what_a_network_of_more_classes_answers_among_is_said(model: ModelResult) -> None:
    both = {"all": results.near(0.7), "store": results.near(0.8)}
    many = replace(model, outputs=1000, by_reading=both, outside=3)
    (said,) = answer(many, "m", 10).notes
    assert said == (
        "It answers among its 1000 classes; the store has not 990 of them, and 3 of 40 clean answers are such. Among the "
        "store's 10 alone its clean accuracy is 0.800."
    )
    (said,) = answer(replace(many, reading="store"), "m", 10).notes
    assert said == (
        "It answers among the store's 10 classes alone, of the 1000 that it knows. Among all its clean accuracy is 0.700, "
        "and 3 of 40 clean answers are of classes that the store has not."
    )
    # One of a thousand classes is guessed more seldom than one of ten.
    low = replace(many, clean_accuracy=e(0.05, 0.01, 0.1))
    assert len(answer(low, "m", 10).notes) == 1 and len(answer(replace(low, reading="store"), "m", 10).notes) == 2
    few = [replace(model, name="a"), replace(many, name="b", by_reading={})]
    assert [a.notes[0][:35] for a in answers(few, 10)] == [
        "It answers among 10 classes, others",
        "It answers among 1000 classes, othe",
    ]
    assert not any(a.notes for a in answers([few[0], replace(few[1], reading="store")], 10))


def test_names_are_cut_to_what_tells_them_apart() -> None:
    assert short_names(["runs/a/best.pt", "runs/b/best.pt"]) == ["a/best.pt", "b/best.pt"]
    assert short_names(["/x/one.pt", "timm:resnet50"]) == ["one.pt", "timm:resnet50"]
    assert short_names(["only"]) == ["only"] and short_names([]) == []
    assert short_names(["C:\\a\\one.pt", "b/two.pt"]) == ["one.pt", "two.pt"]
    assert short_names(["x/y/n", "z/y/n", "n"]) == ["x/y/n", "z/y/n", "n"]
    assert short_names(["a/n", "a/n", "a/m"]) == ["n", "n", "m"]
    assert short_names(["a/n", "a\\n"]) == ["a/n", "a\\n"]  # two names that no length tells apart
