"""Names made of reasons: which words count, how often, and in what form."""

from __future__ import annotations

import pytest

from salient_imagenet_data.store.features import Feature
from salient_imagenet_data.store.words.short_names import content_words, short_name, singular, words_of


@pytest.mark.parametrize(
    ("reasons", "name"),
    [
        (["body of the fish"], "body, fish"),
        (["It is the sky.", "Blue sky above", "clouds", "the sky", "some SKIES"], "sky"),
        (["grass", "green grass", "green field", "a green lawn", "trees"], "green, grass"),
        (["snow", "ice", "frost", "rime"], "snow, ice, frost"),  # nobody says the same: the first ones
        (["tree", "trees", "trees"], "trees"),  # one word, as it is written most often
        (["water water water", "sand", "sand"], "sand"),  # each word once a person
        (["grass, not the dog", "no dog here, only grass"], "grass"),
        (["it isn't a fence but grass"], "grass"),
        (["the angler's arms"], "angler, arms"),
        (["a black-and-white coat"], "black-and-white, coat"),
        (["Wiese, Bäume und Straße"], "wiese, bäume, und"),  # another language keeps its small words
        (["the background, in all images"], None),
        (["", "  ", "1234 !?"], None),
        ([], None),
        (["x" * 500], "x" * 29 + "…"),
        (["<b>bold</b>"], "bold"),
    ],
)
def test_a_name_is_the_most_frequent_content_words(reasons: list[str], name: str | None) -> None:
    assert short_name(reasons) == name
    assert Feature(0, "tench", 3, 1, reasons=tuple(reasons)).name == name


def test_content_words_stand_in_their_order_without_what_says_nothing() -> None:
    assert content_words("The box, with three round knobs; except the lid, and a cord (black)") == [
        *("box", "three", "knobs", "cord", "black")
    ]
    assert content_words("rather than the dog: grass") == ["grass"]


@pytest.mark.parametrize(
    ("word", "one"),
    [
        *(("trees", "tree"), ("branches", "branch"), ("boxes", "box"), ("skies", "sky"), ("glasses", "glass")),
        *(("grass", "grass"), ("bus", "bus"), ("gas", "gas"), ("iris", "iris"), ("ties", "tie")),
    ],
)
def test_plurals_count_as_their_singular(word: str, one: str) -> None:
    assert singular(word) == one


def test_words_of_texts_are_singular_each_once_in_their_order() -> None:
    assert words_of(["trees and green grass", "one tree, a lawn"]) == ("tree", "green", "grass", "lawn")
    assert words_of([]) == ()
