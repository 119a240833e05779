"""What a search finds, against a search by hand."""

from __future__ import annotations

import pytest

from salient_imagenet_data.app.explore.finding import Query, find, query_of
from salient_imagenet_data.app.explore.library import Library
from salient_imagenet_data.app.explore.opening import open_library
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.store.reading import Store


def pairs(library: Library, query: Query) -> list[tuple[int, int]]:
    return [(f.class_index, f.rank) for f in find(library, query)]


def test_every_word_must_occur_in_class_cue_or_reasons(library: Library) -> None:
    everything = [(f.class_index, f.rank) for f in library.store.features]
    assert pairs(library, Query()) == everything == pairs(library, Query("because THIS"))
    disk = library.names.index("disk")
    assert pairs(library, Query("disk")) == [(disk, rank) for rank in (1, 2, 3, 4)]
    by_hand = [
        (f.class_index, f.rank)
        for f in library.store.features
        if f.cue == "background" and "because, of this" in f.reasons
    ]
    assert pairs(library, Query("because background")) == by_hand and by_hand
    assert pairs(library, Query("disk unicorn")) == []
    spurious = [(f.class_index, f.rank) for f in library.features[disk] if f.kind == "spurious"]
    assert pairs(library, Query("SPURIOUS disk")) == spurious and spurious


def test_kind_and_cue_narrow(library: Library) -> None:
    def where(kind: str | None, cue: str = "") -> list[tuple[int, int]]:
        some = [f for f in library.store.features if f.kind == kind and (not cue or f.cue == cue)]
        return [(f.class_index, f.rank) for f in some]

    for kind in ("core", "spurious"):
        assert pairs(library, Query(kind=kind)) == where(kind) and where(kind)
    assert pairs(library, Query(kind="spurious", cue="separate_object")) == where("spurious", "separate_object")
    assert pairs(library, Query(kind="open")) == []
    assert pairs(library, Query(kind="core", cue="background")) == []


def test_without_answers_all_are_open(bare_store: Store) -> None:
    library = open_library(bare_store)
    assert len(find(library, Query(kind="open"))) == len(bare_store.features) == 40


def test_classes_that_are_called_so_come_first(hostile: Store) -> None:
    library = open_library(hostile)
    assert {f.class_index for f in find(library, Query("grass"))} == {0, 1, 2, 3}
    found = find(library, Query("i"))  # in every reason, and in the names of two classes
    assert [f.class_index for f in found] == [0] * 5 + [2] * 5 + [1] * 5 + [3] * 5


def test_what_is_no_query() -> None:
    assert query_of("  a   b ", "core", "") == Query("a b", "core")
    for given, told in (
        (("x" * 201, "", ""), "at most 200"),
        (("", "god", ""), "no such kind"),
        (("", "", "x"), "cue"),
    ):
        with pytest.raises(SalientError, match=told):
            query_of(*given)
