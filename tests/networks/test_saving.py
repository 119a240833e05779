"""A network is read back as it was written, with the names of its outputs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torchvision.models import shufflenet_v2_x0_5

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.networks.opening import open_network
from salient_imagenet_data.networks.saving import save_as_read

SPEC, NAMES = "torchvision:shufflenet_v2_x0_5", ("cat", "dog", "owl")


def written(path: Path, names: tuple[str, ...] | None = NAMES) -> torch.nn.Module:
    torch.manual_seed(0)
    net = shufflenet_v2_x0_5(num_classes=3).eval()
    save_as_read(net, path, SPEC, names)
    return net


def test_names_of_the_outputs_are_kept_and_match_a_store_in_another_order(tmp_path: Path) -> None:
    net = written(tmp_path / "w.safetensors")
    opened = open_network(SPEC, ("owl", "cat", "dog"), tmp_path / "w.safetensors")
    assert opened.class_names == NAMES
    assert opened.class_map is not None and (opened.class_map.by, opened.class_map.order) == ("name", (2, 0, 1))
    x = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        own = open_network(SPEC, None, tmp_path / "w.safetensors").model(x)
        assert torch.equal(opened.model(x), own[:, [2, 0, 1]])
    assert net.fc.out_features == 3
    other = open_network(SPEC, ("a", "b", "c"), tmp_path / "w.safetensors", outputs=("c", "a", "b"))  # as the user says
    assert other.class_map is not None and other.class_map.order == (1, 2, 0)
    written(tmp_path / "none.safetensors", None)
    assert open_network(SPEC, None, tmp_path / "none.safetensors").class_names is None


@pytest.mark.parametrize("said", ["[", "{}", "[1, 2, 3]", "[" * 5000])
def test_names_that_are_none_are_refused_by_file(tmp_path: Path, said: str) -> None:
    written(tmp_path / "w.safetensors")
    save_file(load_file(tmp_path / "w.safetensors"), tmp_path / "w.safetensors", {"class_names": said})
    with pytest.raises(SalientError, match=r"w\.safetensors: class_names in its metadata cannot be read"):
        open_network(SPEC, None, tmp_path / "w.safetensors")


def test_names_of_another_number_are_refused(tmp_path: Path) -> None:
    written(tmp_path / "w.safetensors", ("cat", "dog"))
    with safe_open(tmp_path / "w.safetensors", "pt") as file:
        assert file.metadata() == {"class_names": '["cat", "dog"]'}
    with pytest.raises(SalientError, match="names of other outputs; expected 3 names; got 2"):
        open_network(SPEC, None, tmp_path / "w.safetensors")


@pytest.mark.parametrize("said", ["[", "[]", "[" * 5000])
def test_a_note_about_a_probe_that_is_none_is_refused_by_file(tmp_path: Path, said: str) -> None:
    written(tmp_path / "w.safetensors")
    save_file(load_file(tmp_path / "w.safetensors"), tmp_path / "w.safetensors", {"probe": said})
    with pytest.raises(SalientError, match=r"w\.safetensors: its note 'probe' is not of `build --probe`"):
        open_network(SPEC, None, tmp_path / "w.safetensors")
