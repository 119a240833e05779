"""What docs/study.md says of the command, of Python and of the measures is so."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from salient_imagenet_data.cli import cli
from salient_imagenet_data.demo.study import QUICK, Counts
from salient_imagenet_data.evaluation.study.measures import REGISTERED
from salient_imagenet_data.evaluation.study.methods import FAMILIES, NAMES
from salient_imagenet_data.evaluation.study.plan import Plan

PAGE = (Path(__file__).parents[3] / "docs" / "study.md").read_text(encoding="utf-8")


def test_the_options_of_the_page_are_options_of_the_command() -> None:
    known = {flag for option in cli.commands["study"].params for flag in option.opts}
    typed = [block for block in re.findall(r"```\n(.*?)```", PAGE, re.DOTALL) if "salient-imagenet study" in block]
    said = {flag for block in typed for line in block.split("python ")[:1] for flag in re.findall(r"--[a-z-]+", line)}
    assert said >= {"--out", "--train-fold", "--methods", "--name"} and said <= known
    for names in re.findall(r"--methods ([a-z,]+)", PAGE):
        assert set(names.split(",")) <= {*NAMES, *FAMILIES}


def test_the_names_that_the_page_imports_are_there() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    found = re.findall(r"from (salient_imagenet_data\S+) import (.+)", block)
    assert len(found) == 5
    for module, names in found:
        assert all(hasattr(importlib.import_module(module), name) for name in names.split(", "))
    compile(block, "study.md", "exec")


def test_the_counts_of_the_page_are_those_of_the_code() -> None:
    counts, plan = Counts(), Plan()
    words = " ".join(PAGE.split())
    assert f"trained on {counts.trained_on:,} scenes in which the cue goes with its class in 90 %" in words
    assert f"further training on {counts.tuned_on:,} of these scenes" in words
    assert f"on {counts.tested_on} other scenes with the cue at 90 %, noise of sigma {plan.sigma:g}" in words
    assert f"accuracy on {counts.judged_on:,} scenes in which the cue says nothing" in words
    assert (
        f"are of one in six of these, in cells of {plan.cell} x {plan.cell} pixels and about {plan.subset_steps} steps"
        in words
    )
    assert plan.few == 6 and f"{len(REGISTERED)} measures are compared" in words
    quick = f"({QUICK.tuned_on:,} to train further on, {QUICK.tested_on} to measure on, {QUICK.judged_on:,} of each kind to judge on)"
    assert quick in words
