"""What each command does where nothing else is said, and which numbers it takes: as its help shows them."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from salient_imagenet_data.cli import cli
from salient_imagenet_data.cli.mitigate import READ_BY
from salient_imagenet_data.evaluation.mitigation.heads.dfr import DFR
from salient_imagenet_data.evaluation.mitigation.heads.group_dro import GroupDRO
from salient_imagenet_data.evaluation.mitigation.heads.jtt import JTT
from salient_imagenet_data.evaluation.mitigation.heads.least_spurious import Spuriosity
from tests.cli.defaults import DEFAULTS, LISTED, NEEDED, OPEN, RANGES, REPEATED, SWITCHES


def options(command: str) -> dict[str, click.Option]:
    """Options by what is typed."""
    return {flag: p for p in cli.commands[command].params if isinstance(p, click.Option) for flag in p.opts}


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_without_an_option_a_command_takes_what_its_help_says(command: str) -> None:
    context = click.Context(cli.commands[command])
    usual = {flag: option.get_default(context) for flag, option in options(command).items()}
    said = {flag: value for flag, value in usual.items() if isinstance(value, (bool, int, float, str, tuple, Path))}
    assert {flag: value for flag, value in said.items() if value is not False and value != ()} == DEFAULTS.get(
        command, {}
    )


def test_what_the_help_says_of_a_method_is_what_the_method_takes() -> None:
    methods = {"spuriosity": Spuriosity(), "dfr": DFR(), "jtt": JTT(), "group-dro": GroupDRO()}
    given = {str(option.name): option for option in options("retrain-head").values()}
    for name, which in READ_BY.items():
        said = str(given[name].help).rpartition("[")[2].removesuffix("]").split("; default: ")
        assert tuple(said[0].split(", ")) == which
        for method, made in methods.items():
            assert hasattr(made, name) == (method in which)
            if method in which:
                usual = getattr(made, name)
                words = ",".join(f"{x:g}" for x in usual) if isinstance(usual, tuple) else usual
                assert said[1] == (f"{words:g}" if isinstance(words, float) else str(words)), (name, method)


@pytest.mark.parametrize("command", RANGES)
def test_numbers_that_mean_nothing_are_refused(command: str) -> None:
    context = click.Context(cli.commands[command])
    for flag, (first, last) in RANGES[command].items():
        kind = options(command)[flag].type
        least = 0.001 if (command, flag) in OPEN else first
        most = 100_000 if last is None else last
        assert [kind.convert(str(number), None, context) for number in (least, most)] == [least, most]
        for number in (least - 1, *(() if last is None else (last + 1,))):
            with pytest.raises(click.BadParameter):
                kind.convert(str(number), None, context)
        if (command, flag) in OPEN:
            with pytest.raises(click.BadParameter):
                kind.convert(str(first), None, context)


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_every_number_with_a_bound_every_switch_and_what_must_or_may_be_repeated_is_known(command: str) -> None:
    given = options(command).items()
    numbers = (click.IntRange, click.FloatRange)
    assert {flag for flag, option in given if isinstance(option.type, numbers)} == set(RANGES.get(command, ()))
    assert {flag for flag, option in given if option.required} == NEEDED.get(command, set())
    assert {flag for flag, option in given if option.multiple} == REPEATED.get(command, set())
    switches = {flag for flag, option in given if option.is_flag and not option.secondary_opts}
    assert switches == SWITCHES.get(command, set())
    arguments = [p for p in cli.commands[command].params if isinstance(p, click.Argument)]
    assert {p.name: (p.required, p.nargs) for p in arguments if not p.required or p.nargs != 1} == LISTED.get(
        command, {}
    )
