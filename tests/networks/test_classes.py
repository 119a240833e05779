"""Outputs of a network and classes of a store, matched by name."""

from __future__ import annotations

import numpy as np
import pytest

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.imagenet import classes, wnids
from salient_imagenet_data.networks.classes import match_classes


def match(network: tuple[str, ...] | None, store: tuple[str, ...], count: int | None = None) -> tuple[int, ...] | None:
    return match_classes(network, count, store, "hf:x", "the store").order


def test_names_decide_and_not_places() -> None:
    assert match(("cat", "dog", "emu"), ("emu", "cat", "dog")) == (2, 0, 1)
    assert match(("cat", "dog"), ("cat", "dog")) is None
    assert match(("Great_White Shark", "CAT"), ("cat", "great white shark")) == (1, 0)
    assert match(("great white shark, white shark, man-eater", "tench, Tinca tinca"), ("n01440764", "n01484850")) == (
        1,
        0,
    )
    assert match(("n01484850", "n01440764"), ("tench", "great white shark")) == (1, 0)
    assert match(("Cardigan, Cardigan Welsh corgi", "cardigan"), ("n02963159", "n02113186")) == (1, 0)
    assert match(("projectile, missile", "missile"), ("n03773504", "n04008634")) == (1, 0)


def test_a_thousand_names_in_another_order() -> None:
    shuffled = np.random.default_rng(0).permutation(1000)
    labels = tuple(f"{list(classes().values())[k]}, another word {k}" for k in shuffled)
    order = match(labels, wnids())
    assert order is not None and [shuffled[k] for k in order] == list(range(1000))


def test_two_cranes_in_imagenets_own_order_only() -> None:
    labels = [("crane" if name == "crane bird" else name) for name in classes().values()]
    assert match(tuple(labels), wnids()) is None
    labels[0], labels[1] = labels[1], labels[0]
    with pytest.raises(SalientError, match="an output for class 134, 'n02012849'; got 2 outputs .* such as 'crane'"):
        match(tuple(labels), wnids())


def test_outputs_without_names_go_by_position_and_say_so() -> None:
    for network in (None, ("LABEL_0", "LABEL_1"), ("0", "1")):
        found = match_classes(network, 2, ("cat", "dog"), "x", "the store")
        assert found.order is None and "by position" in found.how and "0 cat, 1 dog" in found.how
    # Numbers that are names on both sides.
    assert match(("1", "0"), ("0", "1")) == (1, 0)


def test_what_cannot_be_matched_is_refused() -> None:
    with pytest.raises(SalientError, match="hf:x and the store differ in classes; expected 2 classes, as there; got 3"):
        match(("a", "b", "c"), ("a", "b"))
    with pytest.raises(SalientError, match="expected 2 classes, as there; got 7"):
        match(None, ("a", "b"), 7)
    with pytest.raises(
        SalientError, match="an output for class 1, 'dog'; got 1 outputs that fit no class, such as 'emu'"
    ):
        match(("emu", "cat"), ("cat", "dog"))
    with pytest.raises(SalientError, match="name classes differently"):
        match(("cat", "cat"), ("cat", "Cat"))
