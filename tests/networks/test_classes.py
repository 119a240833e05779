"""Outputs of a network and classes of a store, matched by name."""

from __future__ import annotations

import numpy as np
import pytest

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.imagenet import classes, wnids
from salient_imagenet_data.networks.classes import ClassMap, in_words, match_classes, outputs_of


def match(network: tuple[str, ...] | None, store: tuple[str, ...], count: int | None = None) -> tuple[int, ...] | None:
    return match_classes(network, count, store, "hf:x", "the store").outputs


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
        assert found.outputs is None and found.by == "position" and "by position" in found.how
        assert "0 cat, 1 dog" in found.how
    # Numbers that are names on both sides.
    assert match(("1", "0"), ("0", "1")) == (1, 0)


def test_some_of_a_networks_classes_are_found_by_name() -> None:
    found = match_classes(("cat", "dog", "emu", "gnu"), None, ("emu", "cat"), "x", "the store")
    assert found == ClassMap(2, 4, (2, 0), "name", "by name, 2 of the network's 4 outputs: 2 emu, 0 cat")
    assert found.subset and found.order == (2, 0, 1, 3)
    first = match_classes(("cat", "dog", "emu"), None, ("cat", "dog"), "x", "the store")
    assert first.subset and first.outputs is None and first.order is None and first.of == 3
    told = {"spec": "x", "classes": found.to_json()}
    assert outputs_of(told, 2) == 4 and outputs_of({}, 2) == outputs_of(None, 2) == 2
    assert in_words(told) == {"spec": "x", "classes": found.how}


def test_imagenets_labels_with_alike_ones_among_them_are_read_as_a_whole() -> None:
    """Both cranes are called crane, in ImageNet's order: some of its classes have each its own output."""
    labels = tuple("crane" if name == "crane bird" else name for name in classes().values())
    assert labels.count("crane") == 2 and match(labels, ("n03126707", "n02012849", "tench")) == (517, 134, 0)


def test_outputs_without_names_are_imagenets_where_the_library_says_so() -> None:
    found = match_classes(None, 1000, ("n03028079", "n01440764"), "x", "the store", assumed=wnids())
    assert found.outputs == (497, 0) and found.by == "name"
    assert "2 of the network's 1000 outputs: 497 n03028079 church, 0 n01440764 tench" in found.how
    assert "its 1000 outputs taken for ImageNet's in their order, since the network names none" in found.how
    # A thousand classes of one's own are none of ImageNet's: as many, so in their order.
    own = tuple(f"mine {i}" for i in range(1000))
    assert match_classes(None, 1000, own, "x", "the store", assumed=wnids()).by == "position"
    with pytest.raises(SalientError, match="differ in classes, and the network names none"):
        match_classes(None, 1000, ("mine", "n01440764"), "x", "the store", assumed=wnids())
    with pytest.raises(SalientError, match="differ in classes, and the network names none"):
        match_classes(None, 999, ("n01440764",), "x", "the store", assumed=wnids())


def test_what_cannot_be_matched_is_refused() -> None:
    with pytest.raises(SalientError, match="hf:x and the store differ in classes; expected 3 .* or more; got 2"):
        match(("a", "b"), ("a", "b", "c"))
    with pytest.raises(SalientError, match="names none; expected names for its 7 outputs, or 2 .*--class-names FILE"):
        match(None, ("a", "b"), 7)
    with pytest.raises(SalientError, match="calls them LABEL_0, ...; expected names for its 3 outputs"):
        match(("LABEL_0", "LABEL_1", "LABEL_2"), ("a", "b"))
    with pytest.raises(SalientError, match="an output for class 1, 'dog'; got 2 outputs that fit no class"):
        match(("emu", "cat", "gnu"), ("cat", "dog"))
    with pytest.raises(
        SalientError, match="an output for class 1, 'dog'; got 1 outputs that fit no class, such as 'emu'"
    ):
        match(("emu", "cat"), ("cat", "dog"))
    with pytest.raises(SalientError, match="name classes differently"):
        match(("cat", "cat"), ("cat", "Cat"))
