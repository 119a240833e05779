"""The page of the docs: its example runs, its command and picture are there, and its table is as the command prints it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from salient_imagenet_data.cli import cli
from salient_imagenet_data.evaluation.certificates.figures import WORDS
from salient_imagenet_data.store.reading import Store

DOCS = Path(__file__).parents[3] / "docs"
TEXT = (DOCS / "certificates.md").read_text(encoding="utf-8")


def test_the_example_runs(
    store: Store, images: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (text,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "demo").mkdir()
    for name, place in (("store", store.path), ("images", images), ("standard.safetensors", weights)):
        (tmp_path / "demo" / name).symlink_to(place)
    monkeypatch.chdir(tmp_path)
    exec(compile(text, "certificates.md", "exec"), {})


def test_the_command_has_the_options_that_the_page_names() -> None:
    lines = [line for line in TEXT.splitlines() if line.startswith("salient-imagenet certify")]
    known = {flag for p in cli.commands["certify"].params for flag in (*p.opts, *p.secondary_opts)}
    assert len(lines) == 2 and {w for line in lines for w in line.split() if w.startswith("--")} <= known
    assert set(re.findall(r"`(--[a-z-]+)", TEXT)) <= known and {"--alpha", "--grid"} <= known
    assert all((DOCS / picture).is_file() for picture in re.findall(r"\]\((\w+\.png)\)", TEXT))
    assert all(TEXT.count(f"    {words} ") >= 4 for words in WORDS.values())
