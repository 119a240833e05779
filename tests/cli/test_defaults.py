"""What each command does where nothing else is said, and which numbers it takes: as its help shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from salient_imagenet_data.cli import cli
from salient_imagenet_data.cli.mitigate import READ_BY
from salient_imagenet_data.evaluation.mitigation.heads.dfr import DFR
from salient_imagenet_data.evaluation.mitigation.heads.group_dro import GroupDRO
from salient_imagenet_data.evaluation.mitigation.heads.jtt import JTT
from salient_imagenet_data.evaluation.mitigation.heads.least_spurious import Spuriosity

DEFAULTS: dict[str, dict[str, Any]] = {
    "align": {"--fold": "1/1", "--saliency": "grad_cam", "--batch-size": 32, "--workers": 0},
    "apply": {"--majority": 3},
    "annotations": {"--majority": 3},
    "build": {
        "--split": "train",
        "--edition": "full",
        "--group-by": "prediction",
        "--top-features": 5,
        "--top-images": 65,
        "--majority": 3,
        "--data-version": "1.0.0",
        "--precision": "fp32",
        "--decoder": "pillow",
        "--stop-after": "maps",
        "--engine": "local",
    },
    "demo": {"--out": Path("demo")},
    "evaluate": {
        "--fold": "1/1",
        "--protocol": ("iclr2022",),
        "--sigma": "0.25",
        "--controls": True,
        "--trials": 1,
        "--frame": "model",
        "--top-k": 5,
        "--batch-size": 64,
        "--workers": 0,
        "--seed": 0,
    },
    "export": {"--repo": "ORG/NAME", "--workers": 1},
    "finetune": {
        "--loss": "energy",
        "--loss-weight": 10.0,
        "--annotated-fraction": 1.0,
        "--epochs": 1,
        "--batch-size": 32,
        "--learning-rate": 1e-4,
        "--weight-decay": 1e-4,
        "--flip": True,
        "--seed": 0,
        "--workers": 0,
    },
    "groups": {"--shown": "0.5"},
    "import-official": {
        "--grid": "7x7",
        "--majority": 3,
        "--resize": 256,
        "--crop": 224,
        "--feature-count": 2048,
        "--split": "train",
        "--data-version": "1.0.0",
    },
    "look": {"-n": 2, "--out": Path("look.png")},
    "name": {"-n": 5},
    "publish": {"--workers": 1},
    "retrain-head": {"--method": "spuriosity", "--batch-size": 64, "--seed": 0},
}
FIRST_AND_LAST: dict[str, dict[str, tuple[int, int | None]]] = {
    "align": {"--batch-size": (1, None), "--workers": (0, None)},
    "apply": {"--majority": (1, None)},
    "annotations": {"--majority": (1, None)},
    "build": dict.fromkeys(
        (
            "--resize",
            "--crop",
            "--top-features",
            "--top-images",
            "--majority",
            "--batch-size",
            "--workers",
            "--threads",
        ),
        (1, None),
    ),
    "evaluate": {"--trials": (1, 10), "--top-k": (0, None), "--batch-size": (1, None), "--workers": (0, None)},
    "export": {"--workers": (1, None)},
    "finetune": {
        "--loss-weight": (0, None),
        "--epochs": (1, None),
        "--batch-size": (1, None),
        "--weight-decay": (0, None),
        "--workers": (0, None),
        "--seed": (0, None),
    },
    "import-official": dict.fromkeys(("--majority", "--resize", "--crop", "--feature-count", "--workers"), (1, None)),
    "look": {"-n": (1, 50)},
    "publish": {"--workers": (1, None)},
    "retrain-head": {"--most": (1, None), "--batch-size": (1, None), "--workers": (0, None), "--seed": (0, None)},
}
NEEDED = {
    "align": {"--images"},
    "build": {"--images", "--weights", "--out"},
    "evaluate": {"--images"},
    "export": {"--out"},
    "finetune": {"--images", "--out"},
    "import-official": {"--out"},
    "localise": {"--boxes"},
    "look": {"--images"},
    "publish": {"--repo"},
    "retrain-head": {"--images", "--out"},
    "score": set(),
    "sheets": {"--images", "--out"},
}


def options(command: str) -> dict[str, click.Option]:
    """Options by what is typed."""
    return {flag: p for p in cli.commands[command].params if isinstance(p, click.Option) for flag in p.opts}


@pytest.mark.parametrize("command", DEFAULTS)
def test_without_an_option_a_command_takes_what_its_help_says(command: str) -> None:
    context = click.Context(cli.commands[command])
    found = {flag: options(command)[flag].get_default(context) for flag in DEFAULTS[command]}
    assert found == DEFAULTS[command]


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


@pytest.mark.parametrize("command", FIRST_AND_LAST)
def test_numbers_that_mean_nothing_are_refused(command: str) -> None:
    context = click.Context(cli.commands[command])
    for flag, (first, last) in FIRST_AND_LAST[command].items():
        kind = options(command)[flag].type
        assert kind.convert(str(first), None, context) == first
        with pytest.raises(click.BadParameter):
            kind.convert(str(first - 1), None, context)
        if last is None:
            assert kind.convert("100000", None, context) == 100_000
        else:
            assert kind.convert(str(last), None, context) == last
            with pytest.raises(click.BadParameter):
                kind.convert(str(last + 1), None, context)


@pytest.mark.parametrize("command", NEEDED)
def test_what_a_command_cannot_do_without_is_asked_for(command: str) -> None:
    assert {flag for flag, option in options(command).items() if option.required} == NEEDED[command]


def test_switches_are_off_until_they_are_given_and_take_no_value() -> None:
    for name in ("align", "build", "evaluate", "export", "import-official", "look", "publish", "retrain-head", "score"):
        switches = [p for p in options(name).values() if p.help and "--no-" not in str(p.secondary_opts) and p.is_flag]
        on = {"--controls", "--flip"}
        assert switches and not any(
            p.get_default(click.Context(cli.commands[name])) for p in switches if p.opts[0] not in on
        )
    for name, flags in {
        "build": ("--trust-annotations", "--compile", "--resume", "--overwrite", "--verbose"),
        "evaluate": ("--single-features", "--boxes", "--overwrite", "--skip-missing", "--json", "--verbose"),
        "annotations": ("--json",),
        "compare": ("--json",),
        "demo": ("--json", "--overwrite"),
        "export": ("--redistribute", "--overwrite"),
        "finetune": ("--overwrite", "--skip-missing"),
        "info": ("--json",),
        "localise": ("--json",),
        "groups": ("--overwrite", "--json"),
        "look": ("--overwrite", "--most-spurious", "--least-spurious"),
        "score": ("--json",),
        "import-official": ("--skip-broken", "--resume", "--overwrite"),
        "publish": ("--private", "--gated", "--redistribute", "--overwrite"),
        "retrain-head": ("--overwrite", "--skip-missing"),
    }.items():
        assert all(options(name)[flag].is_flag for flag in flags), name
    for name, flags in {
        "evaluate": ("--model", "--weights", "--name", "--protocol", "--corruption"),
        "look": ("--class",),
    }.items():
        assert all(options(name)[flag].multiple for flag in flags), name
