"""What a command says of a network on a CUDA device, beside what it says on the processor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from salient_imagenet_data.store.reading import Store
from tests.conftest import Run

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

ALIKE = {
    "align": ((), 2e-2),
    "certify": ((), 2e-2),
    "relevance": ((), 5e-2),
    "evaluate": (("--corruption", "fill_gray"), 2e-2),
    "label-errors": ((), None),  # which images are doubted may turn on a last digit
    "sis": (("--cell", 14, "--step", 4, "--tau", 0.1), None),
    "spurious-score": ((), 2e-2),
}
"""Options of each command, and by how much its figures may differ: convolutions take TensorFloat-32 there. None: they
follow choices that a rounding turns, so that only what is said is compared."""
WRITES = ("evaluate", "label-errors", "sis")


def figures(found: Any, place: str = "") -> dict[str, Any]:
    """Every leaf of a JSON by its place."""
    if isinstance(found, (dict, list)):
        items = found.items() if isinstance(found, dict) else enumerate(found)
        return {k: v for key, value in items for k, v in figures(value, f"{place}/{key}").items()}
    return {place: found}


@pytest.mark.parametrize("name", ALIKE)
def test_a_command_says_the_same(
    name: str, store: Store, images: Path, weights: Path, tmp_path: Path, run: Run
) -> None:
    options, tolerance = ALIKE[name]
    said = []
    for device in ("cpu", "cuda"):
        about = () if name == "spurious-score" else (store.path,)
        where = ("--spurious", images) if name == "spurious-score" else ()
        where += ("--out", tmp_path / device) if name in WRITES else ()
        code, out, err = run(
            name, *about, "--images", images, "--weights", weights, "--json", "--device", device, *where, *options
        )
        assert code == 0, err
        said.append(figures(json.loads(out)))
    exact, found = said
    if tolerance is None:
        assert found.keys() and {k.split("/")[1] for k in found} == {k.split("/")[1] for k in exact}
        return
    assert found.keys() == exact.keys()
    for place, value in exact.items():
        if isinstance(value, float) and not place.endswith(("seconds", "took")):
            assert found[place] == pytest.approx(value, abs=tolerance, rel=tolerance, nan_ok=True), place


@pytest.mark.parametrize("name", ["retrain-head", "finetune", "spufix"])
def test_a_repaired_network_is_near_that_of_the_processor(
    name: str, store: Store, images: Path, weights: Path, tmp_path: Path, run: Run
) -> None:
    from safetensors.numpy import load_file

    found = []
    for device in ("cpu", "cuda", "cuda"):
        out = tmp_path / f"{len(found)}" / "w.safetensors"
        out.parent.mkdir()
        code, _, err = run(name, store.path, "--images", images, "--weights", weights, "--out", out, "--device", device)
        assert code == 0, err
        found.append(load_file(out))
    exact, once, again = found
    for key, tensor in exact.items():
        assert np.allclose(tensor, once[key], atol=5e-2 * max(1.0, np.abs(tensor).max())), key
        assert np.array_equal(once[key], again[key]), key


def test_a_training_on_a_device_repeats_itself_and_goes_on(
    images: Path, weights: Path, tmp_path: Path, run: Run
) -> None:
    """Of the bytes: the same training twice."""
    made = []
    for number in range(2):
        out = tmp_path / f"{number}.safetensors"
        small = ("--from", weights, "--crop", 64, "--epochs", 2, "--batch-size", 8, "--steps", 2)
        code, _, err = run("train", "--images", images, *small, "--out", out, "--device", "cuda")
        assert code == 0, err
        made.append(out.read_bytes())
    assert made[0] == made[1]
