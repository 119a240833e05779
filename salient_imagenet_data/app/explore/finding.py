"""Finding features by class, kind, cue and what people wrote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from salient_imagenet_data.app.explore.library import Library
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.names import CUES, Kind
from salient_imagenet_data.store.features import Feature

OPEN = "open"
KIND_CHOICES: dict[str, str] = {"": "any", **{kind: kind for kind in get_args(Kind)}, OPEN: "without answers"}
CUE_CHOICES: dict[str, str] = {"": "any", **{cue: cue.replace("_", " ") for cue in CUES}}
"""What may be chosen, and in words."""
LONGEST = 200
"""Characters of a query."""


@dataclass(frozen=True)
class Query:
    """Words that must all occur, each anywhere in a feature's class, kind, cue or reasons; and what it must be."""

    words: str = ""
    kind: str = ""
    cue: str = ""

    @property
    def asks(self) -> bool:
        """Whether it leaves anything out."""
        return bool(self.words or self.kind or self.cue)


def query_of(words: str, kind: str, cue: str) -> Query:
    """A query of what somebody typed and chose. Raises SalientError for what cannot be."""
    words = " ".join(words.split())
    if len(words) > LONGEST:
        raise SalientError("the search is too long", expected=f"at most {LONGEST} characters", got=str(len(words)))
    if kind not in KIND_CHOICES or cue not in CUE_CHOICES:
        raise SalientError(
            "no such kind or cue",
            expected=", ".join([*KIND_CHOICES, *CUE_CHOICES]).strip(", "),
            got=repr(f"{kind} {cue}"[:80]),
        )
    return Query(words, kind, cue)


def find(library: Library, query: Query) -> list[Feature]:
    """Features that a query asks for, by class and rank; those first whose class is called so."""
    wanted = query.words.casefold().split()
    found: list[tuple[bool, Feature]] = []
    for index, features in library.features.items():
        name = f"{library.names[index]} {library.store.class_names[index]}".casefold()
        for feature in features:
            cue = (feature.cue or "").replace("_", " ")
            text = " ".join((name, feature.kind or "", cue, *feature.reasons)).casefold()
            if all(word in text for word in wanted) and _is(feature, query):
                found.append((not all(word in name for word in wanted), feature))
    return [feature for _, feature in sorted(found, key=lambda pair: (pair[0], pair[1].class_index, pair[1].rank))]


def _is(feature: Feature, query: Query) -> bool:
    kind = feature.kind or OPEN
    return query.kind in ("", kind) and query.cue in ("", feature.cue)
