"""`train --from` from the command line: what it says and refuses, and that a file it wrote is opened and built with."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from salient_imagenet_data.builder.training.state import file_of
from salient_imagenet_data.cli import cli
from salient_imagenet_data.cli.train import FROM, SMALL
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.networks.opening import open_network
from salient_imagenet_data.networks.weights import save_network
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run
from tests.rights import without_roots_rights

QUICK = ("--crop", 64, "--epochs", 1, "--batch-size", 20, "--device", "cpu")


def test_photographs_to_a_robust_network_to_a_store(images: Path, tmp_path: Path, run: Run) -> None:
    """A network of timm's layout with a thousand outputs, none of them of these classes."""
    timm = pytest.importorskip("timm", reason="timm is an optional extra")
    torch.manual_seed(0)
    given, out = tmp_path / "given.safetensors", tmp_path / "robust.safetensors"
    save_network(timm.create_model("tf_efficientnet_lite0"), given)
    how = ("--from", "timm:tf_efficientnet_lite0", "--weights", given, "--test-images", images, *QUICK)
    code, said, err = run("train", "--images", images, "--out", out, "--attacked", 10, *how)
    assert code == 0, err
    assert "head new, zeros at first; images shorter side resized to 64 (bicubic), central 64 x 64" in err
    assert "40 images of 10 classes; l2 epsilon 0.857143" in err and re.search(r"epoch 1/1  64 pixels  loss \d", err)
    assert f"wrote {out}" in said and re.search(r"clean accuracy 0\.\d{4} on 40 test images", said)
    assert re.search(r"accuracy under 10-step l2 attack of radius 0.857143: 0\.\d{4}", said)
    opened = open_network("timm:tf_efficientnet_lite0", None, out)
    assert opened.details["normalisation"]["from"] == "normalizer.new_mean and normalizer.new_std of the weights"
    assert opened.class_names == FolderSource(images).class_names  # so that build matches them by name
    build = ("--architecture", "timm:tf_efficientnet_lite0", "--resize", 64, "--crop", 64)
    code, _, err = run("build", "--images", images, "--weights", out, "--out", tmp_path / "store", *build)
    assert code == 0, err
    made = Store(tmp_path / "store")
    assert made.maps.shape[2:] == (2, 2) and made.manifest.preprocessing.crop == 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--from", "timm:no_such_network"), "timm has no such network"),
        (("--from", "torchvision:nothing"), "torchvision has no such classifier"),
        (("--from", "resnet50"), "'resnet50' is not understood"),
        (("--from", "{weights}", "--weights", "{weights}"), "a file, and weights beside it"),
        (("--from", "{weights}", "--weights", "{tmp}/none.pt"), "a file, and weights beside it"),
        (("--from", "{weights}", "--epochs", 0), "epochs of the training; expected >= 1; got 0"),
        (("--from", "{weights}", "--crop", 16), "crop of the training; expected >= 32"),
        (("--from", "{weights}", "--first-crop", 64), "first crop of the training; expected >= 32 and <= 56; got 64"),
        (("--from", "{weights}", "--replays", 2, "--steps", 2), "the free variant makes one step of an attack"),
        (("--from", "{weights}", "--resize", 40, "--crop", 48), "expected 0 < crop <= resize"),
        (("--from", "{weights}", "--test-images", "{tmp}/none"), "none: no such folder"),
        (("--from", "{weights}", "--resume", "--overwrite"), "--resume goes on and --overwrite begins anew"),
        (("--from", "{weights}", "--widths", "8,8"), "--widths is of a small network from scratch"),
        (("--from", "{weights}", "--scenes", 5), "--scenes is of a small network from scratch"),
        (("--norm", "linf"), "--norm goes with --from"),
        (("--resume",), "--resume goes with --from"),
        (("--class-names", "n.txt"), "--class-names goes with --from"),
    ],
)
def test_all_is_checked_before_the_first_step(
    images: Path,
    weights: Path,
    tmp_path: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[object, ...],
    message: str,
) -> None:
    monkeypatch.setattr("salient_imagenet_data.builder.training.run.fine_tune", lambda *a: 1 / 0)
    given = [str(word).format(tmp=tmp_path, weights=weights) for word in arguments]
    code, _, err = run("train", "--images", images, "--out", tmp_path / "w.safetensors", *given)
    assert code == 2 and re.search(message, err.splitlines()[-1]), err
    assert "Traceback" not in err and list(tmp_path.iterdir()) == []


