"""The figures about answers, on ledgers typed by hand."""

from __future__ import annotations

import pytest

from salient_imagenet_data.app.label.assigning import Plan
from salient_imagenet_data.app.label.ledger import Ledger
from salient_imagenet_data.app.label.quality import (
    agreements,
    disputes,
    full,
    generalisation,
    kind_of,
    people,
    settled,
)
from salient_imagenet_data.app.label.records import Pair, Round, Row, Task
from salient_imagenet_data.evaluation.numbers.estimates import wilson

A, B, C = Pair(0, 1), Pair(0, 2), Pair(1, 1)


def ledger(*said: tuple[str, Pair, str, Round, float]) -> Ledger:
    """Rows of person, pair, answer, round and seconds."""
    return Ledger(
        Row(n, float(n), who, Task(pair, name), answer, None, "", seconds, f"t{n}")
        for n, (who, pair, answer, name, seconds) in enumerate(said)
    )


def test_each_person_by_value() -> None:
    found = people(
        ledger(
            ("ada", A, "background", "first", 2.0),
            ("ada", B, "main_object", "first", 4.0),
            ("ada", C, "main_object", "first", 9.0),
            ("ada", A, "background", "repeat", 3.0),
            ("ada", B, "background", "repeat", 3.0),
            ("bob", A, "background", "first", 1.0),
            ("bob", B, "skipped", "first", 1.0),
            ("cy", A, "background", "first", 1.0),
            ("cy", B, "separate_object", "first", 1.0),
            ("dan", B, "separate_object", "first", 1.0),
        ),
        {A: "background", B: "separate_object"},
    )
    ada, bob, cy, _ = found
    assert (ada.name, ada.answers, ada.skipped, ada.seconds) == ("ada", 3, 0, 3.0)
    assert ada.again == wilson(1, 2) and ada.gold == wilson(1, 2)
    assert ada.others == wilson(1, 2)  # A as bob and cy; B unlike cy and dan; on C nobody else
    assert (bob.answers, bob.skipped, bob.again, bob.gold) == (1, 1, None, wilson(1, 1))
    assert cy.others == wilson(1, 1)  # on B the others are one to one, which says nothing


def test_disputes_are_the_pairs_that_differ_the_most_even_first() -> None:
    rows = [("p1", A, "background"), ("p2", A, "background"), ("p3", A, "background")]
    rows += [("p1", B, "main_object"), ("p2", B, "main_object"), ("p3", B, "background"), ("p4", B, "separate_object")]
    rows += [("p1", C, "background"), ("p2", C, "background"), ("p3", C, "separate_object")]
    found = disputes(ledger(*((who, pair, answer, "first", 1.0) for who, pair, answer in rows)))
    assert [(d.pair, d.kind) for d in found] == [(B, "core"), (C, "spurious")]
    assert found[0].votes == {"main_object": 2, "separate_object": 1, "background": 1}


def test_the_kind_is_that_of_more_than_half() -> None:
    def of(*answers: str) -> str:
        return kind_of(ledger(*((f"p{n}", A, a, "first", 1.0) for n, a in enumerate(answers))).answered()[A])

    assert of("background", "separate_object", "background", "main_object", "main_object") == "spurious"
    assert of("background", "separate_object", "main_object", "main_object", "main_object") == "core"
    assert of("background") == "spurious" and of("background", "main_object") == "core"


def test_generalisation_counts_pairs_that_were_asked_on_both_sets_of_images() -> None:
    found, breaks = generalisation(
        ledger(
            ("ada", A, "background", "first", 1.0),
            ("bob", A, "separate_object", "wide", 1.0),  # another word, the same kind
            ("ada", B, "background", "first", 1.0),
            ("ada", B, "main_object", "wide", 1.0),
            ("ada", C, "background", "first", 1.0),
        )
    )
    assert found == wilson(1, 2) and breaks == [B]
    assert generalisation(Ledger()) == (None, [])


def test_agreement_on_kinds_is_not_that_on_answers() -> None:
    rows = [(f"p{n}", pair, ("background", "separate_object")[n], "first", 1.0) for pair in (A, B) for n in (0, 1)]
    rows += [(f"p{n}", C, "main_object", "first", 1.0) for n in (0, 1)]
    found = agreements(ledger(*rows))  # type: ignore[arg-type]
    assert found.krippendorff_kind.value == pytest.approx(1.0) == found.fleiss_kind.value
    assert found.krippendorff.value is not None and found.krippendorff.value < 0.3
    assert agreements(Ledger()).fleiss.words == "cannot be told"


def test_agreement_says_of_how_many_people_and_what_is_left_out() -> None:
    """Two pairs with three people, one with two, one with one, and one that was only skipped."""
    pairs = {A: 3, B: 3, C: 2, Pair(1, 2): 1}
    rows = [(f"p{n}", pair, "background", "first", 1.0) for pair, people in pairs.items() for n in range(people)]
    rows.append(("p0", Pair(1, 3), "skipped", "first", 1.0))
    found = agreements(ledger(*rows))  # type: ignore[arg-type]
    for one in (found.fleiss, found.fleiss_kind):
        assert (one.people, one.pairs, one.left_out) == (3, 2, 2)
    for one in (found.krippendorff, found.krippendorff_kind):
        assert (one.people, one.pairs, one.left_out) == (None, 3, 1)


def test_settled_are_the_pairs_that_nobody_is_asked_about_any_more() -> None:
    said = [(who, pair, "background", "first", 1.0) for who in ("ada", "bob") for pair in (A, B, C)]
    said += [("ada", Pair(1, 2), "background", "first", 1.0), ("ada", B, "background", "wide", 1.0)]
    held = ledger(*said)  # type: ignore[arg-type]
    order = (A, B, C, Pair(1, 2))
    assert settled(held, Plan(order, per_pair=2)) == {A, B, C}
    assert settled(held, Plan(order, per_pair=2, wide=(A, B))) == {C}
    assert settled(held, Plan(order, per_pair=1, wide=(A, B), gold={C: "background"})) == {B, Pair(1, 2)}


def test_full_counts_pairs_with_all_their_answers() -> None:
    said = ledger(
        ("ada", A, "background", "first", 1.0),
        ("bob", A, "background", "first", 1.0),
        ("ada", B, "background", "first", 1.0),
    )
    assert full(said, (A, B, C), 2) == 1 and full(said, (A, B, C), 1) == 2
