"""Training: what it refuses before the first step, few images and epochs, and what the network is said to be worth."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from salient_imagenet_data.builder.attacking import correct
from salient_imagenet_data.builder.train import TrainConfig, augment, load_images, train
from salient_imagenet_data.builder.worth import Worth, check_test_classes, worth
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.folder import FolderSource
from tests.conftest import Run

SMALL = ("--crop", 16, "--widths", "8,8", "--blocks", 1, "--epochs", 12, "--batch-size", 8, "--learning-rate", 0.05)


def colours(folder: Path, names: tuple[str, ...], count: int = 8) -> Path:
    """A tree in which a class is a colour of its own, the same for a name wherever it is."""
    for name in names:
        (folder / name).mkdir(parents=True)
        base = np.random.default_rng([*name.encode()]).integers(0, 256, 3)
        for number in range(count):
            noise = np.random.default_rng(number).integers(-9, 10, (18, 18, 3))
            Image.fromarray(np.clip(base + noise, 0, 255).astype(np.uint8)).save(folder / name / f"{number}.png")
    return folder


def figures(printed: str) -> tuple[float, float]:
    """Clean and attacked accuracy of the lines that are printed."""
    clean = next(line for line in printed.splitlines() if line.startswith("clean accuracy"))
    attacked = next(line for line in printed.splitlines() if line.startswith("accuracy under"))
    return float(clean.split()[2]), float(attacked.split()[-1])


def test_test_images_are_joined_by_class_name(tmp_path: Path, run: Run) -> None:
    """Their folders count from 0 again where a class is missing: all would be wrong by one."""
    names = ("ant", "bee", "cow", "dog")
    colours(tmp_path / "train", names)
    colours(tmp_path / "test", names[1:])
    code, out, err = run(
        "train",
        "--images",
        tmp_path / "train",
        "--test-images",
        tmp_path / "test",
        "--out",
        tmp_path / "w.safetensors",
        *SMALL,
    )
    assert code == 0, err
    clean, attacked = figures(out)
    assert clean == 1.0 and attacked > 0.5 and "clean accuracy 1.0000 on 24 test images" in out
    assert "24 test images of 3 classes, 0 unreadable" in err and "warning" not in err
    assert "epoch 1/12" in err and " s left" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--test-images", "{tmp}/other"), "not among those of the training images; .*ant, bee; got cat; name the"),
        (("--test-images", "{tmp}/nowhere"), "nowhere: no such folder"),
        (("--epochs", 0), "epochs of the training; expected >= 1; got 0"),
        (("--steps", 0), "steps of the training; expected >= 1"),
        (("--batch-size", 0), "batch size of the training; expected >= 1"),
        (("--epsilon", -1), "epsilon of the training; expected >= 0; got -1"),
        (("--epsilon", "nan"), "epsilon of the training"),
        (("--learning-rate", 0), "learning rate of the training; expected > 0"),
        (("--widths", "8,0"), "widths of the network; expected one or more numbers >= 1"),
        (("--blocks", 0), "blocks of the training"),
        (("--resize", 8), "expected 0 < crop <= resize"),
        (("--device", "toaster"), "device 'toaster' cannot be used"),
    ],
)
def test_all_is_checked_before_the_first_image_is_read(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...], message: str
) -> None:
    colours(tmp_path / "train", ("ant", "bee"), 2)
    colours(tmp_path / "other", ("ant", "cat"), 2)
    monkeypatch.setattr("salient_imagenet_data.builder.train.load_images", lambda *a: 1 / 0)
    given = [str(word).format(tmp=tmp_path) for word in arguments]
    code, _, err = run("train", "--images", tmp_path / "train", "--out", tmp_path / "w.safetensors", *SMALL, *given)
    assert code == 2 and len(err.splitlines()) == 1
    assert re.search(message, err), err


def test_a_root_of_splits_is_taken_by_its_splits(tmp_path: Path, run: Run) -> None:
    colours(tmp_path / "root" / "train", ("ant", "bee"))
    colours(tmp_path / "root" / "test", ("bee",))
    root = tmp_path / "root"
    code, out, err = run("train", "--images", root, "--test-images", root, "--out", tmp_path / "w.safetensors", *SMALL)
    assert code == 0 and "16 images of 2 classes" in err and "clean accuracy 1.0000 on 8 test images" in out


@pytest.mark.parametrize("count", [1, 3, 9])
@pytest.mark.parametrize("epochs", [1, 2, 4, 5])
def test_few_images_and_epochs_train(count: int, epochs: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    seen: list[tuple[int, float, float]] = []
    model = train(
        images,
        np.arange(count) % 2,
        ("a", "b"),
        Preprocessing(16, 16),
        TrainConfig(widths=(4, 4), epochs=epochs, batch_size=4),
        report=lambda *told: seen.append(told),
    )
    assert [epoch for epoch, _, _ in seen] == list(range(1, epochs + 1)) and seen[-1][2] == 0
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_nothing_to_train_on_and_a_loss_that_is_no_number() -> None:
    frame, config = Preprocessing(16, 16), TrainConfig(widths=(4, 4), epochs=3, batch_size=2, learning_rate=1e30)
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    with pytest.raises(SalientError, match="no image to train on"):
        train(images[:0], np.zeros(0, dtype=np.int64), ("a", "b"), frame, config)
    with pytest.raises(SalientError, match="the loss is no number; choose a smaller --learning-rate"):
        train(images, np.arange(8) % 2, ("a", "b"), frame, config)


def test_some_of_the_images_are_read_where_some_are_asked_for(images: Path) -> None:
    source, frame = FolderSource(images), Preprocessing(60, 56)
    pixels, labels, broken = load_images(source, frame, which=[30, 2])
    assert broken == [] and labels.tolist() == [source.entry(30).label, source.entry(2).label]
    assert (pixels == np.stack([frame.apply(source.pixels(i)) for i in (30, 2)])).all()


def test_half_of_the_images_are_mirrored_left_to_right_and_none_upside_down() -> None:
    """A vertical flip teaches that the sky may be below."""
    x = torch.arange(3 * 5 * 5, dtype=torch.float32).reshape(1, 3, 5, 5).repeat(400, 1, 1, 1)
    out = augment(x, TrainConfig(shift=0), torch.Generator().manual_seed(0))
    same = (out == x).flatten(1).all(dim=1)
    mirrored = (out == x.flip(3)).flatten(1).all(dim=1)
    assert bool((same ^ mirrored).all()) and 150 < int(mirrored.sum()) < 250
    assert torch.equal(augment(x, TrainConfig(shift=0, flip=False), torch.Generator()), x)


def test_input_dropout_replaces_pixels_of_each_image_by_the_mean_colour() -> None:
    x = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    config = TrainConfig(shift=0, flip=False, input_dropout=0.25)
    out = augment(x, config, torch.Generator().manual_seed(1))
    changed = (out != x).any(dim=1)
    assert 0.2 < float(changed.float().mean()) < 0.3 and not torch.equal(changed[0], changed[1])
    mean = x.mean(dim=(0, 2, 3))
    assert all(torch.allclose(out[k, :, changed[k]], mean[:, None]) for k in range(40))
    with pytest.raises(SalientError, match="input dropout of the training; expected at least 0 and below 1; got 1"):
        TrainConfig(input_dropout=1.0)


def test_a_shift_moves_the_whole_batch_and_fills_with_zeros() -> None:
    x = torch.ones(2, 3, 6, 6)
    corners = set()
    for seed in range(60):
        out = augment(x, TrainConfig(shift=1, flip=False), torch.Generator().manual_seed(seed))
        assert torch.equal(out[0], out[1])
        rows, columns = out[0, 0].sum(dim=1), out[0, 0].sum(dim=0)
        corners.add((int((rows == 0).nonzero().sum()) if (rows == 0).any() else -1, int((columns == 0).sum())))
        assert out[0, 0].sum() in (36, 30, 25)
    assert len(corners) > 3


def test_worth_is_measured_and_warned_of() -> None:
    good, poor, plain = (
        Worth(0.9, 0.7, 0.25, 100, False),
        Worth(0.3, 0.2, 0.25, 100, False),
        Worth(0.9, 0.1, 0.25, 9, True),
    )
    assert good.warnings() == [] and len(good.lines()) == 2
    (line,) = poor.warnings()
    assert line.startswith("warning: right on fewer than 50% of the images")
    (line,) = plain.warnings()
    assert "less than 50% of what it gets right, so this network is not robust" in line
    assert "on 9 training images, which flatters" in plain.lines()[0]


def test_worth_of_a_network_is_its_accuracy(images: Path, weights: Path) -> None:
    from salient_imagenet_data.networks.robust import load_model

    model, _ = load_model(weights)
    source = FolderSource(images)
    crops = np.stack([model.preprocessing.apply(source.pixels(i)) for i in range(len(source))])
    right = model(torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255).argmax(1).numpy()
    found = worth(model, crops, right, 0.0, seen=False)  # type: ignore[arg-type]
    assert (found.clean, found.robust, found.images) == (1.0, 1.0, 40)
    wrong = right.copy()
    wrong[:10] = (right[:10] + 1) % 10
    assert worth(model, crops, wrong, 0.0, seen=False).clean == 0.75 == correct(model, crops, wrong).mean()  # type: ignore[arg-type]


def test_classes_of_test_images_that_the_network_does_not_know(images: Path, tmp_path: Path) -> None:
    source = FolderSource(images)
    assert check_test_classes(source, source.class_names[::-1]).tolist() == list(range(9, -1, -1))
    copy = Path(shutil.copytree(images, tmp_path / "images"))
    (copy / "bar").rename(copy / "bat")
    with pytest.raises(SalientError, match="not among those of the training images; .*got bat; name the folders alike"):
        check_test_classes(FolderSource(copy), source.class_names)
