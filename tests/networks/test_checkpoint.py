from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.networks.checkpoint import beside, fetch, read_checkpoint
from salient_imagenet_data.networks.weights import load_into
from tests.checkpoints import robustness_checkpoint


class Command:
    """What a hostile file holds: unpickling it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_a_hostile_checkpoint_runs_nothing(tmp_path: Path) -> None:
    path, mark = tmp_path / "evil.ckpt", tmp_path / "ran"
    torch.save(robustness_checkpoint(torch.nn.Linear(2, 2), extra=Command(mark)), path)
    with pytest.raises(
        SalientError, match=r"not a torch file of plain tensors; got a \w+.system, which is no plain data"
    ):
        read_checkpoint(path)
    assert not mark.exists()


def test_files_that_hold_no_tensors(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "pickled.pt")
    with pytest.raises(
        SalientError,
        match="not a torch file of plain tensors; got a torch.nn.modules.linear.Linear, which is no plain data; give a",
    ):
        read_checkpoint(tmp_path / "pickled.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(SalientError, match=r"list.pt: no state dict; expected tensors by name.*got list"):
        read_checkpoint(tmp_path / "list.pt")
    (tmp_path / "w.safetensors").write_bytes(b"nonsense")
    with pytest.raises(SalientError, match=r"w.safetensors: not a safetensors file"):
        read_checkpoint(tmp_path / "w.safetensors")
    save_file({}, tmp_path / "empty.safetensors")
    with pytest.raises(SalientError, match=r"empty.safetensors: no tensors in it"):
        read_checkpoint(tmp_path / "empty.safetensors")
    for header in ("{", '{"widths": [8]}', "3"):
        save_file({"x": torch.zeros(1)}, tmp_path / "torn.safetensors", {"smallnet": header})
        with pytest.raises(SalientError, match="not a whole header of `salient-imagenet train`"):
            read_checkpoint(tmp_path / "torn.safetensors")
    with pytest.raises(SalientError, match=r"none.pt: no such file"):
        fetch(str(tmp_path / "none.pt"))
    with pytest.raises(SalientError, match="not an address on the Hub"):
        fetch("hf://resnet50.ckpt")


@pytest.mark.parametrize("prefix", ["", "module.", "module.model."])
def test_every_tensor_is_loaded_whatever_stands_before_its_name(prefix: str, tmp_path: Path) -> None:
    net, other = (torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)) for _ in range(2))
    state = {prefix + k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save({"state_dict": {"model": state} if prefix else state, "epoch": 3}, tmp_path / "w.pt")
    checkpoint = read_checkpoint(tmp_path / "w.pt")
    assert load_into(other, checkpoint, "two layers") is None
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))
    for wrong, message in [
        (torch.nn.Sequential(torch.nn.Conv2d(3, 5, 1), torch.nn.BatchNorm2d(5)), "0.weight of shape .*; got"),
        (torch.nn.Sequential(torch.nn.Identity(), torch.nn.BatchNorm2d(4)), "no other tensors.*got .*0.bias"),
        (torch.nn.Sequential(*other, torch.nn.Linear(4, 2)), "another network; expected a tensor 2.bias"),
    ]:
        with pytest.raises(SalientError, match=message):
            load_into(wrong, checkpoint, "another")


def test_a_file_beside_another_is_there_or_not_and_a_hub_that_fails_is_told(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "a.json").write_text("{}")
    assert beside(str(tmp_path / "w.safetensors"), "a.json") == tmp_path / "a.json"
    assert beside(str(tmp_path / "w.safetensors"), "b.json") is None
    assert beside("hf://owner/other/deep/w.safetensors@main", "a.json") is None  # offline, and not in the cache
    request.getfixturevalue("answering")
    assert beside("hf://owner/other/deep/w.safetensors@main", "a.json") is None
    with pytest.raises(SalientError, match="^hf://owner/nowhere/a.json: cannot be downloaded; got Repository"):
        beside("hf://owner/nowhere/w.safetensors", "a.json")
