"""The command line. Each command imports what it needs when it runs, so that `--help` stays quick."""

from __future__ import annotations

import io
import sys

import click

from salient_imagenet_data.cli import (  # noqa: F401 - they register their commands
    build,
    evaluate,
    hub,
    localise,
    look,
    mitigate,
    official,
    sufficiency,
    train,
)
from salient_imagenet_data.cli.app import explore, label  # noqa: F401
from salient_imagenet_data.cli.commands import cli
from salient_imagenet_data.cli.labels import label_errors  # noqa: F401
from salient_imagenet_data.cli.together import leaderboard, overlap, spurious_score, study  # noqa: F401
from salient_imagenet_data.errors import EXTRAS, SalientError, not_installed

WRITES = ("--out", "--static", "--space")
"""Options that say where all that a command writes shall be."""


def main() -> None:
    """Entry point: mistakes in the input end in one line on stderr and exit status 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names that the locale cannot write become \\xNN
            stream.reconfigure(errors="backslashreplace")
    try:
        status = cli.main(standalone_mode=False, prog_name="salient-imagenet")
    except SalientError as error:
        click.echo(f"Error: {_as_called_here(str(error), sys.argv[1:])}", err=True)
        sys.exit(2)
    except click.UsageError as error:
        if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # of click 8.2 and later
            error.show()
        else:
            where = error.ctx.command_path if error.ctx else "salient-imagenet"
            click.echo(f"Error: {' '.join(error.format_message().split()).rstrip('.')}; see `{where} -h`", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo(f"Stopped.{_going_on(sys.argv[1:])}", err=True)
        sys.exit(130)
    except OSError as error:
        click.echo(f"Error: {error.filename or _place(sys.argv[1:])}: {error.strerror or error}", err=True)
        sys.exit(2)
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):  # torch's words for one that was killed
            raise
        got = str(error).splitlines()[0].rstrip(".")
        why = "is memory short, or shared memory? Fewer --workers or --threads take less of both"
        click.echo(f"Error: a process that reads images died; got {got}; {why}", err=True)
        sys.exit(2)
    except UnicodeEncodeError as error:
        if not any("\ud800" <= letter <= "\udfff" for letter in error.object):
            raise
        click.echo(f"Error: {error.object}: a name that is no UTF-8, which some libraries refuse; rename it", err=True)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        click.echo(f"Error: {not_installed(error.name)}", err=True)
        sys.exit(2)
    sys.exit(status if isinstance(status, int) else 0)


def _command(arguments: list[str]) -> tuple[str, list[click.Option]]:
    """The command that was asked for, and its options; those of the group of all where there is none."""
    command = cli.commands.get(arguments[0] if arguments else "", cli)
    return command.name or "", [option for option in command.params if isinstance(option, click.Option)]


def _as_called_here(message: str, arguments: list[str]) -> str:
    """What a message says to do, with the option that does it, or without where the command has none."""
    skips = any("--skip-missing" in option.opts for option in _command(arguments)[1])
    return message.replace('missing="skip"', "--skip-missing") if skips else message.replace(', or missing="skip"', "")


def _going_on(arguments: list[str]) -> str:
    """How a command that was stopped goes on, where it can: train keeps its epochs with --from only."""
    name, options = _command(arguments)
    given = {argument.partition("=")[0] for argument in arguments}
    if any("--resume" in option.opts for option in options) and (name != "train" or "--from" in given):
        return " Run the same command with --resume to go on."
    if any("the same command goes on" in (option.help or "") and given & {*option.opts} for option in options):
        return " Run the same command again to go on."
    return ""


def _place(arguments: list[str]) -> str:
    """Where a command was at work, for trouble that names no file: what it writes, else what it was given first."""
    for before, value in zip(["", *arguments], [*arguments, ""], strict=True):
        if before in WRITES:
            return value
        if value.startswith(tuple(f"{option}=" for option in WRITES)):
            return value.partition("=")[2]
    return next((a for a in arguments[1:] if not a.startswith("-")), " ".join(arguments[:1]))


__all__ = ["cli", "main"]
