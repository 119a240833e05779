"""What a network's outputs are called: said by the user, by the model, or ImageNet's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from salient_imagenet_data.imagenet import wnids
from tests.conftest import Run
from tests.subsets.networks import TEN, knowing_network
from tests.subsets.truth import averaged, truth


@pytest.mark.parametrize(
    "name", ["build", "evaluate", "align", "label-errors", "retrain-head", "finetune", "sis", "train"]
)
def test_what_outputs_are_called_is_said_to_each_command(
    name: str, store: Path, nette: Path, thousand: Path, tmp_path: Path, run: Run
) -> None:
    """The file's own names are set aside: three are too few, and a thousand in another order are other outputs."""
    first = [] if name in ("build", "train") else [store]
    out = [] if name == "align" else ["--out", tmp_path / "out.safetensors"]
    network = ["--from" if name == "train" else "--weights", thousand]
    command = [name, *first, "--images", nette, *network, *out, "--class-names", tmp_path / "names.txt"]
    (tmp_path / "names.txt").write_text("tench\ngoldfish\nchurch\n")
    code, said, err = run(*command)
    assert code and "names of other outputs; expected 1000 names; got 3" in said + err
    (tmp_path / "names.txt").write_text("\n".join(["mine", *wnids()[1:]]))
    code, said, err = run(*command)
    wanted = "an output for class 0, 'n01440764'; got 991 outputs that fit no class, such as 'mine'"
    if name == "train":
        wanted = "has no output for 1 of 10 classes; expected outputs named as the classes, or none; got n01440764"
    assert code and wanted in said + err


MODELS = """
import torch
from tests.subsets.networks import knowing_network
from salient_imagenet_data.imagenet import classes
def bare():
    return knowing_network()
def named():
    net = knowing_network()
    net.class_names = list(classes().values())
    return net
def function():
    net = knowing_network()
    return lambda x: net(x)
"""


def test_a_function_of_more_classes_than_the_store(
    store: Path, nette: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "subset_models.py").write_text(MODELS)
    (tmp_path / "names.txt").write_text("\n".join(wnids()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    command = ["evaluate", store, "--images", nette, "--no-controls", "--json"]
    models = [f"subset_models:{name}" for name in ("bare", "named", "function")]
    code, out, err = run(*command, "--model", models[0])
    assert code == 2 and "expected (batch, 10) logits; got (60, 1000); name its outputs with --class-names" in err
    code, named, err = run(*command, "--model", models[1])
    assert code == 0, err
    found = [json.loads(named)]
    for model in (models[0], models[2]):
        code, out, err = run(*command, "--model", model, "--class-names", "names.txt")
        assert code == 0, err
        found.append(json.loads(out))
    truth_ = truth(knowing_network(), nette / "train", TEN)
    for result in found:
        (one,) = result.values()
        assert one["clean_accuracy"]["value"] == pytest.approx(
            averaged(truth_.over_all == truth_.labels, truth_.labels)
        )
        assert one["model"]["classes"]["of"] == 1000
    code, _, err = run(*command, "--model", models[0], "--class-names", "nowhere.txt")
    assert code == 2 and "nowhere.txt: no list of class names" in err


def test_a_timm_network_without_labels_has_imagenets_in_their_order(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="pip install 'salient-imagenet-data[timm]'")
    from safetensors.torch import save_file

    from salient_imagenet_data.errors import SalientError
    from salient_imagenet_data.networks.opening import open_network

    torch.manual_seed(0)
    net = timm.create_model("test_resnet", pretrained=False).eval()
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    opened = open_network("timm:test_resnet", ("church", "n01440764"), tmp_path / "w.safetensors")
    x = torch.rand(1, 3, 160, 160)
    with torch.inference_mode():
        theirs, ours = net((x - opened.model.net.mean) / opened.model.net.std), opened.model(x)  # type: ignore[union-attr]
    assert torch.equal(ours[:, :2], theirs[:, [497, 0]]) and torch.equal(ours[:, 2:4], theirs[:, [1, 2]])
    among = opened.among("store").model(x)
    assert torch.equal(among, theirs[:, [497, 0]])
    with pytest.raises(SalientError, match="names none; expected names for its 1000 outputs, or 2 of them as there"):
        open_network("timm:test_resnet", ("mine", "n01440764"), tmp_path / "w.safetensors")
    named = open_network(
        "timm:test_resnet",
        ("mine", "n01440764"),
        tmp_path / "w.safetensors",
        outputs=("mine", *wnids()[1:999], wnids()[0]),
    )
    assert named.class_map is not None and named.class_map.outputs == (0, 999)
    with pytest.raises(SalientError, match="names of other outputs; expected 1000 names; got 2"):
        open_network("timm:test_resnet", ("mine",), tmp_path / "w.safetensors", outputs=("mine", "other"))
