"""Kill each command at every one of its writes, before and after, and run it again: same bytes, nothing left.

    python benchmarks/kill_campaign.py [--commands build,export] [--most 100]

Then once more with the file that was written last emptied, as a power cut leaves one that was not synced. About 0.2
seconds a kill; the tests do the same with a few kills a command (`tests/test_killed_commands.py`).
"""

from __future__ import annotations

import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.kill_commands import commands
from tests.kills import campaign, child


@click.command()
@click.option("--commands", "names", default="", help="Names with commas between.  [default: all]")
@click.option("--most", type=int, help="Kills of each campaign, evenly spread.  [default: all]")
def main(names: str, most: int | None) -> None:
    """Print a line a campaign, and a line for each kill that ended otherwise."""
    total, wrong, began = 0, 0, time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        data.mkdir()
        code, text = child(partial(commands, data))
        if code:
            raise click.ClickException(text)
        for name, command in commands(data).items():
            if names and name not in names.split(","):
                continue
            for empty in (False, True):
                found = campaign(command, Path(scratch), empty=empty, most=most)
                total, wrong = total + found.kills, wrong + len(found.wrong)
                what = "emptied after" if empty else "before and after"
                click.echo(
                    f"{name:24} {what:16} {found.writes:4} writes {found.kills:4} kills "
                    f"{found.refused:3} refused by name {len(found.wrong):3} wrong"
                )
                for line in found.wrong:
                    click.echo(f"    {line}")
    click.echo(f"{total} kills, {wrong} wrong, {time.monotonic() - began:.0f} s")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
