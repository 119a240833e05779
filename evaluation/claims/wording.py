"""What a method says in words, beside the words of the people who answered. A table for people to judge: words that are
spelled alike are marked, and nothing else is made of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from salient_imagenet_data.evaluation.claims.reading import Claim
from salient_imagenet_data.names import SPURIOUS
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.store.words.short_names import words_of


@dataclass(frozen=True)
class FeatureInWords:
    """A spurious feature of a class with claims in words. claims: all of the class. alike: content words, singular,
    that its reasons share with them. elsewhere: share of the other classes whose claims share one; None where there is
    none."""

    class_name: str
    feature_index: int
    rank: int
    name: str | None
    reasons: tuple[str, ...]
    claims: tuple[str, ...]
    alike: tuple[str, ...]
    elsewhere: float | None


@dataclass(frozen=True)
class InWords:
    """features: with reasons, of classes with claims in words. without_reasons: spurious features of these classes that
    have none, left out. alike: how many features share a word with a claim of their class. elsewhere: how many would
    with another class's claims, on average; None where there is no other class."""

    features: tuple[FeatureInWords, ...]
    without_reasons: int
    alike: int
    elsewhere: float | None


def in_words(store: Store, by_label: Mapping[int, Sequence[Claim]]) -> InWords:
    """The table. by_label: claims by class index."""
    said = {label: tuple(c.words for c in claims if c.words) for label, claims in sorted(by_label.items())}
    said = {label: words for label, words in said.items() if words}
    words_said = {label: frozenset(words_of(words)) for label, words in said.items()}
    saying = defaultdict[str, set[int]](set)  # classes, by word: not every feature is held against every class
    for label, words in words_said.items():
        for word in words:
            saying[word].add(label)
    rows, without = [], 0
    for f in store.features:
        if f.kind != SPURIOUS or f.class_index not in said:
            continue
        if not f.reasons:
            without += 1
            continue
        reasons, others = words_of(f.reasons), len(said) - 1
        sharing = set[int]().union(*(saying.get(word, ()) for word in reasons)) - {f.class_index}
        rows.append(
            FeatureInWords(
                f.class_name,
                f.feature_index,
                f.rank,
                f.name,
                f.reasons,
                said[f.class_index],
                tuple(word for word in reasons if word in words_said[f.class_index]),
                len(sharing) / others if others else None,
            )
        )
    chances = [row.elsewhere for row in rows if row.elsewhere is not None]
    return InWords(tuple(rows), without, sum(bool(row.alike) for row in rows), sum(chances) if chances else None)
