"""Whatever stands in a store's manifest, its card keeps its shape and its YAML says it back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from huggingface_hub import DatasetCard
from markdown_it import MarkdownIt

from salient_imagenet_data.hub.card import code
from salient_imagenet_data.hub.export import export
from salient_imagenet_data.store.manifest import write_manifest
from salient_imagenet_data.store.reading import Store
from tests.hub.conftest import SMALL
from tests.hub.stores import make_store

NAMES = (
    "a|b: [c], {d} # e",
    "`x`\n---\nsplit: [",
    "<img src=x onerror=alert(1)>\n# Title",
    "yes",
    "null",
    "1e5",
    "'\"\\ ${repo} \u2028\x85\x07 é",
    "- x\n...\n&a *a !!python/none",
)
EVIL = "net | `a` ``b``\n---\n# Title\n\n<script>alert(1)</script> ${tag} [l](javascript:x) ![i](x)\n| a |\n| --- |"


def exported(folder: Path, **changes: object) -> Path:
    ids = [f"x/{i}" for i in range(8)]
    store = make_store(folder / "store", ids, list(range(8)), NAMES)
    write_manifest(store.path, dataclasses.replace(store.manifest, **changes))  # type: ignore[arg-type]
    return export(Store(store.path), folder / "out", config=SMALL)


def tokens(card: Path) -> list[Any]:
    """Of the card's Markdown, flat."""
    flat = []
    for token in MarkdownIt("commonmark").enable("table").parse(DatasetCard.load(card).text):
        flat += [token, *(token.children or [])]
    return flat


def test_values_of_strangers_are_code_in_the_card(tmp_path: Path) -> None:
    harmless = tokens(exported(tmp_path / "a") / "README.md")
    fields = ("architecture", "group_by", "weights_sha256", "annotations_sha256")
    changes = {**dict.fromkeys(fields, EVIL), "versions": {EVIL: EVIL}}
    hostile = tokens(exported(tmp_path / "b", **changes) / "README.md")
    said = " ".join(EVIL.split())
    spans = [t.content for t in hostile if t.type == "code_inline"]
    assert spans.count(said) == len(fields) and spans.count(f"{said} {said}") == 1
    kinds = [
        [t.type for t in card if t.type not in ("text", "code_inline", "softbreak")] for card in (harmless, hostile)
    ]
    assert kinds[0] == kinds[1] and not {"html_inline", "html_block", "link_open"} & set(kinds[1])


def test_class_names_come_back_from_the_yaml(tmp_path: Path) -> None:
    out = exported(tmp_path)
    head = (out / "README.md").read_text(encoding="utf-8").removeprefix("---\n").partition("\n---\n")[0]
    for info in yaml.safe_load(head)["dataset_info"]:
        (names,) = (f["dtype"]["class_label"]["names"] for f in info["features"] if f["name"] == "label")
        assert tuple(names[str(i)] for i in range(len(NAMES))) == NAMES
    table = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert tuple(table.features["label"].names) == NAMES
    assert json.loads((out / "croissant.json").read_text())["version"] == "1.0.0"


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("resnet50", "`resnet50`"),
        ("a\nb\t\x00c", "`a b c`"),
        ("a`b", "`` a`b ``"),
        ("``", "``` `` ```"),
        ("", "` nothing `"),
    ],
)
def test_code_spans(text: str, span: str) -> None:
    assert code(text) == span


def test_a_subset_of_imagenet_has_imagenets_terms(tmp_path: Path) -> None:
    text = {}
    for name, classes in (("some", ("n01440764", "n02102040")), ("none", ("tench", "spaniel"))):
        (tmp_path / name).mkdir()
        store = make_store(tmp_path / name / "store", ["a", "b"], [0, 1], classes)
        text[name] = (export(store, tmp_path / name / "out", config=SMALL) / "README.md").read_text()
    assert "ImageNet's images may not be redistributed" in text["some"]
    assert "may not be redistributed" not in text["none"] and "The images are not part" in text["none"]
