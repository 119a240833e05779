"""What answers make of a store's features, and which answers are refused."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from salient_imagenet_data.annotation.answers import Answer
from salient_imagenet_data.annotation.applying import annotate, place_to_annotate, with_verdicts
from salient_imagenet_data.annotation.verdicts import Annotations, Verdict
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.store.features import Feature
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.table.configs import OF_STORE

NAMES = ("bar", "deer", "whale", "frog")
FEATURES = (Feature(0, "bar", 17, 1), Feature(0, "bar", 9, 2), Feature(2, "whale", 17, 1))


def verdict(class_index: int, feature_index: int, name: str = "") -> Verdict:
    return Verdict(class_index, name, feature_index, 1, "spurious", "background", 1, 1, 3, ("dark",))


def test_features_get_what_the_verdicts_say_and_lose_what_nobody_says_any_more() -> None:
    earlier = dataclasses.replace(FEATURES[1], kind="core", votes_main_object=5, reasons=("old",))
    found = with_verdicts((FEATURES[0], earlier, FEATURES[2]), [verdict(0, 17, "bar"), verdict(2, 17)], NAMES)
    told = {"kind": "spurious", "cue": "background", "votes_main_object": 1, "votes_separate_object": 1}
    told |= {"votes_background": 3, "reasons": ("dark",)}
    assert found == (dataclasses.replace(FEATURES[0], **told), FEATURES[1], dataclasses.replace(FEATURES[2], **told))


def test_verdicts_of_a_class_without_features_are_left_aside() -> None:
    assert with_verdicts(FEATURES, [verdict(1, 5, "deer"), verdict(3, 5)], NAMES) == FEATURES


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (verdict(4, 17), "annotations name class 4; expected 0 to 3"),
        (verdict(5, 17), "annotations name class 5; expected 0 to 3"),
        (
            verdict(0, 17, "barn"),
            "annotations call class 0 'barn'; expected 'bar'; check that they belong to this data set",
        ),
        (verdict(0, 17, "a"), "annotations call class 0 'a'; expected 'bar'; check that they belong to this data set"),
        (
            verdict(0, 5),
            "annotations name feature 5 for class 0 (bar); expected one of [9, 17]; were they made for another model?",
        ),
        (
            verdict(2, 9, "whale"),
            "annotations name feature 9 for class 2 (whale); expected one of [17]; were they made for another model?",
        ),
    ],
)
def test_answers_that_do_not_fit_are_refused(given: Verdict, message: str) -> None:
    with pytest.raises(SalientError) as caught:
        with_verdicts(FEATURES, [verdict(0, 17), given], NAMES)
    assert str(caught.value) == message


def test_an_export_is_refused_also_by_the_store_in_it_and_a_folder_around_a_store_by_its_name(
    bare_store: Store, tmp_path: Path
) -> None:
    store = Path(shutil.copytree(bare_store.path, tmp_path / "out" / "store"))
    with pytest.raises(SalientError) as caught:
        place_to_annotate(store.parent)
    folder = f"{store.parent}: a folder with a store in it; expected the store itself; give {store}"
    assert str(caught.value) == folder and place_to_annotate(store).path == store
    for file in [store.parent / "README.md", *(store.parent / name / "a.parquet" for name in OF_STORE)]:
        assert place_to_annotate(store).path == store
        file.parent.mkdir(exist_ok=True)
        file.touch()
    for place in (store, store.parent, str(store)):
        with pytest.raises(SalientError, match=f"{place}: not a store but an export of one; expected the store itself"):
            place_to_annotate(place)


def answers(store: Store, count: int = 4) -> Annotations:
    rows = [
        Answer(f"p{n}", f.class_name, f.class_index, f.feature_index, f.rank, "background", None, "")
        for f in store.features[:1]
        for n in range(count)
    ]
    return Annotations(tuple(rows), "b" * 64)


def test_a_store_keeps_its_version_unless_a_new_one_is_given_and_records_the_answers(
    bare_store: Store, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(bare_store.path, tmp_path / "store"))
    found = annotate(copy, answers(bare_store))
    assert [f.kind for f in found.features[:2]] == ["spurious", None]
    manifest = found.manifest
    assert (manifest.data_version, manifest.majority, manifest.annotations_sha256) == ("1.0.0", 3, "b" * 64)
    found = annotate(copy, answers(bare_store, 5), majority=5, data_version="1.2.0")
    assert (found.manifest.data_version, found.manifest.majority) == ("1.2.0", 5)
    with pytest.raises(SalientError, match="have too few answers; expected 5 that agree .*; got 4; collect more"):
        annotate(copy, answers(bare_store), majority=5)
    assert Store(copy).manifest == found.manifest
    with pytest.raises(SalientError, match="nowhere"):
        annotate(tmp_path / "nowhere", answers(bare_store))
