"""The table of agreement read again: what it says of each feature, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.numbers.estimates import Estimate
from salient_imagenet_data.evaluation.relevance.agreement import Agreement
from salient_imagenet_data.evaluation.relevance.table import JSON, TABLE, Flag, read_flags, table_of
from salient_imagenet_data.names import MANIFEST
from salient_imagenet_data.store.manifest import file_sha256
from salient_imagenet_data.store.reading import Store

NOTHING = Estimate(float("nan"), 0, float("nan"), float("nan"), 0)
LOW = "low: its relevance lies elsewhere, though nearer to its map than that of other units"


def estimate(value: float, n: int = 9) -> Estimate:
    return Estimate(value, n, value - 0.05, value + 0.05, 1)


def relevance_of(store: Store, folder: Path, **about: object) -> Path:
    """What `relevance --out` leaves of the store's first three features: low, alike to others', and of no image."""
    found = (
        Agreement(estimate(0.125), NOTHING, estimate(-0.0625), NOTHING, estimate(0.1875), NOTHING),
        Agreement(estimate(0.75), NOTHING, estimate(0.7188), NOTHING, estimate(0.0312), NOTHING),
        Agreement(*[NOTHING] * 6),
    )
    folder.mkdir(exist_ok=True)
    (folder / TABLE).write_text(table_of(zip(store.features, found, strict=False)))
    network = {"name": "net", "weights_sha256": store.manifest.weights_sha256}
    given = {"network": network, "store_sha256": file_sha256(store.path / MANIFEST), "notes": [], **about}
    (folder / JSON).write_text(json.dumps(given))
    return folder


def test_every_feature_has_what_was_found_of_it(store: Store, tmp_path: Path) -> None:
    folder = relevance_of(store, tmp_path / "r")
    found = read_flags(folder, store)
    assert [(f.class_index, f.feature_index) for f in store.features[:3]] == list(found.of)
    assert list(found.of.values()) == [
        Flag(9, 0.125, -0.0625, True, LOW),
        Flag(9, 0.75, 0.7188, False, "agrees, but so does the relevance of other units"),
        Flag(0, None, None, False, "too few images to tell: 0"),
    ]
    assert found.told(folder, store) == f"{folder}: relevance of 3 of 40 features, 1 with low agreement"
    later = read_flags(relevance_of(store, folder, store_sha256="0" * 64), store)
    assert later.of == found.of
    assert later.told(folder, store).endswith(", 1 with low agreement; the store's manifest was another then")


def _replaced(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return change


def _only_head(folder: Path) -> None:
    (folder / TABLE).write_text((folder / TABLE).read_text().splitlines()[0] + "\n")
    _replaced(JSON, '"notes": []', '"notes": ["the features are no units"]')(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / TABLE).unlink(), "agreement.csv: not a table of agreement; got"),
        (lambda folder: (folder / JSON).unlink(), "relevance.json: not what `relevance --out` writes; got"),
        (_replaced(JSON, '"notes"', '"remarks"'), "writes; expected network, store_sha256 and notes"),
        (_replaced(TABLE, "images,correlation", "pictures,correlation"), "a table of agreement; expected class_index,"),
        (_replaced(TABLE, ",9,0.1250,", ",9,a bit,"), "agreement.csv: line 2 is damaged"),
        (_replaced(TABLE, ",9,0.1250,", ",0.1250,"), "agreement.csv: line 2 is damaged"),
        (_replaced(TABLE, "bar,", "baz,"), "agreement.csv: line 2 is of no feature of "),
        (_replaced(JSON, '"name": "net", "weights', '"name": "net", "w'), "of another network than the one that "),
        (_only_head, "agreement.csv: no agreement in it; got the features are no units"),
    ],
)
def test_what_is_not_of_this_store_is_refused_in_one_line(
    store: Store, tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    folder = relevance_of(store, tmp_path / "r")
    change(folder)
    with pytest.raises(SalientError, match=re.escape(message)) as error:
        read_flags(folder, store)
    assert "\n" not in str(error.value)
