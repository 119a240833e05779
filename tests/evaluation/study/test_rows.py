"""A row is of one network: another one under the same name does not find its rows."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.study.methods import methods_of, treatments_of
from salient_imagenet_data.evaluation.study.own import StoreOpening
from salient_imagenet_data.evaluation.study.plan import Plan
from salient_imagenet_data.evaluation.study.rows import Row, claim, path_of, read_row, write_row
from salient_imagenet_data.evaluation.study.run import study
from salient_imagenet_data.networks.opening import open_networks
from salient_imagenet_data.store.reading import Store


def test_rows_of_another_network_of_the_same_name_are_refused(
    store: Store, images: Path, weights: Path, tmp_path: Path
) -> None:
    opening, plan, before = (
        StoreOpening(str(store.path), str(images), weights=(str(weights),)),
        Plan(),
        methods_of(["before"]),
    )
    (name,), (opener,) = zip(*open_networks(store, weights=[str(weights)]).items(), strict=True)
    (treatment,) = treatments_of(before, plan)
    claim(tmp_path, {"plan": asdict(plan), **opening.about})
    path, row = path_of(tmp_path, name, treatment), Row(name, "before", 0.0, "f" * 64, measures={"clean": 0.5})
    write_row(path, row)
    assert read_row(path) == row
    mine = str(opener().details["network_sha256"])
    with pytest.raises(
        SalientError, match=f"of another network called {name}; expected {mine[:12]}; got ffffffffffff;"
    ):
        study(opening, tmp_path, before, plan)
    write_row(path, replace(row, network=mine))
    assert study(opening, tmp_path, before, plan) == [replace(row, network=mine)]
    data = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in data.items() if key != "network"}))
    with pytest.raises(SalientError, match="got none; choose another --name or --out"):
        study(opening, tmp_path, before, plan)


def test_names_that_would_be_one_file_are_refused(store: Store, images: Path, weights: Path, tmp_path: Path) -> None:
    two = StoreOpening(str(store.path), str(images), weights=(str(weights),) * 2, names=("Net one", "net-one"))
    with pytest.raises(SalientError, match="names that differ in letters or digits; got Net one, net-one; give each"):
        study(two, tmp_path, methods_of(["before"]), Plan())
