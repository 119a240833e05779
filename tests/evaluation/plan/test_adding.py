"""CONTRIBUTING says how to add a corruption and a protocol: done on a copy of the package, and run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from salient_imagenet_data.store.reading import Store
from tests.contributing import command, copy_package, python, section
from tests.test_structure import PACKAGE
from tests.warm import Warm


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with both added, as a folder for PYTHONPATH."""
    copy = tmp_path_factory.mktemp("package")
    copy_package(copy)
    for block in section("How to add a corruption") + section("How to add a protocol"):
        file, place, code = copy / PACKAGE / block["file"], block["place"], block["code"]
        text = file.read_text(encoding="utf-8")
        head, line, tail = text.partition("REGISTERED: ")
        if place == "at the end":
            text = f"{text}\n\n{code}"
        elif place == "before REGISTERED":
            text = f"{head}{code}\n\n{line}{tail}"
        else:
            assert place == "in REGISTERED"
            text = f"{head}{line}{tail.replace(chr(10) + ')', f'{chr(10)}{code})', 1)}"
        if "spurious_everywhere" in code and place == "in REGISTERED":
            text = text.replace("    single_features,\n", "    single_features,\n    spurious_everywhere,\n", 1)
        file.write_text(text, encoding="utf-8")
    return copy


def test_each_takes_two_files_at_most() -> None:
    for title in ("How to add a corruption", "How to add a protocol"):
        assert 1 <= len({block["file"] for block in section(title)}) <= 2


def test_both_run_in_an_evaluation(package: Path, store: Store, images: Path, weights: Path, warm: Warm) -> None:
    done = command(
        warm,
        package,
        *("evaluate", store.path, "--images", images, "--weights", weights, "--json", "--boxes"),
        *("--protocol", "cues", "--sigma", "0.5", "--corruption", "solarise_0.25", "--trials", 2),
    )
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout).values()
    found = {c["name"]: c for c in result["conditions"]}
    for name in ("solarise_0.25@cue", "solarise_0.25@not_cue_random", "noise_0.5@cue", "solarise_0.25@cue_box"):
        assert found[name]["accuracy"]["n"] == 36, name  # 9 of 10 classes have a spurious feature
    assert found["noise_0.5@cue"]["sigma"] == 0.5 and found["solarise_0.25@cue"]["sigma"] is None
    assert {c["name"] for c in result["controls"]} >= {"solarise_0.25@cue", "noise_0.5@not_cue"}
    assert {(r["corruption"], r["trials"]) for r in result["ratios"]["rcu"]} == {("noise_0.5", 2), ("solarise_0.25", 1)}


def test_the_corruption_is_what_it_says(package: Path, warm: Warm) -> None:
    code = (
        "import torch\n"
        "from salient_imagenet_data.loaders import corrupt\n"
        "from salient_imagenet_data.loaders.corruption.records import corruption_of\n"
        "image = torch.tensor([0.2, 0.7]).expand(1, 3, 1, 2)\n"
        "mask = torch.tensor([[[[1.0, 0.5]]]])\n"
        "print(corrupt(image, mask, corruption_of('solarise_0.25'), [0])[0, 0, 0].tolist())\n"
    )
    done = python(warm, package, "-c", code)
    assert json.loads(done.stdout) == pytest.approx([0.2, 0.5])


def test_help_names_both(package: Path, warm: Warm) -> None:
    done = command(warm, package, "evaluate", "--help")
    assert "solarise_LEVEL" in done.stdout and "|cues]" in done.stdout.replace("\n", "").replace(" ", "")
