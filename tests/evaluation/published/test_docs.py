"""The page on models beside each other names options that there are."""

from __future__ import annotations

import re
from pathlib import Path

from salient_imagenet_data.cli import cli

DOCS = Path(__file__).parents[3] / "docs"


def test_the_page_names_every_option_as_it_is() -> None:
    text = (DOCS / "models.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```\n(.*?)```", text, flags=re.S)
    lines = [line.split() for block in blocks for line in block.splitlines() if line.startswith("salient-imagenet")]
    assert {line[1] for line in lines} == {"leaderboard", "overlap"}
    for words in lines:
        known = {flag for p in cli.commands[words[1]].params for flag in (*p.opts, *p.secondary_opts)}
        assert {word for word in words if word.startswith("-")} <= known, words
    for picture in re.findall(r"\]\(([\w.]+\.svg)\)", text):
        assert (DOCS / picture).is_file()
