"""What commands that open networks say of them, by value: of every network one line where its outputs are others."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from salient_imagenet_data.cli.commands import in_json
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run

NETWORKS = """
import torch
from torch import nn
def one(seed=1):
    torch.manual_seed(seed)
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 12))
def two():
    return one(2)
"""


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch, store: Store, images: Path, tmp_path: Path) -> Iterator[list[object]]:
    """What a command is given to run two networks of twelve outputs, of which ten are the store's classes."""
    (tmp_path / "told_networks.py").write_text(NETWORKS)
    (tmp_path / "names.txt").write_text("\n".join(["moon", *store.class_names, "sun"]))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield ["--images", images, "--class-names", tmp_path / "names.txt", "--model", "told_networks:one"]
    sys.modules.pop("told_networks", None)


MATCHED = "classes by name, 10 of the network's 12 outputs: 1 bar, 2 bowtie, 3 crescent, ..., 10 triangle"


@pytest.mark.parametrize("command", ["align", "certify", "spurious-score", "retrain-head"])
def test_how_outputs_were_matched_is_told(
    command: str, given: list[object], images: Path, store: Store, tmp_path: Path, run: Run
) -> None:
    first = [] if command == "spurious-score" else [store.path]
    more = {
        "align": ["--saliency", "input_x_gradient", "--model", "told_networks:two"],
        "certify": ["--steps", 0, "--model", "told_networks:two", "--picture", tmp_path / "sheet.png"],
        "spurious-score": ["--spurious", images, "--model", "told_networks:two"],
        "retrain-head": ["--out", tmp_path / "head.safetensors"],
    }[command]
    code, out, err = run(command, *first, *given, *more)
    networks = ["one"] if command == "retrain-head" else ["one", "two"]
    assert code == 0
    unsaid = "does not say how it wants images (attribute `preprocessing`): shorter side resized to 256 (bilinear), "
    unsaid += "central 224 x 224"  # where there is no store whose crop it could be
    lines = [MATCHED, unsaid] if command == "spurious-score" else [MATCHED]
    assert [line for line in err.splitlines() if "told_networks" in line] == [
        f"told_networks:{name}: {line}" for name in networks for line in lines
    ]
    if command == "certify":
        tables = out.split("\n\n")
        assert [table.partition(": 40 images")[0] for table in tables if ": 40 images" in table] == [
            "told_networks:one",
            "told_networks:two",
        ]
        assert err.count("sheet.png") == 1  # of the first alone


def test_json_stands_in_lines_that_a_person_can_read() -> None:
    value = {"a": [1, 0.5], "\u00e9": {"b": None}}
    assert in_json(value) == '{\n  "a": [\n    1,\n    0.5\n  ],\n  "\\u00e9": {\n    "b": null\n  }\n}'
    assert json.loads(in_json(value)) == value
