"""A whole fine-tuning: what it makes of a network, that a stop changes no byte, that two processes do as one."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from salient_imagenet_data.builder.attacking import correct, robust_accuracy
from salient_imagenet_data.builder.training import loop
from salient_imagenet_data.builder.training.loop import Epoch
from salient_imagenet_data.builder.training.recipe import Recipe
from salient_imagenet_data.builder.training.run import make_robust
from salient_imagenet_data.builder.training.starting import start_from
from salient_imagenet_data.builder.training.state import State, file_of
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.images.reading import Ahead
from tests.conftest import Run
from tests.warm import Warm

RECIPE = Recipe(
    crop=56, first_crop=32, epochs=3, batch_size=16, epsilon=0.5, learning_rate=0.05, average=0.9, warmup=0.5
)


def trained(weights: Path, images: Path, out: Path, recipe: Recipe = RECIPE, **more: object) -> list[Epoch]:
    """Of the network of `weights`; the epochs as they were told."""
    source, told = FolderSource(images), list[Epoch]()
    start = start_from(None, str(weights), source.class_names)
    make_robust(start, source, recipe, out, report=told.append, **more)  # type: ignore[arg-type]
    return told


def test_a_network_learns_and_becomes_robust(images: Path, weights: Path, tmp_path: Path) -> None:
    """Of the images that it learned from, and more under attack than one that is trained plainly."""
    recipe = replace(RECIPE, epochs=30, crop=32, area=0.8, epsilon=1.0, batch_size=8)
    source, kept = FolderSource(images), {}
    labels = np.array([source.entry(i).label for i in range(len(source))])
    for epsilon in (1.0, 0.0):
        out = tmp_path / f"{epsilon}.safetensors"
        trained(weights, images, out, replace(recipe, epsilon=epsilon))
        start = start_from(None, str(out), source.class_names, crop=32)
        crops = np.stack([start.preprocessing.apply(source.pixels(i)) for i in range(len(source))])
        clean = correct(start.model, crops, labels).mean()
        kept[epsilon] = clean, robust_accuracy(start.model, crops, labels, 1.0)
    assert kept[1.0][0] > 0.6 and kept[0.0][0] > 0.7 and kept[1.0][1] > kept[0.0][1] + 0.2, kept


@pytest.mark.parametrize("replays", [1, 3])
def test_a_stop_after_any_epoch_changes_no_byte(images: Path, weights: Path, tmp_path: Path, replays: int) -> None:
    recipe = replace(RECIPE, replays=replays)
    whole, told = tmp_path / "whole.safetensors", list[Epoch]()
    told = trained(weights, images, whole, recipe)
    assert [(e.number, e.side, e.unreadable) for e in told] == [(1, 32, 0), (2, 32, 0), (3, 56, 0)] and told[
        -1
    ].left == 0
    assert not file_of(whole).exists()
    for stop in (1, 2):
        out = tmp_path / f"{stop}.safetensors"
        with pytest.raises(KeyboardInterrupt):
            interrupted(weights, images, out, recipe, stop)
        assert file_of(out).exists() and not out.exists()
        assert [e.number for e in trained(weights, images, out, recipe, resume=True)] == list(range(stop + 1, 4))
        assert out.read_bytes() == whole.read_bytes() and not file_of(out).exists()


def interrupted(weights: Path, images: Path, out: Path, recipe: Recipe, stop: int) -> None:
    def report(epoch: Epoch) -> None:
        if epoch.number == stop:
            raise KeyboardInterrupt

    source = FolderSource(images)
    make_robust(start_from(None, str(weights), source.class_names), source, recipe, out, report=report)


def test_another_training_does_not_go_on(images: Path, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "w.safetensors"
    with pytest.raises(KeyboardInterrupt):
        interrupted(weights, images, out, RECIPE, 1)
    with pytest.raises(
        SalientError, match=r"state of a training with another epsilon; expected 0.5; got 0.25; give the"
    ):
        trained(weights, images, out, replace(RECIPE, epsilon=0.25), resume=True)
    other = tmp_path / "other"
    other.mkdir()
    for folder in images.iterdir():
        (other / folder.name).mkdir()
        for path in sorted(folder.iterdir())[1:]:
            (other / folder.name / path.name).symlink_to(path)
    with pytest.raises(SalientError, match="state of a training with another images"):
        trained(weights, other, out, resume=True)
    file_of(out).write_bytes(b"nothing")
    with pytest.raises(SalientError, match="not the state of a training; use --overwrite to begin anew"):
        trained(weights, images, out, resume=True)


@pytest.mark.parametrize(
    "change",
    [
        {"norm": "linf", "epsilon": 0.02},
        {"epsilon": 0.0},
        {"steps": 2},
        {"replays": 2},
        {"warmup": 1.0},
        {"weight_decay": 0.5},
        {"average": 0.0},
        {"area": 0.5},
        {"flip": False},
        {"first_crop": 56},
        {"statistics": "kept"},
        {"precision": "bfloat16"},
        {"seed": 1},
    ],
)
def test_each_choice_changes_the_weights(
    images: Path, weights: Path, tmp_path: Path, change: dict[str, object], plain: bytes
) -> None:
    out = tmp_path / "w.safetensors"
    trained(weights, images, out, replace(RECIPE, epochs=2, **change))  # type: ignore[arg-type]
    tensors = load_file(out)
    assert out.read_bytes() != plain and all(torch.isfinite(t).all() for t in tensors.values())
    before = load_file(weights)
    moved = not torch.equal(tensors["body.1.running_mean"], before["body.1.running_mean"])
    assert moved == (change != {"statistics": "kept"})


@pytest.fixture(scope="module")
def plain(images: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    out = tmp_path_factory.mktemp("plain") / "w.safetensors"
    trained(weights, images, out, replace(RECIPE, epochs=2))
    return out.read_bytes()


def test_an_image_that_cannot_be_read_is_left_out_and_told(images: Path, weights: Path, tmp_path: Path) -> None:
    copy = tmp_path / "images"
    for folder in images.iterdir():
        (copy / folder.name).mkdir(parents=True)
        for path in folder.iterdir():
            (copy / folder.name / path.name).write_bytes(path.read_bytes())
    broken = next(p for p in sorted(copy.glob("*/*")))
    broken.write_bytes(broken.read_bytes()[:100])
    recipe = replace(RECIPE, batch_size=8)
    told = trained(weights, copy, tmp_path / "w.safetensors", recipe)
    assert [e.unreadable for e in told] == [1, 1, 1]
    for path in copy.glob("*/*"):
        path.write_bytes(b"no picture")
    with pytest.raises(SalientError, match="no image to train on"):
        trained(weights, copy, tmp_path / "n.safetensors", recipe)


def test_a_loss_that_is_no_number(images: Path, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(SalientError, match="training failed in epoch 1: the loss is no number; choose a smaller"):
        trained(weights, images, tmp_path / "w.safetensors", replace(RECIPE, learning_rate=1e30, batch_size=4))


def test_the_mean_of_the_weights_is_what_is_written() -> None:
    net = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        net.weight.fill_(1.0)
        state = State.of(net)
        for value, weight in ((3.0, 0.5), (6.0, 0.25)):
            net.weight.fill_(value)
            state.average(net, weight)
        state.into(net)
    assert net.weight.item() == 0.25 * (0.5 * 1 + 0.5 * 3) + 0.75 * 6


def test_a_killed_command_goes_on_to_the_same_bytes(
    images: Path, weights: Path, tmp_path: Path, run: Run, warm: Warm
) -> None:
    whole, out = tmp_path / "whole.safetensors", tmp_path / "w.safetensors"
    how = ("train", "--images", str(images), "--from", str(weights), "--epochs", "10", "--batch-size", "20", "--device")
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = warm.start("-m", "salient_imagenet_data.cli", *how, "cpu", "--out", out, env=environment)
    try:
        while process.poll() is None and not file_of(out).exists():
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    assert file_of(out).exists() and not out.exists()
    code, _, err = run(*how, "cpu", "--out", out, "--resume")
    assert code == 0 and "epoch 10/10" in err and "epoch 1/10" not in err
    assert run(*how, "cpu", "--out", whole)[0] == 0 and out.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(("batch", "rate"), [("10", "0.3"), ("1", "0.01")])
def test_two_processes_do_as_one(
    batch: str, rate: str, images: Path, weights: Path, tmp_path: Path, run: Run, warm: Warm
) -> None:
    """With statistics that are kept, all but rounding: a batch's own statistics are those of each process's part. Of
    batches of one image one process has none, from the first step on."""
    options = ("--crop", "56", "--epochs", "2", "--batch-size", batch, "--epsilon", "0.5", "--statistics", "kept")
    where = ("train", "--images", str(images), "--from", str(weights), "--device", "cpu", "--learning-rate", rate)
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    code, _, err = run(*where, *options, "--out", one)
    assert code == 0, err
    command = ("-m", "salient_imagenet_data.cli", *where, *options, "--out", two)
    ended = warm.ranks(2, *command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    said = "".join(done.stderr for done in ended)
    assert [done.returncode for done in ended] == [0, 0], said
    assert "".join(done.stdout for done in ended).count("wrote") == 1 and said.count("epoch 2/2") == 1
    before, alone, together = load_file(weights), load_file(one), load_file(two)
    moved = max(float((alone[name] - before[name]).abs().max()) for name in before)
    apart = max(float((alone[name] - together[name]).abs().max()) for name in before)
    assert moved > 0.01 and apart < 0.01 * moved, (moved, apart)


def test_what_makes_batches_ends_with_those_ahead_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its threads go on after an error, as long as the traceback is held."""
    ended = []

    def parts() -> Generator[loop.Part, None, None]:
        try:
            while True:
                yield torch.ones(1), torch.ones(1), torch.ones(1), 7
        finally:
            ended.append(True)

    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    made = parts()
    ahead = Ahead(loop._pinned(made), 2)
    assert next(ahead)[3] == 7 and not ended
    ahead.close()
    assert ended
