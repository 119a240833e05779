"""The page of the docs names options that there are, and the picture beside it."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from salient_imagenet_data.cli import cli
from salient_imagenet_data.folds import Fold
from tests.conftest import Run, make_store

DOCS = Path(__file__).parents[3] / "docs"


def test_the_page_names_every_option_as_it_is() -> None:
    text = (DOCS / "overinterpretation.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```\n(.*?)```", text, flags=re.S)
    lines = [line.split() for block in blocks for line in block.splitlines() if line.startswith("salient-imagenet")]
    assert [line[1] for line in lines] == ["sis", "sis-retrain"]
    for words in lines:
        known = {flag for p in cli.commands[words[1]].params for flag in (*p.opts, *p.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= known
    for picture in re.findall(r"\]\((\w+\.png)\)", text):
        assert (DOCS / picture).is_file()


def test_the_commands_of_the_page_run_one_after_the_other_as_they_stand(
    images: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    """On 10 images that are all in its fold 1/50."""
    text = (DOCS / "overinterpretation.md").read_text(encoding="utf-8")
    demo = tmp_path / "demo"
    numbers = iter(range(100_000))
    for path in sorted(images.glob("*/*"))[::4]:
        folder = path.parent.name
        name = next(f"{n}" for n in numbers if Fold(1, 50).holds([f"{folder}/{n}"])[0])
        (demo / "images" / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, demo / "images" / folder / f"{name}{path.suffix}")
    make_store(demo / "images", weights, demo / "store")
    for name in ("standard", "robust"):
        shutil.copy(weights, demo / f"{name}.safetensors")
    monkeypatch.chdir(tmp_path)
    for words in re.findall(r"^salient-imagenet (sis.*)$", text, flags=re.M):
        code, out, err = run(*shlex.split(words))
        assert code == 0 and out, err
    assert "trained on border" in out
