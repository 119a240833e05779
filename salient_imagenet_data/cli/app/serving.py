"""The options of commands that serve pages."""

from __future__ import annotations

import click

from salient_imagenet_data.cli.commands import options

serving_options = options(
    [
        click.option("--host", default="127.0.0.1", help="Where to listen; beyond this machine only with --token."),
        click.option("--port", type=click.IntRange(0, 65535), default=8765, help="0: any that is free."),
        click.option("--token", help="What an address must hold for the pages to open."),
        click.option("--no-browser", is_flag=True, help="Do not open the page."),
    ]
)
"""--host, --port, --token and --no-browser."""