def test_a_state_that_lies_there_is_gone_on_with_or_replaced(
    images: Path, weights: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole.safetensors", tmp_path / "w.safetensors"
    how = ("train", "--images", images, "--from", weights, "--crop", 56, "--epochs", 2, "--batch-size", 20)
    assert run(*how, "--out", whole)[0] == 0
    code, _, err = run(*how, "--out", out, "--resume")
    assert code == 0 and f"no earlier training of {out} to go on with; this one begins" in err
    code, _, err = run(*how, "--out", out, "--resume")  # a loop that starts it again trains nothing again
    assert code == 2 and f"{out}: exists" in err
    out.unlink()
    with monkeypatch.context() as patch:
        patch.setattr("salient_imagenet_data.builder.training.run.save_as_read", lambda *a: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(*how, "--out", out)
    assert file_of(out).exists()
    code, _, err = run(*how, "--out", out)
    assert code == 2 and "an earlier training of w.safetensors stopped; go on with --resume, or begin anew" in err
    code, _, err = run(*how, "--out", out, "--resume")
    assert code == 0 and "epoch" not in err and out.read_bytes() == whole.read_bytes() and not file_of(out).exists()
    code, _, err = run(*how, "--out", out)
    assert code == 2 and "exists" in err
    assert run(*how, "--out", out, "--overwrite", "--seed", 1)[0] == 0 and out.read_bytes() != whole.read_bytes()


@pytest.mark.parametrize("start", [(), ("--from",)])
def test_test_images_that_do_not_decode_end_it_before_the_first_step(
    start: tuple[str, ...], images: Path, weights: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("salient_imagenet_data.builder.training.run.fine_tune", lambda *a: 1 / 0)
    monkeypatch.setattr("salient_imagenet_data.builder.train.SmallNet", lambda *a: 1 / 0)
    broken = Path(shutil.copytree(images, tmp_path / "broken"))
    for file in broken.rglob("*.png"):
        file.write_bytes(b"none")
    out, given = tmp_path / "w.safetensors", [*start, *([weights] if start else [])]
    code, _, err = run("train", "--images", images, "--test-images", broken, *given, "--crop", 32, "--out", out)
    assert code == 2 and err.splitlines()[-1].startswith("Error: none of 40 images can be decoded; got such as ")


def test_weights_that_could_not_be_written_are_told_at_once(
    images: Path, weights: Path, tmp_path: Path, run: Run
) -> None:
    (tmp_path / "ours").mkdir(mode=0o555)
    with without_roots_rights(tmp_path / "ours"):
        code, _, err = run("train", "--images", images, "--from", weights, "--out", tmp_path / "ours" / "w.safetensors")
    assert code == 2 and err.strip().endswith("nothing can be written there; expected a folder of yours for --out")


def test_the_norm_is_told(images: Path, weights: Path, tmp_path: Path, run: Run) -> None:
    how = ("--from", weights, "--norm", "linf", "--crop", 56, "--epochs", 1, "--batch-size", 40)
    code, said, err = run("train", "--images", images, "--out", tmp_path / "w.safetensors", *how)
    assert code == 0 and "linf epsilon 0.0156863" in err
    assert "accuracy under 10-step linf attack of radius 0.0156863" in said and "on 40 training images, which" in said


def test_autoattack_of_a_few_images_is_told_too(
    images: Path, weights: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyautoattack", reason="pyautoattack is an optional extra")
    seen: list[tuple[int, int, float, str]] = []

    def attacked(model: object, pixels: NDArray[np.uint8], labels: NDArray[np.int64], *rest: Any) -> float:
        assert isinstance(model, torch.nn.Module) and pixels.shape == (3, 56, 56, 3)
        seen.append((len(labels), *rest))
        return 0.25

    monkeypatch.setattr("salient_imagenet_data.builder.strong_attack.autoattack_accuracy", attacked)
    how = ("--from", weights, "--norm", "linf", "--epsilon", 0.01, "--epochs", 1, "--batch-size", 40)
    code, said, err = run("train", "--images", images, "--out", tmp_path / "w.safetensors", *how, "--autoattack", 3)
    assert code == 0, err
    assert seen == [(3, 10, 0.01, "linf")]
    assert "accuracy under AutoAttack of linf radius 0.01, 3 images: 0.2500" in said


def test_the_help_says_rightly_which_options_are_of_which_network() -> None:
    said = " ".join((cli.commands["train"].help or "").split())
    told = re.search(r"from (--\S+) to (--\S+) are of the small network, from (--\S+) to (--\S+) of", said)
    assert told is not None
    order = [option.opts[0] for option in cli.commands["train"].params]
    first, last, begin, end = (order.index(option) for option in told.groups())
    names = [str(option.name) for option in cli.commands["train"].params]
    assert (names[first : last + 1], names[begin : end + 1]) == ([*SMALL], [*FROM])
