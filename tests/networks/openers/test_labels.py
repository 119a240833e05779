"""Lists of class names, as people have them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.imagenet import wnids
from salient_imagenet_data.networks.openers.labels import read_labels


def test_texts_and_jsons_give_names_in_order(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(
        "\ufeffn01440764 tench, Tinca tinca\r\n\r\nn01443537 goldfish\r\n", encoding="utf-8"
    )
    assert read_labels(tmp_path / "a.txt") == ("n01440764 tench, Tinca tinca", "n01443537 goldfish")
    for found in (
        ["tench", "goldfish"],
        {"1": "goldfish", "0": "tench"},
        {"id2label": {"0": "tench", "1": "goldfish"}, "hidden_size": 3},
        {"0": ["tench", "other"], "1": ["goldfish", "other"]},
    ):
        (tmp_path / "a.json").write_text(json.dumps(found))
        assert read_labels(tmp_path / "a.json") == ("tench", "goldfish")
    assert read_labels("imagenet") == wnids()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n \n", "no class names; expected one a line"),
        ("{", "not JSON"),
        ('{"0": "a", "2": "b"}', "not a name for each output; expected 0 to 1; got 1"),
        ('["a", 3]', "a class without a name; expected text; got 3"),
        ('{"id2label": 3}', "not understood; expected a list of names; got int"),
    ],
)
def test_other_files_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "names").write_text(text)
    with pytest.raises(SalientError, match=message):
        read_labels(tmp_path / "names")
    with pytest.raises(SalientError, match="nowhere: no list of class names; .* or imagenet; got no such file"):
        read_labels("nowhere")
