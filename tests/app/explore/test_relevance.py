"""Agreement of maps and relevance on the pages: beside each feature that it was measured of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from salient_imagenet_data.app.explore.library import Library
from salient_imagenet_data.app.explore.opening import open_library
from salient_imagenet_data.evaluation.relevance.table import read_flags
from salient_imagenet_data.store.reading import Store
from tests.app.conftest import Client
from tests.evaluation.relevance.test_table import LOW, relevance_of


def test_a_feature_s_flag_stands_beside_it(
    store: Store, tmp_path: Path, open_client: Callable[[Library], Client]
) -> None:
    client = open_client(open_library(store, flags=read_flags(relevance_of(store, tmp_path / "r"), store)))
    low, alike, none, without = (f"/feature/{f.class_index}/{f.feature_index}" for f in store.features[:4])
    said = {address: client.get(address).text.replace("&#39;", "'") for address in (low, alike, none, without)}
    flag = f'rank correlation of map and relevance 0.12 (others\' -0.06), <b class="wrong">{LOW}</b></p>'
    assert flag in said[low]
    assert "relevance 0.75 (others' 0.72), agrees, but so does the relevance of other units</p>" in said[alike]
    assert " · too few images to tell: 0</p>" in said[none]
    assert "relevance" not in said[without]
    page = client.get(f"/class/{store.features[0].class_index}").text.replace("&#39;", "'")
    assert page.count(flag) == 1 and page.count("rank correlation of map and relevance") == 2
