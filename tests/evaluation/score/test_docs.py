"""The pages on rankings, groups and heads name options that there are, and the picture beside them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from salient_imagenet_data.cli import cli

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize(
    ("page", "commands"),
    [
        ("spuriosity.md", ["look", "evaluate", "groups", "build", "label", "apply", "look", "groups"]),
        ("label_errors.md", ["evaluate", "label-errors", "score", "groups", "build"]),
        ("mitigation.md", ["retrain-head", "finetune", "evaluate"]),
    ],
)
def test_the_pages_name_every_option_as_it_is(page: str, commands: list[str]) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```\n(.*?)```", text, flags=re.S)
    lines = [line.split() for block in blocks for line in block.splitlines() if line.startswith("salient-imagenet")]
    found = [line[1] for line in lines]
    assert found == commands or set(found) == set(commands) != set()
    for words in lines:
        known = {flag for p in cli.commands[words[1]].params for flag in (*p.opts, *p.secondary_opts)}
        assert {word for word in words if word.startswith("-")} <= known, words
    for picture in re.findall(r"\]\((\w+\.png)\)", text):
        assert (DOCS / picture).is_file()
