"""Answers about many classes, for some of them."""

from __future__ import annotations

import pytest

from salient_imagenet_data.annotation.answers import Answer
from salient_imagenet_data.annotation.restricting import of_classes
from salient_imagenet_data.annotation.verdicts import Annotations
from salient_imagenet_data.errors import SalientError


def said(name: str, index: int, feature: int = 7) -> Answer:
    return Answer("p", name, index, feature, 1, "main_object", 4, "because")


def file(*answers: Answer) -> Annotations:
    return Annotations(answers, "ab" * 32, unanswered=2)


def test_classes_are_found_by_name_and_numbered_anew() -> None:
    given = file(said("n01440764", 0), said("n03028079", 497, 3), said("n02119789", 277), said("n02119789", 277, 8))
    found = of_classes(given, ("church", "n01440764", "n03888257"))
    kept = [(a.class_name, a.class_index, a.feature_index, a.reason) for a in found.annotations.answers]
    assert kept == [("n01440764", 1, 7, "because"), ("church", 0, 3, "because")]
    assert (found.annotations.sha256, found.annotations.unanswered) == (given.sha256, 2)
    assert (found.left_out, found.classes, found.answers) == (("n02119789",), 3, 2)
    line = "1 of 3 classes of the answers are not here, and 2 answers about them are left out: kit fox"
    assert found.line() == line
    assert of_classes(found.annotations, ("church", "n01440764")).annotations == found.annotations


def test_all_classes_are_kept_as_they_are() -> None:
    given = file(said("cat", 0), said("dog", 1))
    found = of_classes(given, ("cat", "dog"))
    assert found.annotations == given and found.line() == "" and found.left_out == ()
    # Of other numbers the names decide; without a name the number does.
    assert [a.class_index for a in of_classes(given, ("dog", "cat")).annotations.answers] == [1, 0]
    assert of_classes(file(said("", 1)), ("dog", "cat")).annotations.answers[0] == said("", 1)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(SalientError, match="none of the classes here; expected classes such as cat, dog; got emu"):
        of_classes(file(said("emu", 0)), ("cat", "dog"))
    with pytest.raises(SalientError, match="give class 'tench' two numbers; expected one; got 0 and 5"):
        of_classes(file(said("n01440764", 0), said("tench", 5)), ("n01440764",))
