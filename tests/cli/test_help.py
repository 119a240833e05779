"""Every option of every command says what it is."""

from __future__ import annotations

import click
import pytest

from salient_imagenet_data.cli import cli


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_every_option_has_words_that_end(command: str) -> None:
    for option in cli.commands[command].params:
        if isinstance(option, click.Option):
            text = (option.help or "").partition("  [default")[0]
            assert len(text) > 8 and text.endswith((".", "]")), f"{option.opts[0]}: {text!r}"
