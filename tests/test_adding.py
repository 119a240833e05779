"""CONTRIBUTING says how to add an image source and a network: done on a copy of the package, and run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.store.reading import Store
from tests import contributing
from tests.contributing import copy_package, section
from tests.warm import Warm

TITLES = ("How to add an image source", "How to add a network")


@pytest.fixture(scope="module")
def command(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """The command line of a copy of the package to which both were added: what it prints."""
    copy = tmp_path_factory.mktemp("package")
    copy_package(copy)
    for title in TITLES:
        new, line = section(title)
        assert new["place"] == "a new file" and line["place"] == "in OPENERS"
        (copy / new["file"]).write_text(new["code"], encoding="utf-8")
        registry, name = copy / line["file"], line["code"].strip(" ,\n").partition(": ")
        module = new["file"].removesuffix(".py").replace("/", ".")
        head, table, tail = registry.read_text(encoding="utf-8").partition("\nOPENERS: ")
        imported = f"\nfrom {module} import {name[2] or name[0]}\n"
        tail = tail.replace("= (\n", f"= (\n{line['code']}", 1).replace("= {\n", f"= {{\n{line['code']}", 1)
        registry.write_text(head + imported + table + tail, encoding="utf-8")

    def call(*arguments: object) -> str:
        done = contributing.command(warm, copy, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


@pytest.mark.parametrize("title", TITLES)
def test_each_takes_two_files(title: str) -> None:
    assert len({block["file"] for block in section(title)}) == 2


def test_a_source_and_a_network_that_were_added_build_and_are_evaluated(
    command: Callable[..., str], images: Path, store: Store, tmp_path: Path
) -> None:
    """A store of the new network on the new source, and the new network on a store of ours."""
    torch.manual_seed(0)
    given = FolderSource(images)
    pixels = np.stack([given.pixels(i) for i in range(len(given))])
    labels = [given.entry(i).label for i in range(len(given))]
    np.savez(tmp_path / "scenes.npz", images=pixels, labels=labels, names=given.class_names)
    net = {"0": nn.Conv2d(3, 6, 8), "4": nn.Linear(6, len(given.class_names))}
    state = {f"{k}.{name}": value for k, layer in net.items() for name, value in layer.state_dict().items()}
    save_file(state, tmp_path / "patches.safetensors")
    network = ("--weights", tmp_path / "patches.safetensors", "--architecture", "patches:6")
    out = tmp_path / "store"
    printed = command("build", "--images", tmp_path / "scenes.npz", *network, "--out", out, "--group-by", "label")
    assert "40 images, 50 features, 0 images in quarantine" in printed
    made = Store(out)
    assert made.manifest.architecture == "patches:6" and made.class_names == given.class_names
    # The maps of the first image, from its pixels by hand: resized to 64, which it is, and cropped to 56.
    crop = torch.from_numpy(pixels[0][4:60, 4:60].copy()).permute(2, 0, 1)[None] / 255
    weight, bias = net["0"].weight, net["0"].bias
    with torch.inference_mode():
        maps = nn.functional.conv2d((crop - 0.5) / 0.5, weight, bias, stride=8).relu()[0].numpy()
    row = made.rows.image_ids.to_pylist().index("00000000")
    for feature in made.features:
        if feature.class_index == labels[0]:
            peak = maps[feature.feature_index].max()
            shown = made.maps[row, feature.slot] * (made.peaks[row, feature.slot] / 255)
            assert np.abs(shown - maps[feature.feature_index]).max() <= peak / 255
    model = ("--weights", tmp_path / "patches.safetensors", "--model", "patches:6")
    (result,) = json.loads(command("evaluate", store.path, "--images", images, *model, "--json")).values()
    assert result["clean_accuracy"]["n"] == 36 and result["model"]["spec"] == "patches:6"
